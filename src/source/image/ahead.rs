//! Layers fetched ahead of their turn: a few at once, each into an unnamed file that can be read while it grows.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

use crate::images::ImageError;
use crate::oci::manifest::Descriptor;
use crate::oci::reference::Reference;
use crate::registry::{BlobReader, Client};

/// Connections at once; registries limit them, and disks gain nothing from more.
const CONNECTIONS: usize = 3;
const PIECE: usize = 128 << 10;
/// Progress is told after so many bytes.
const REPORT: u64 = 1 << 20;

/// The layers on their way.
pub(super) struct Ahead {
    slots: Vec<Slot>,
    next: AtomicUsize,
    received: AtomicU64,
    stopped: AtomicBool,
}

struct Slot {
    file: File,
    size: u64,
    /// Taken by the thread that fetches it.
    blob: Mutex<Option<BlobReader>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    arrived: u64,
    /// Set when no more will come.
    ended: Option<io::Result<()>>,
}

impl Ahead {
    pub(super) fn new(
        client: &Arc<Client>,
        name: &Reference,
        layers: &[Descriptor],
    ) -> Result<Self, ImageError> {
        let slot = |layer: &Descriptor| {
            let file = tempfile::tempfile().map_err(|source| ImageError::Read {
                path: PathBuf::from("a temporary file"),
                source,
            })?;
            Ok(Slot {
                file,
                size: layer.size,
                blob: Mutex::new(Some(client.blob(name, layer))),
                state: Mutex::default(),
                changed: Condvar::new(),
            })
        };
        Ok(Self {
            slots: layers.iter().map(slot).collect::<Result<_, ImageError>>()?,
            next: AtomicUsize::new(0),
            received: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        })
    }

    /// Starts the threads that fetch.
    pub(super) fn start<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        report: &'env (dyn Fn(u64) + Sync),
        cancelled: &'env (dyn Fn() -> bool + Sync),
    ) {
        for _ in 0..CONNECTIONS.min(self.slots.len()) {
            scope.spawn(move || {
                while let Some(slot) = self.slots.get(self.next.fetch_add(1, Ordering::Relaxed)) {
                    let ended = self.fetch(slot, report, cancelled);
                    lock(&slot.state).ended = Some(ended);
                    slot.changed.notify_all();
                }
            });
        }
    }

    /// Ends the fetching of what has not arrived.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Reads layer `index` from its beginning, waiting for what has not arrived.
    pub(super) fn reader(&self, index: usize) -> impl Read + Send + '_ {
        Reader {
            slot: &self.slots[index],
            position: 0,
        }
    }

    fn fetch(
        &self,
        slot: &Slot,
        report: &(dyn Fn(u64) + Sync),
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> io::Result<()> {
        let Some(mut blob) = lock(&slot.blob).take() else {
            return Ok(());
        };
        let mut buffer = vec![0; PIECE];
        let mut position = 0;
        loop {
            if self.stopped.load(Ordering::Relaxed) || cancelled() {
                return Err(io::Error::other("cancelled"));
            }
            let read = blob.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            slot.file.write_all_at(&buffer[..read], position)?;
            position += read as u64;
            lock(&slot.state).arrived = position;
            slot.changed.notify_all();
            let before = self.received.fetch_add(read as u64, Ordering::Relaxed);
            if before / REPORT != (before + read as u64) / REPORT {
                report(before + read as u64);
            }
        }
    }
}

struct Reader<'a> {
    slot: &'a Slot,
    position: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = lock(&self.slot.state);
        while state.arrived == self.position && state.ended.is_none() {
            state = self
                .slot
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let available = state.arrived - self.position;
        if available == 0 {
            return match state.ended.take() {
                Some(Err(error)) if self.position < self.slot.size => {
                    state.ended = Some(Ok(()));
                    Err(error)
                }
                ended => {
                    state.ended = ended;
                    Ok(0)
                }
            };
        }
        drop(state);
        let wanted = available.min(buffer.len() as u64) as usize;
        let read = self.slot.file.read_at(&mut buffer[..wanted], self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
