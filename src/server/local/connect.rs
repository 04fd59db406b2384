//! The client's side of the local socket: finds the store's engine or starts it, asks, hands on what it says.
//!
//! In: a place and a request with descriptors. Out: messages as they come, then the outcome. Effects: the socket, and an
//! engine process when there is none. Every way in which an engine can vanish before its welcome leads to another try.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::call::{Control, Message};
use crate::engine::outcome::Outcome;
use crate::engine::request::Request;
use crate::server::local::frame::Channel;
use crate::server::local::launch::{LaunchError, launch};
use crate::server::local::{Hello, Place, Reply, Welcome, version};

/// How many engines may vanish under our hands before we give up.
const MOST_VANISHED: u32 = 20;

/// What to do when no engine runs.
pub enum Start<'a> {
    /// Say so.
    Never,
    /// Start one, with this idle time if given; the callback hears of what it has to wait for.
    IfNeeded {
        /// `None`: as configured.
        idle: Option<Duration>,
        /// Called with a line to show.
        notice: &'a mut dyn FnMut(&str),
    },
}

/// Why there is no engine to talk to, or no outcome.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// None runs, and none was to be started.
    #[error("no engine runs for store {store}")]
    NotRunning {
        /// The store's directory.
        store: String,
    },
    /// None could be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The socket cannot be reached.
    #[error("the engine's socket cannot be used")]
    Socket(#[source] io::Error),
    /// The engine died before the outcome.
    #[error("the engine ended in the middle of this request")]
    EngineDied,
}

/// A welcomed connection to an engine, good for one request.
pub struct Client {
    channel: Arc<Channel>,
    pid: u32,
}

/// Says things to the engine while a request runs, from any thread.
#[derive(Clone)]
pub struct Controller(Arc<Channel>);

enum Attempt {
    Welcome(Client),
    /// No engine listens, or the one that did is leaving.
    Absent,
}

impl Client {
    /// Finds the engine of `place`, or starts it.
    ///
    /// # Errors
    /// See `ConnectError`.
    pub fn connect(place: &Place, start: Start<'_>) -> Result<Self, ConnectError> {
        let Start::IfNeeded { idle, notice } = start else {
            return match Self::attempt(place, &mut |_| {})? {
                Attempt::Welcome(client) => Ok(client),
                Attempt::Absent => Err(ConnectError::NotRunning {
                    store: place.store().display().to_string(),
                }),
            };
        };
        let mut vanished = 0;
        loop {
            if let Attempt::Welcome(client) = Self::attempt(place, notice)? {
                return Ok(client);
            }
            let _starting = place.lock_start().map_err(ConnectError::Socket)?;
            // Whoever held the lock before us may have started one.
            if let Attempt::Welcome(client) = Self::attempt(place, notice)? {
                return Ok(client);
            }
            let launched = launch(place, idle, &mut |pid| match pid {
                Some(pid) => notice(&format!(
                    "waiting for the engine with process id {pid} to finish its work"
                )),
                None => notice("waiting for another engine to finish its work"),
            });
            match launched {
                Ok(()) => {}
                Err(LaunchError::Died) if vanished < MOST_VANISHED => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(error) => return Err(error.into()),
            }
            if let Attempt::Welcome(client) = Self::attempt(place, notice)? {
                return Ok(client);
            }
            vanished += 1;
            if vanished > MOST_VANISHED {
                return Err(ConnectError::EngineDied);
            }
        }
    }

    fn attempt(place: &Place, notice: &mut dyn FnMut(&str)) -> Result<Attempt, ConnectError> {
        let stream = match place.connect() {
            Ok(stream) => stream,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(Attempt::Absent);
            }
            Err(error) => return Err(ConnectError::Socket(error)),
        };
        let channel = Channel::new(stream);
        let hello = Hello {
            version: version().to_owned(),
        };
        // An engine that leaves or dies now closes the connection: as good as absent.
        let welcome = channel
            .send(&hello, &[])
            .and_then(|()| channel.receive::<Welcome>());
        match welcome {
            Ok(Some((Welcome::Ready { pid }, _))) => Ok(Attempt::Welcome(Self {
                channel: Arc::new(channel),
                pid,
            })),
            Ok(Some((Welcome::Leaving { pid, version, busy }, _))) => {
                if busy > 0 {
                    notice(&format!(
                        "the engine of version {version} (process id {pid}) finishes {busy} tasks first"
                    ));
                }
                Ok(Attempt::Absent)
            }
            Ok(None) | Err(_) => Ok(Attempt::Absent),
        }
    }

    /// The engine's process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A way to say things to the engine while `call` runs.
    pub fn controller(&self) -> Controller {
        Controller(Arc::clone(&self.channel))
    }

    /// Asks, hands every message on, and returns the outcome.
    ///
    /// # Errors
    /// `EngineDied` when the connection ends before the outcome.
    pub fn call(
        self,
        request: &Request,
        files: &[OwnedFd],
        on_message: &mut dyn FnMut(Message, Vec<OwnedFd>),
    ) -> Result<Outcome, ConnectError> {
        let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        self.channel
            .send(request, &files)
            .map_err(|_| ConnectError::EngineDied)?;
        loop {
            match self.channel.receive::<Reply>() {
                Ok(Some((Reply::Message(message), files))) => on_message(message, files),
                Ok(Some((Reply::Outcome(outcome), _))) => return Ok(*outcome),
                Ok(None) | Err(_) => return Err(ConnectError::EngineDied),
            }
        }
    }
}

impl Controller {
    /// Says `control`. An engine that is gone hears nothing; its `call` fails by itself.
    pub fn say(&self, control: Control) {
        if let Err(error) = self.0.send(&control, &[]) {
            tracing::debug!(%error, "a control was not sent");
        }
    }
}
