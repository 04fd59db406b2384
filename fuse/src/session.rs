//! One mount from its first message to its last.
//!
//! In: a device, a store, a base. Out: what was changed, frozen. Effects: threads, which end when the mount is gone from every
//! namespace. The mount itself is made by another process, before or after `Session::start`.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use parking_lot::{Condvar, Mutex};
use silt_store::{GuestPath, Store};

use crate::adapter::{self, Adapter};
use crate::error::FsError;
use crate::frozen::{Base, Frozen};
use crate::fs::{Fs, Options};

/// How long `finish` waits for a mount to go that its caller says is gone. Writing back large maps takes seconds.
const PATIENCE: Duration = Duration::from_mins(5);

/// Whether the server has ended, in whatever way.
#[derive(Debug, Default)]
struct Ended {
    yes: Mutex<bool>,
    changed: Condvar,
}

impl Ended {
    fn wait(&self) -> bool {
        let mut yes = self.yes.lock();
        self.changed.wait_while_for(&mut yes, |yes| !*yes, PATIENCE);
        *yes
    }
}

/// Says so when dropped, by a panic too.
struct Ending(Arc<Ended>);

impl Drop for Ending {
    fn drop(&mut self) {
        *self.0.yes.lock() = true;
        self.0.changed.notify_all();
    }
}

/// A served mount. Dropped without `finish`, it serves no more.
#[derive(Debug)]
pub struct Session {
    fs: Arc<Fs>,
    /// Stops waiting for a mount that will never come.
    stop: Arc<AtomicBool>,
    server: Option<JoinHandle<io::Result<()>>>,
    ended: Arc<Ended>,
    device: i32,
}

impl Session {
    /// Serves the mount of `device`, which another process makes with `mount_at`. Returns at once.
    ///
    /// # Errors
    /// `Store` when the base cannot be read, `Io` when staging or threads cannot be had.
    pub fn start(
        device: OwnedFd,
        store: Arc<dyn Store>,
        base: Base,
        options: Options,
    ) -> Result<Self, FsError> {
        let fs = Arc::new(Fs::new(store, base, &options)?);
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::new(Ended::default());
        let number = device.as_raw_fd();
        let server = std::thread::Builder::new()
            .name("silt-fuse".into())
            .spawn({
                let (fs, stop, ending) = (Arc::clone(&fs), Arc::clone(&stop), Ending(Arc::clone(&ended)));
                move || {
                    let _ending = ending;
                    serve(device, fs, &stop, &options)
                }
            })
            .map_err(|source| FsError::Io {
                doing: "starting a thread",
                source,
            })?;
        Ok(Self {
            fs,
            stop,
            server: Some(server),
            ended,
            device: number,
        })
    }

    /// Waits for the kernel's last message and freezes the tree. To be called when every process that used the mount is dead and
    /// the mount is gone from every namespace (or was never made): then the kernel has written back all it had.
    ///
    /// # Errors
    /// `StillMounted`, `Panicked`, `Io`, `Store`.
    pub fn finish(mut self) -> Result<Frozen, FsError> {
        self.stop.store(true, Ordering::Release);
        if !self.ended.wait() {
            return Err(FsError::StillMounted(PATIENCE));
        }
        if let Some(server) = self.server.take() {
            server
                .join()
                .map_err(|_| FsError::Panicked)?
                .map_err(|source| FsError::Io {
                    doing: "serving the mount",
                    source,
                })?;
        }
        self.fs.freeze()
    }

    /// Takes out a mount point that was made for the container (a directory, or else an empty file), if it is still empty; the time
    /// of its parent stays. To be called before `finish`, when the mount is gone.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove_stub(&self, path: &GuestPath, directory: bool) -> Result<(), FsError> {
        self.fs.remove_stub(path, directory).map_err(|error| FsError::Io {
            doing: "removing a mount point",
            source: error.into(),
        })
    }

    /// The tree as it is now; the mount goes on. What the kernel holds back is not in it: sync the mount first (syncfs), and stop
    /// its processes if the snapshot must be consistent among files.
    ///
    /// # Errors
    /// `Io`, `Store`.
    pub fn checkpoint(&self) -> Result<Frozen, FsError> {
        self.fs.freeze()
    }

    /// How many messages of each kind the kernel has sent.
    pub fn messages(&self) -> Vec<(&'static str, u64)> {
        self.fs.trace.messages()
    }

    /// How many inodes are in memory: those the kernel knows and those that were changed.
    pub fn inodes(&self) -> usize {
        self.fs.upper().table.len()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.fs.refuse();
        if self.server.as_ref().is_some_and(|server| !server.is_finished()) {
            abort(self.device);
        }
    }
}

/// Waits for the mount and serves it until it is gone.
fn serve(device: OwnedFd, fs: Arc<Fs>, stop: &AtomicBool, options: &Options) -> io::Result<()> {
    if !wait_until_mounted(&device, stop)? {
        return Ok(());
    }
    adapter::serve(Adapter::new(fs, !options.trace), device, options.threads)
}

/// Whether a mount came. A read with too small a buffer takes no message, but tells an unmounted device (`EPERM`) from a mounted one.
fn wait_until_mounted(device: &OwnedFd, stop: &AtomicBool) -> io::Result<bool> {
    let mut pause = Duration::from_micros(20);
    loop {
        match nix::unistd::read(device, &mut [0; 16]) {
            Ok(_) | Err(Errno::EINVAL) => return Ok(true),
            Err(Errno::ENODEV) => return Ok(false),
            Err(Errno::EPERM) if stop.load(Ordering::Acquire) => return Ok(false),
            Err(Errno::EPERM) => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(1));
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Tells the kernel to fail whatever waits on this connection. Needs fusectl to be mounted; without it every further message is
/// refused (`Fs::refuse`), and the connection ends with its mount.
fn abort(device: i32) {
    let Ok(info) = std::fs::read_to_string(format!("/proc/self/fdinfo/{device}")) else {
        return;
    };
    let Some(connection) = info
        .lines()
        .find_map(|line| line.strip_prefix("fuse_connection:"))
    else {
        return;
    };
    let path = format!("/sys/fs/fuse/connections/{}/abort", connection.trim());
    if let Err(error) = std::fs::write(&path, "1") {
        tracing::debug!(%error, path, "the connection ends with its mount");
    }
}
