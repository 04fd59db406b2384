//! Lines for logs, as BuildKit's plain output has them: `#5 [2/3] RUN make`, `#5 0.123 output`, `#5 DONE 1.2s`, `#5 CACHED`.
//!
//! Steps that run at the same time take turns: a step that is left unfinished shows `#5 ...`, and its name again when it goes on.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::text::{LineBuffer, amount, seconds};
use super::{Clock, Event, Sink};

/// Time between two lines about the same piece of work.
const PAUSE: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Plain {
    state: Mutex<State>,
}

/// What lines are about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    Vertex(usize),
    Work(String),
}

struct Item {
    number: usize,
    started: Duration,
    /// When its last line on work was written.
    shown: Option<Duration>,
    is_open: bool,
}

struct State {
    writer: Box<dyn Write + Send>,
    clock: Clock,
    names: Vec<String>,
    items: HashMap<Subject, Item>,
    current: Option<Subject>,
    lines: LineBuffer,
    is_broken: bool,
}

impl Plain {
    pub(super) fn new(writer: Box<dyn Write + Send>, clock: Clock) -> Self {
        Self {
            state: Mutex::new(State {
                writer,
                clock,
                names: Vec::new(),
                items: HashMap::new(),
                current: None,
                lines: LineBuffer::default(),
                is_broken: false,
            }),
        }
    }
}

impl Sink for Plain {
    fn event(&self, event: Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.is_broken {
            state.event(event);
        }
    }
}

impl State {
    fn event(&mut self, event: Event) {
        match event {
            Event::Planned { vertices } => self.names = vertices,
            Event::Started { vertex } => self.turn(&Subject::Vertex(vertex.0)),
            Event::Cached { vertex } => self.end(&Subject::Vertex(vertex.0), "CACHED"),
            Event::Output { vertex, stream, text } => {
                for line in self.lines.push(vertex, stream, &text) {
                    self.output(vertex.0, &line);
                }
            }
            Event::Finished { vertex, duration } => {
                self.flush(vertex);
                self.end(&Subject::Vertex(vertex.0), &format!("DONE {}", seconds(duration)));
            }
            Event::Failed { vertex, message, .. } => {
                self.flush(vertex);
                self.end(&Subject::Vertex(vertex.0), &format!("ERROR: {message}"));
            }
            Event::Work {
                what,
                done,
                total,
                unit,
                finished,
            } => self.work(what, done, total, &unit, finished),
            Event::Warning { message } => {
                self.leave();
                self.write(&format!("WARNING: {message}\n\n"));
            }
        }
    }

    fn flush(&mut self, vertex: crate::plan::VertexId) {
        for line in self.lines.finish(vertex) {
            self.output(vertex.0, &line);
        }
    }

    fn output(&mut self, vertex: usize, line: &str) {
        let subject = Subject::Vertex(vertex);
        self.turn(&subject);
        let (number, elapsed) = self.item(&subject);
        self.write(&format!("#{number} {:.3} {line}\n", elapsed.as_secs_f64()));
    }

    fn work(&mut self, what: String, done: u64, total: Option<u64>, unit: &str, finished: bool) {
        let subject = Subject::Work(what);
        let now = (self.clock)();
        let open = self.items.get(&subject).filter(|item| item.is_open);
        let (is_new, last) = (open.is_none(), open.and_then(|item| item.shown));
        if !is_new && !finished && last.is_some_and(|last| now.saturating_sub(last) < PAUSE) {
            return;
        }
        self.turn(&subject);
        let (number, elapsed) = self.item(&subject);
        if let Some(item) = self.items.get_mut(&subject) {
            item.shown = Some(now);
        }
        if done > 0 || !is_new {
            let total = total
                .map(|total| format!(" / {}", amount(total, unit)))
                .unwrap_or_default();
            self.write(&format!(
                "#{number} {}{total} {}\n",
                amount(done, unit),
                seconds(elapsed)
            ));
        }
        if finished {
            self.end(&subject, &format!("DONE {}", seconds(elapsed)));
        }
    }

    /// The number of a subject and the time since it began.
    fn item(&self, subject: &Subject) -> (usize, Duration) {
        self.items.get(subject).map_or((0, Duration::ZERO), |item| {
            (item.number, (self.clock)().saturating_sub(item.started))
        })
    }

    /// Makes a subject the one whose lines come next.
    fn turn(&mut self, subject: &Subject) {
        if self.current.as_ref() == Some(subject) {
            return;
        }
        self.leave();
        let number = self.items.len() + 1;
        let started = (self.clock)();
        let item = self.items.entry(subject.clone());
        let item = item.or_insert(Item {
            number,
            started,
            shown: None,
            is_open: true,
        });
        item.is_open = true;
        let number = item.number;
        let name = match subject {
            Subject::Vertex(vertex) => self.names.get(*vertex).map_or("", String::as_str),
            Subject::Work(what) => what,
        };
        let header = format!("#{number} {name}\n");
        self.write(&header);
        self.current = Some(subject.clone());
    }

    /// Leaves the current subject, with dots if it isn't done.
    fn leave(&mut self) {
        if let Some(item) = self.current.take().and_then(|subject| self.items.get(&subject)) {
            let dots = if item.is_open {
                format!("#{} ...\n", item.number)
            } else {
                String::new()
            };
            self.write(&format!("{dots}\n"));
        }
    }

    fn end(&mut self, subject: &Subject, how: &str) {
        self.turn(subject);
        if let Some(item) = self.items.get_mut(subject) {
            item.is_open = false;
            let line = format!("#{} {how}\n", item.number);
            self.write(&line);
        }
    }

    /// A reader that went away is no reason to stop a build.
    fn write(&mut self, text: &str) {
        let written = self
            .writer
            .write_all(text.as_bytes())
            .and_then(|()| self.writer.flush());
        self.is_broken |= written.is_err();
    }
}
