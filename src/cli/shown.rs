//! temporary
use std::io::Write;
use std::sync::Mutex;
pub(crate) enum Kind { Plain, Tty, Json, Quiet }
struct Shown(Mutex<Box<dyn Write + Send>>);
impl crate::progress::Sink for Shown {
    fn event(&self, event: crate::progress::Event) { writeln!(self.0.lock().unwrap(), "{event:?}").ok(); }
}
pub(crate) fn render(_kind: Kind, writer: Box<dyn Write + Send>) -> Box<dyn crate::progress::Sink> { Box::new(Shown(Mutex::new(writer))) }
