//! The engine's side: starts the helper, asks it for processes, hears of their ends.
//!
//! In: Specs. Out: `Running`. Any thread may spawn, signal and wait: requests are single datagrams, and each process has a channel
//! of its own. Dropping a `Running` kills its process; dropping the `Helper` kills all.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio as Stream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::SandboxError;
use super::launch::COMMAND;
use super::wire::{self, Event, Hello, Order, Request, Root};
use super::{Exit, RootFilesystem, Spec, Stdio, Stub};

/// The helper process, one for each engine.
#[derive(Debug)]
pub struct Helper {
    control: Arc<OwnedFd>,
    launcher: Child,
    next: AtomicU64,
}

impl Helper {
    /// Starts `<executable> sandbox-helper` and waits until it is ready. As an ordinary user this makes a user namespace.
    ///
    /// # Errors
    /// `Start` when it cannot be executed; `Setup` with the failed step; `Gone` when it ended without a word.
    pub fn start(executable: &Path) -> Result<Self, SandboxError> {
        let start = |source| SandboxError::Start {
            executable: executable.to_owned(),
            source,
        };
        let (control, theirs) = wire::pair().map_err(start)?;
        let launcher = Command::new(executable)
            .arg(COMMAND)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stream::null())
            .spawn()
            .map_err(start)?;
        // From here on an early return ends the helper: its socket closes.
        let helper = Self {
            control: Arc::new(control),
            launcher,
            next: AtomicU64::new(1),
        };
        match wire::receive::<Hello>(&*helper.control).map_err(talk)? {
            Some((Hello::Ready, _)) => Ok(helper),
            Some((Hello::Failed(failure), _)) => Err(failure.into()),
            None => Err(SandboxError::Gone),
        }
    }

    /// Starts a container and comes back when its command is about to be executed.
    ///
    /// # Errors
    /// `Setup` with the failed step, `Serve` with what the root filesystem's callback gave, `Gone`, `Talk`. That the command cannot be
    /// executed is no error but exit status 126 or 127.
    pub fn spawn(&self, spec: &Spec, root: RootFilesystem, stdio: Stdio) -> Result<Running, SandboxError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (serve, root) = match root {
            RootFilesystem::Fuse(serve) => (Some(serve), Root::Fuse),
            RootFilesystem::Directory(path) => (None, Root::Directory(path)),
        };
        let request = Request::Spawn {
            id,
            spec: Box::new(spec.clone()),
            root,
        };
        Running::start(&self.control, id, &request, stdio, serve)
    }
}

impl Drop for Helper {
    /// Ends the helper, which ends all containers, and waits until their cgroups are removed.
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _gone = rustix::net::shutdown(&*self.control, rustix::net::Shutdown::Both);
        let _status = self.launcher.wait();
    }
}

fn talk(source: io::Error) -> SandboxError {
    if source.kind() == io::ErrorKind::BrokenPipe {
        SandboxError::Gone
    } else {
        SandboxError::Talk { source }
    }
}

type Serve = Box<dyn FnOnce(OwnedFd) -> io::Result<()> + Send>;

/// A process in a container: the container's first (`Helper::spawn`) or a further one (`Running::exec`). Dropping it kills the
/// process, and with the first all others.
#[derive(Debug)]
pub struct Running {
    control: Arc<OwnedFd>,
    container: u64,
    channel: OwnedFd,
    pid: i32,
    stubs: Vec<Stub>,
    pty: Mutex<Option<OwnedFd>>,
    end: Mutex<Option<End>>,
}

#[derive(Debug, Clone, Copy)]
struct End {
    exit: Exit,
    oom_kills: u64,
}

