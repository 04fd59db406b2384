//! The engine's lock on its store: held as long as an engine lives, let go by the kernel when it dies.
//!
//! In: a store directory. Out: proof that nobody else is its engine. Effects: one file. `RocksDB` refuses a second opener, too;
//! this lock can be waited for, and says who holds it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::engine::error::EngineError;

/// The right to be the engine of a store directory.
pub struct EngineLock {
    store: PathBuf,
    _held: Flock<File>,
}

impl EngineLock {
    /// Takes the lock, making the directory when missing; while another engine holds it, tells `on_wait` whose process that is
    /// and waits.
    ///
    /// # Errors
    /// `Io`.
    pub fn take(store: &Path, on_wait: &mut dyn FnMut(Option<u32>)) -> Result<Self, EngineError> {
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
        let mut held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => held,
            Err((busy, _)) => {
                file = busy;
                let mut text = String::new();
                file.read_to_string(&mut text).map_err(failed)?;
                on_wait(text.trim().parse().ok());
                lock(file).map_err(failed)?
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
        .open(store.join("engine.lock"))
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
                EngineLock::take(dir.path(), &mut |pid| tell.send(pid).unwrap()).unwrap();
                dir
            });
            assert_eq!(told.recv().unwrap(), Some(std::process::id()));
            assert!(!second.is_finished());
            drop(first);
            second.join().unwrap();
        });
    }
}
