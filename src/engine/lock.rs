//! The engine's lock on its store: held as long as an engine lives, let go by the kernel when it dies.
//!
//! In: a store directory. Out: proof that nobody else is its engine. Effects: one file. `RocksDB` refuses a second opener, too;
//! this lock can be waited for, and says who holds it.

use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::engine::error::EngineError;

const FILE: &str = "engine.lock";
/// Between two tries.
const MOMENT: Duration = Duration::from_millis(50);

/// Whether to go on waiting for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Yes.
    On,
    /// No.
    NoMore,
}

/// The right to be the engine of a store directory.
pub struct EngineLock {
    store: PathBuf,
    _held: Flock<File>,
}

impl EngineLock {
    /// Takes the lock, making the directory when missing. While another engine holds it, tells `on_wait` whose process that is,
    /// again and again, and gives up when it says so.
    ///
    /// # Errors
    /// `Io`; `Interrupted` when given up.
    pub fn take(store: &Path, on_wait: &mut dyn FnMut(Option<u32>) -> Wait) -> Result<Self, EngineError> {
        let failed = |source: std::io::Error| EngineError::Io {
            doing: "locking the store",
            source,
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(store)
            .map_err(failed)?;
        let mut file = open(store).map_err(failed)?;
        let mut held = loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => break held,
                Err((busy, nix::Error::EWOULDBLOCK | nix::Error::EINTR)) => file = busy,
                Err((_, error)) => return Err(failed(error.into())),
            }
            let holder = std::fs::read_to_string(store.join(FILE)).map_err(failed)?;
            match on_wait(holder.trim().parse().ok()) {
                Wait::On => std::thread::sleep(MOMENT),
                Wait::NoMore => return Err(EngineError::Interrupted),
            }
        };
        held.rewind()
            .and_then(|()| held.set_len(0))
            .and_then(|()| writeln!(held, "{}", std::process::id()))
            .map_err(failed)?;
        let store = store.canonicalize().map_err(failed)?;
        Ok(Self { store, _held: held })
    }

    /// Waits until no engine holds the lock.
    ///
    /// # Errors
    /// `Io`.
    pub fn wait(store: &Path) -> Result<(), EngineError> {
        let waited = open(store).and_then(lock);
        waited.map(drop).map_err(|source| EngineError::Io {
            doing: "waiting for the engine to leave",
            source,
        })
    }

    /// The store directory, absolute.
    pub fn store(&self) -> &Path {
        &self.store
    }
}

fn open(store: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(store.join(FILE))
}

fn lock(mut file: File) -> std::io::Result<Flock<File>> {
    loop {
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(held) => return Ok(held),
            Err((again, nix::Error::EINTR)) => file = again,
            Err((_, error)) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_hears_who_holds_the_lock_and_waits() {
        let dir = tempfile::tempdir().unwrap();
        let first = EngineLock::take(dir.path(), &mut |_| panic!("nobody holds it")).unwrap();
        std::thread::scope(|scope| {
            let (tell, told) = crossbeam::channel::bounded(1);
            let second = scope.spawn(move || {
                let mut on_wait = |pid| {
                    // Nobody listens any more once the test has heard it.
                    tell.try_send(pid).ok();
                    Wait::On
                };
                EngineLock::take(dir.path(), &mut on_wait).unwrap();
                dir
            });
            assert_eq!(told.recv().unwrap(), Some(std::process::id()));
            assert!(!second.is_finished());
            drop(first);
            second.join().unwrap();
        });
    }
}
