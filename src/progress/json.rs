//! JSON lines: each event as an object with its `type`, the seconds since the start as `time`, durations in seconds.
//!
//! The schema of a line is `schema.json` beside this file; a test holds every event against it.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};

use super::{Clock, Event, Sink};

/// See the module.
pub(super) struct Json {
    state: Mutex<State>,
}

struct State {
    writer: Box<dyn Write + Send>,
    clock: Clock,
    is_broken: bool,
}

impl Json {
    pub(super) fn new(writer: Box<dyn Write + Send>, clock: Clock) -> Self {
        Self {
            state: Mutex::new(State {
                writer,
                clock,
                is_broken: false,
            }),
        }
    }
}

impl Sink for Json {
    fn event(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_broken {
            return;
        }
        let line = line(&event, (state.clock)().as_secs_f64());
        let written = state
            .writer
            .write_all(line.as_bytes())
            .and_then(|()| state.writer.flush());
        state.is_broken = written.is_err();
    }
}

fn line(event: &Event, time: f64) -> String {
    let mut object = match serde_json::to_value(event) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    };
    if let Event::Finished { duration, .. } | Event::Failed { duration, .. } = event {
        object.insert("duration".to_owned(), micros(duration.as_secs_f64()));
    }
    object.insert("time".to_owned(), micros(time));
    format!("{}\n", Value::Object(object))
}

/// Seconds, to the microsecond.
fn micros(seconds: f64) -> Value {
    Value::from((seconds * 1e6).round() / 1e6)
}
