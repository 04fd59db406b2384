//! What a build tells its user, as data; renderers in files beside this one turn events into lines, bars or JSON.
//!
//! In: events from any thread. Out: text on a writer. Events cross the engine's socket, so they are serde values.
//!
//! | kind    | file    | for                                                                    |
//! |---------|---------|------------------------------------------------------------------------|
//! | `plain` | `plain` | logs: every line of every step, numbered as BuildKit's plain output is |
//! | `tty`   | `tty`   | people: running steps with live tails, cached ones folded, bars        |
//! | `json`  | `json`  | programs: one object a line, by `schema.json`                          |
//! | `quiet` | here    | scripts: nothing                                                       |

mod json;
mod plain;
mod text;
mod tty;

use std::io::Write;
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::plan::VertexId;

/// Which of a step's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One thing that happened. Serialised as a JSON object with a `type` field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The plan is known: the vertices' names in order.
    Planned {
        /// `[stage 2/5] RUN ...`
        vertices: Vec<String>,
    },
    /// A vertex began.
    Started {
        /// Which.
        vertex: VertexId,
    },
    /// A vertex's process wrote this. Lossy UTF-8.
    Output {
        /// Which.
        vertex: VertexId,
        /// Where to.
        stream: Stream,
        /// What.
        text: String,
    },
    /// A vertex needed no work.
    Cached {
        /// Which.
        vertex: VertexId,
    },
    /// A vertex is done.
    Finished {
        /// Which.
        vertex: VertexId,
        /// How long it took.
        duration: Duration,
    },
    /// A vertex failed; the build's error follows as the outcome.
    Failed {
        /// Which.
        vertex: VertexId,
        /// How long it took.
        duration: Duration,
        /// One line.
        message: String,
    },
    /// Countable work outside a process: pulling, scanning, sealing, exporting.
    Work {
        /// `pulling debian:12`, stable for one piece of work.
        what: String,
        /// Done so far, in `unit`.
        done: u64,
        /// All of it, if known.
        total: Option<u64>,
        /// `bytes`, `files`.
        unit: String,
        /// Whether it ended.
        finished: bool,
    },
    /// Something the user should know that is no error.
    Warning {
        /// One line.
        message: String,
    },
}

/// Takes events from any thread.
pub trait Sink: Send + Sync {
    /// Takes one event. Never blocks for long and never fails: a sink whose reader went away drops events.
    fn event(&self, event: Event);
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Lines for logs.
    Plain,
    /// A live display.
    Tty,
    /// JSON lines.
    Json,
    /// Nothing.
    Quiet,
}

impl Kind {
    /// All kinds and their names.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Plain, "plain"),
        (Self::Tty, "tty"),
        (Self::Json, "json"),
        (Self::Quiet, "quiet"),
    ];
}

/// A name that is no [`Kind`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown progress {name:?}: expected plain, tty, json or quiet")]
pub struct KindError {
    /// As given.
    pub name: String,
}

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(name: &str) -> Result<Self, KindError> {
        let kind = Self::ALL.into_iter().find(|(_, n)| *n == name);
        kind.map(|(kind, _)| kind).ok_or_else(|| KindError {
            name: name.to_owned(),
        })
    }
}

/// The renderer of a kind, writing to `writer`. Colours only on a tty, and not when `NO_COLOR` is set to anything.
pub fn render(kind: Kind, writer: Box<dyn Write + Send>) -> Box<dyn Sink> {
    let start = Instant::now();
    let clock: Clock = Box::new(move || start.elapsed());
    match kind {
        Kind::Plain => Box::new(plain::Plain::new(writer, clock)),
        Kind::Json => Box::new(json::Json::new(writer, clock)),
        Kind::Tty => Box::new(tty::Tty::new(
            writer,
            std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        )),
        Kind::Quiet => Box::new(Quiet),
    }
}

/// The JSON schema of one line of the `json` kind.
pub const JSON_SCHEMA: &str = include_str!("schema.json");

/// Time since the renderer was made.
type Clock = Box<dyn Fn() -> Duration + Send>;

struct Quiet;

impl Sink for Quiet {
    fn event(&self, _: Event) {}
}

#[cfg(test)]
mod tests;
