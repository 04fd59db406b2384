//! The local socket: one engine process for each store, started by whoever needs it first.
//!
//! | file       | does                                                          |
//! |------------|---------------------------------------------------------------|
//! | `frame`    | JSON values and descriptors on a stream socket                |
//! | `build_id` | which build of silt this process is                           |
//! | `place`    | the files in a store directory that processes meet at         |
//! | `listen`   | the engine's side: accept, check, serve, leave when idle      |
//! | `launch`   | start an engine process, exactly one                          |
//! | `connect`  | the client's side: find or start the engine, ask, listen      |
//!
//! A conversation: the client's `Hello`, the engine's `Welcome`, one `Request` with its descriptors; then messages one way and
//! controls the other, until the outcome. The connection's end is the caller's end.

mod build_id;
mod connect;
mod frame;
mod launch;
mod listen;
mod place;

use serde::{Deserialize, Serialize};

pub use build_id::version;
pub use connect::{Client, ConnectError, Controller, Start};
pub use launch::{Announcement, LaunchError};
pub use listen::{Serve, serve};
pub use place::Place;

use crate::engine::call::Message;
use crate::engine::outcome::Outcome;

/// The first frame of a client.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Hello {
    /// See `build_id`.
    version: String,
}

/// The engine's answer to `Hello`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Welcome {
    /// Go on: send a request.
    Ready {
        /// The engine's process.
        pid: u32,
    },
    /// The engine is of another build; it leaves as soon as its work is done. Start a new one.
    Leaving {
        /// The engine's process.
        pid: u32,
        /// Its version.
        version: String,
        /// Requests and containers it has to finish.
        busy: u64,
    },
}

/// What the engine sends after `Welcome::Ready`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    /// Something on the way.
    Message(Message),
    /// The end.
    Outcome(Box<Outcome>),
}
