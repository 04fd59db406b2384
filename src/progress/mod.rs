//! What a build tells its user, as data; renderers in files beside this one turn events into lines, bars or JSON.
//!
//! In: events from any thread. Out: text on a writer. Events cross the engine's socket, so they are serde values.

use std::time::Duration;

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