impl Running {
    fn start(
        control: &Arc<OwnedFd>,
        container: u64,
        request: &Request,
        stdio: Stdio,
        mut serve: Option<Serve>,
    ) -> Result<Self, SandboxError> {
        let (channel, theirs) = wire::pair().map_err(talk)?;
        let memory = wire::pack(request).map_err(talk)?;
        let descriptors: [BorrowedFd<'_>; wire::REQUEST_DESCRIPTORS] = [
            memory.as_fd(),
            theirs.as_fd(),
            stdio.stdin.as_fd(),
            stdio.stdout.as_fd(),
            stdio.stderr.as_fd(),
        ];
        wire::send(control.as_fd(), &(), &descriptors).map_err(talk)?;
        drop((theirs, stdio));
        let mut pty = None;
        loop {
            let Some((event, mut descriptors)) = wire::receive::<Event>(&channel).map_err(talk)? else {
                return Err(SandboxError::Gone);
            };
            match (event, descriptors.pop()) {
                (Event::Device, Some(device)) => {
                    let served = serve.take().map_or(Ok(()), |serve| serve(device));
                    served.map_err(|source| SandboxError::Serve { source })?;
                }
                (Event::Terminal, master) => pty = master,
                (Event::Started { pid, stubs }, _) => {
                    let (pty, end) = (Mutex::new(pty), Mutex::new(None));
                    return Ok(Self {
                        control: Arc::clone(control),
                        container,
                        channel,
                        pid,
                        stubs,
                        pty,
                        end,
                    });
                }
                (Event::Failed(failure), _) => {
                    // Until the child is gone: its mounts are in use no longer.
                    while let Ok(Some((event, _))) = wire::receive::<Event>(&channel) {
                        if matches!(event, Event::Exited { .. }) {
                            break;
                        }
                    }
                    return Err(failure.into());
                }
                (Event::Exited { exit, .. }, _) => return Err(SandboxError::Died { exit }),
                (Event::Device, None) => return Err(talk(io::ErrorKind::InvalidData.into())),
            }
        }
    }

    /// Starts a further process in the same container. Of the spec count `argv`, `env`, `cwd`, `identity`, `tty`, `privileged` and
    /// `limits.ulimits`; the rest is the container's.
    ///
    /// # Errors
    /// As [`Helper::spawn`]; `Setup` at `Step::Join` when the container is ending.
    pub fn exec(&self, spec: &Spec, stdio: Stdio) -> Result<Self, SandboxError> {
        let spec = Spec {
            init: false,
            ..spec.clone()
        };
        let request = Request::Exec {
            container: self.container,
            spec: Box::new(spec),
        };
        Self::start(&self.control, self.container, &request, stdio, None)
    }

    /// The process, as the host numbers it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Mount points that the root filesystem lacked and that were created in it, parents before children. Whoever commits the
    /// filesystem removes, last first, those that are still empty.
    pub fn created_stubs(&self) -> &[Stub] {
        &self.stubs
    }

    /// The terminal's master, once, if the spec asked for a tty.
    pub fn take_pty(&self) -> Option<OwnedFd> {
        self.pty.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Sends a signal to the process. A first process is pid 1 of its namespace: the kernel drops signals that it doesn't handle, but
    /// for SIGKILL and SIGSTOP. Signalling what has ended is no error.
    ///
    /// # Errors
    /// `Talk`.
    pub fn signal(&self, signal: i32) -> Result<(), SandboxError> {
        match wire::send(self.channel.as_fd(), &Order::Signal(signal), &[]) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => Ok(()),
            other => other.map_err(talk),
        }
    }

    /// Kills the process; with the first of a container, all of it.
    ///
    /// # Errors
    /// `Talk`.
    pub fn kill(&self) -> Result<(), SandboxError> {
        self.signal(libc::SIGKILL)
    }

    /// Waits for the end. For a container's first process that is the container's: when this returns, every process of it is reaped,
    /// its mount namespace and its cgroups are gone. May be called often and from several threads.
    ///
    /// # Errors
    /// `Gone` when the helper ended, and the container with it; `Talk`.
    pub fn wait(&self) -> Result<Exit, SandboxError> {
        self.end().map(|end| end.exit)
    }

    /// Waits for the end; how many processes of the container were killed for memory (a compiler's child, say, whose parent
    /// then reports a plain failure).
    ///
    /// # Errors
    /// As [`Running::wait`].
    pub fn oom_kills(&self) -> Result<u64, SandboxError> {
        self.end().map(|end| end.oom_kills)
    }

    fn end(&self) -> Result<End, SandboxError> {
        let mut known = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        while known.is_none() {
            match wire::receive::<Event>(&self.channel).map_err(talk)? {
                Some((Event::Exited { exit, oom_kills }, _)) => *known = Some(End { exit, oom_kills }),
                Some(_) => {}
                None => return Err(SandboxError::Gone),
            }
        }
        known.ok_or(SandboxError::Gone)
    }
}
