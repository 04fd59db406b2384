//! The files of a store directory at which client and engine meet: the socket, two locks, the log.
//!
//! | file          | held or written by                                                                   |
//! |---------------|--------------------------------------------------------------------------------------|
//! | `engine.sock` | the engine's socket, mode 0600                                                       |
//! | `engine.lock` | flocked by the engine as long as it lives (`Engine::open` does it)                    |
//! | `start.lock`  | flocked by a client while it starts an engine, so that ten first commands start one   |
//! | `engine.log`  | the engine's log                                                                     |
//!
//! Socket addresses hold 107 bytes; a longer path is reached through `/proc/self/fd`, so every store directory works.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

const MAX_ADDRESS: usize = 107;

/// A store directory as a meeting place. Absolute and canonical.
#[derive(Debug, Clone)]
pub struct Place {
    store: PathBuf,
}

impl Place {
    /// Makes the directory when it is missing (mode 0700).
    ///
    /// # Errors
    /// The system's; `PermissionDenied` when it belongs to someone else.
    pub fn create(store: &Path) -> io::Result<Self> {
        if !store.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(store)?;
        }
        Self::existing(store)
    }

    /// A store directory that exists.
    ///
    /// # Errors
    /// The system's; `PermissionDenied` when it belongs to someone else.
    pub fn existing(store: &Path) -> io::Result<Self> {
        let store = fs::canonicalize(store)?;
        let owner = fs::metadata(&store)?.uid();
        let user = nix::unistd::geteuid().as_raw();
        if owner != user && user != 0 {
            let message = format!("the store belongs to user {owner}, not to {user}");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        Ok(Self { store })
    }

    /// The store directory.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// The engine's log.
    pub fn log(&self) -> PathBuf {
        self.store.join("engine.log")
    }

    /// The engine's socket.
    pub fn socket(&self) -> PathBuf {
        self.store.join("engine.sock")
    }

    /// Connects to the engine's socket.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused` when no engine listens; the system's.
    pub fn connect(&self) -> io::Result<UnixStream> {
        self.with_address(|address| UnixStream::connect(address))
    }

    /// Listens on the socket in place of one that a dead engine left. Only the holder of the engine's lock may.
    ///
    /// # Errors
    /// The system's.
    pub fn listen(&self) -> io::Result<UnixListener> {
        match fs::remove_file(self.socket()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
        let listener = self.with_address(|address| UnixListener::bind(address));
        nix::sys::stat::umask(before);
        listener
    }

    /// Waits for the right to start an engine; held until dropped.
    ///
    /// # Errors
    /// The system's.
    pub fn lock_start(&self) -> io::Result<Flock<File>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.store.join("start.lock"))?;
        let mut file = file;
        loop {
            match Flock::lock(file, FlockArg::LockExclusive) {
                Ok(lock) => return Ok(lock),
                Err((again, nix::Error::EINTR)) => file = again,
                Err((_, error)) => return Err(error.into()),
            }
        }
    }

    fn with_address<T>(&self, use_address: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let socket = self.socket();
        if socket.as_os_str().len() <= MAX_ADDRESS {
            return use_address(&socket);
        }
        let directory = File::open(&self.store)?;
        use_address(Path::new(&format!(
            "/proc/self/fd/{}/engine.sock",
            directory.as_raw_fd()
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_socket_in_a_very_deep_store_is_reachable_and_private() {
        let dir = tempfile::tempdir().unwrap();
        for store in [
            dir.path().join("s"),
            dir.path().join("deep".repeat(40)).join("deeper".repeat(20)),
        ] {
            let place = Place::create(&store).unwrap();
            assert_eq!(place.connect().unwrap_err().kind(), io::ErrorKind::NotFound);
            let listener = place.listen().unwrap();
            place.connect().unwrap();
            let mode = fs::metadata(place.socket()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            drop(listener);
            assert_eq!(
                place.connect().unwrap_err().kind(),
                io::ErrorKind::ConnectionRefused
            );
            let _again = place.listen().unwrap();
            place.connect().unwrap();
        }
    }
}
