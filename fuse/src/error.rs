//! Every way the filesystem fails: towards the engine (`FsError`), and towards the kernel (`errno`).

use std::io;
use std::time::Duration;

use nix::errno::Errno;
use silt_store::StoreError;

/// Why a session could not start, freeze or seal.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// The store refused: damaged, full.
    #[error("the store failed under the filesystem")]
    Store(#[from] StoreError),
    /// A system call failed.
    #[error("I/O error while {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The mount is still there: something holds its mount namespace or a file in it.
    #[error("the mount is still in use after {0:?}")]
    StillMounted(Duration),
    /// A thread that served the mount died of a bug; nothing of the session may be kept.
    #[error("a thread serving the mount panicked")]
    Panicked,
}

/// What the kernel is told: every operation ends in a value or in one of these.
pub(crate) type Reply<T> = Result<T, Errno>;

/// The errno for a failure of the store. The cause goes to the log, as a process sees a number only.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
pub(crate) fn store_errno(error: StoreError) -> Errno {
    let errno = match error {
        StoreError::NoSpace(_) => Errno::ENOSPC,
        _ => Errno::EIO,
    };
    tracing::error!(
        error = &error as &dyn std::error::Error,
        "the store failed under a mount"
    );
    errno
}

/// The errno of a system call on the staging disk.
pub(crate) fn io_errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
