//! Requests become outcomes: the composition root, which names the concrete types of every room.
//!
//! In: a store directory, then requests with descriptors, from any thread. Out: outcomes, messages on the way. Effects: all of
//! them. The engine is a library: the local socket, tests and benches call the same `perform`.

pub mod call;
pub mod config;
pub mod error;
mod lock;
pub mod outcome;
pub mod request;

use std::time::Instant;

pub use lock::EngineLock;

use crate::engine::call::Call;
use crate::engine::config::Config;
use crate::engine::error::EngineError;
use crate::engine::outcome::{Outcome, Status};
use crate::engine::request::Request;

/// One engine: the only process that has its store open.
pub struct Engine {
    lock: EngineLock,
    config: Config,
    started: Instant,
}

impl Engine {
    /// Opens the store.
    ///
    /// # Errors
    /// `Io`, `Store`.
    pub fn open(lock: EngineLock, config: Config) -> Result<Self, EngineError> {
        Ok(Self {
            lock,
            config,
            started: Instant::now(),
        })
    }

    /// How this engine behaves.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether something runs without a caller: a detached container, background work.
    pub fn is_busy(&self) -> bool {
        self.running_containers() > 0
    }

    /// How many containers run.
    pub fn running_containers(&self) -> u64 {
        0
    }

    /// Ends every container, gently first.
    pub fn stop_containers(&self) {}

    /// What it is doing, as far as the engine knows: requests and version are the server's to fill in.
    pub fn status(&self) -> Status {
        Status {
            pid: std::process::id(),
            version: String::new(),
            store: self.lock.store().display().to_string(),
            uptime: self.started.elapsed().as_secs(),
            idle: self.config.idle.as_secs(),
            requests: std::collections::BTreeMap::new(),
            containers: self.running_containers(),
            memory: resident_memory(),
        }
    }

    /// Performs a request to its end.
    pub fn perform(&self, request: Request, call: &Call) -> Outcome {
        let performed: Result<Outcome, EngineError> = match request {
            Request::Status => Ok(Outcome::Status(self.status())),
            _ => {
                drop(call.controls());
                Err(EngineError::Protocol { problem: "not yet" })
            }
        };
        performed.unwrap_or_else(|error| Outcome::Failed(error.failure()))
    }

    /// Writes what is only in memory and closes the store.
    pub fn close(&self) {}
}

/// Bytes of this process in memory; 0 where the kernel does not tell.
fn resident_memory() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}
