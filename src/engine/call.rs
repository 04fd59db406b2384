//! One request under way: the descriptors that came with it, where its messages go, and what its caller says meanwhile.
//!
//! In: what a server room received. Out: what a handler needs. No effects of its own. `Peer` is the seam between the engine
//! and whoever called it: the local socket, an in-process test, one day the Docker API.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::channel::{Receiver, Sender, unbounded};
use serde::{Deserialize, Serialize};

use crate::engine::error::EngineError;
use crate::engine::outcome::Change;
use crate::progress::{Event, Sink};

/// The position of a descriptor among those that accompany a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSlot(pub usize);

/// What the engine tells its caller before the outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Progress of a build, pull, export.
    Event(Event),
    /// Some lines of a diff, in path order.
    Changes(Vec<Change>),
    /// A container of this id runs; a terminal's master descriptor comes along if it has one.
    Started {
        /// The container.
        container: String,
    },
}

/// What a caller says while its request runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Ctrl-C: stop the work and leave nothing behind.
    Cancel,
    /// Pass this signal on to the container.
    Signal(i32),
    /// The caller is gone. Never sent: the server room says it when the connection ends.
    Gone,
}

/// Takes messages for a caller. A peer that went away drops them.
pub trait Peer: Send + Sync {
    /// Sends one message and the descriptors that belong to it.
    fn send(&self, message: Message, files: Vec<OwnedFd>);
}

/// One request under way.
pub struct Call {
    peer: Arc<dyn Peer>,
    files: Mutex<Vec<Option<OwnedFd>>>,
    controls: Receiver<Control>,
    cancelled: AtomicBool,
}

impl Call {
    /// A call and the sender of its controls. Dropping the sender means nothing; `Control::Gone` means the caller left.
    pub fn new(peer: Arc<dyn Peer>, files: Vec<OwnedFd>) -> (Self, Sender<Control>) {
        let (sender, controls) = unbounded();
        let files = Mutex::new(files.into_iter().map(Some).collect());
        let cancelled = AtomicBool::new(false);
        (
            Self {
                peer,
                files,
                controls,
                cancelled,
            },
            sender,
        )
    }

    /// Takes the descriptor in `slot`, once.
    ///
    /// # Errors
    /// `Protocol` when there is none.
    pub fn take_file(&self, slot: FileSlot) -> Result<OwnedFd, EngineError> {
        self.files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(slot.0)
            .and_then(Option::take)
            .ok_or(EngineError::Protocol {
                problem: "a descriptor that the request names did not come with it",
            })
    }

    /// Sends a message.
    pub fn send(&self, message: Message, files: Vec<OwnedFd>) {
        self.peer.send(message, files);
    }

    /// What the caller says meanwhile.
    pub fn controls(&self) -> &Receiver<Control> {
        &self.controls
    }

    /// Whether the caller asked to stop, or went away. For work that looks now and then; it takes what was said before.
    pub fn is_cancelled(&self) -> bool {
        let said = self
            .controls
            .try_iter()
            .any(|control| matches!(control, Control::Cancel | Control::Gone));
        self.cancelled.fetch_or(said, Ordering::Relaxed) || said
    }

    /// Remembers that the caller asked to stop.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// A sink that turns events into messages.
    pub fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(PeerSink(Arc::clone(&self.peer)))
    }
}

struct PeerSink(Arc<dyn Peer>);

impl Sink for PeerSink {
    fn event(&self, event: Event) {
        self.0.send(Message::Event(event), Vec::new());
    }
}
