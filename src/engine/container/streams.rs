//! What goes in and out of a container's first process: pipes or a terminal, copied to the log and to the caller.
//!
//! In: the caller's descriptors, if any. Out: what the sandbox needs, then threads that copy until the container is silent for
//! good. Who reads a container's output holds it up and ends it as in a pipe of a shell: one that is slow makes the process wait,
//! one that is gone makes it get SIGPIPE, for a container that writes on unread would fill the disk with its log.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use crate::engine::container::log::Log;
use crate::progress::Stream;
use crate::sandbox::{Running, Stdio};

/// How often a thread that waits for a reader looks whether it still has to, in milliseconds.
const MOMENT: u16 = 100;

/// The engine's ends of a container's streams.
pub(crate) struct Streams {
    sources: Vec<(Stream, File)>,
    output: Option<(File, File)>,
}

impl Streams {
    /// Streams without a terminal: the caller's standard input or none, and a pipe each for what the process writes.
    pub(crate) fn pipes(stdin: Option<OwnedFd>, output: Option<(File, File)>) -> io::Result<(Self, Stdio)> {
        let (stdout_reader, stdout) = io::pipe()?;
        let (stderr_reader, stderr) = io::pipe()?;
        let theirs = Stdio {
            stdin: stdin.map_or_else(null, Ok)?,
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        let sources = vec![
            (Stream::Stdout, File::from(OwnedFd::from(stdout_reader))),
            (Stream::Stderr, File::from(OwnedFd::from(stderr_reader))),
        ];
        Ok((Self { sources, output }, theirs))
    }

    /// Streams of a process that will have a terminal.
    pub(crate) fn terminal(output: Option<(File, File)>) -> io::Result<(Self, Stdio)> {
        let theirs = Stdio {
            stdin: null()?,
            stdout: null()?,
            stderr: null()?,
        };
        let sources = Vec::new();
        Ok((Self { sources, output }, theirs))
    }

    /// Starts copying once the process runs. Gives the threads, and the terminal's master for the caller.
    pub(crate) fn start(
        mut self,
        running: &Running,
        log: Option<&Arc<Log>>,
    ) -> io::Result<(Copiers, Option<OwnedFd>)> {
        let mut master = None;
        if let Some(pty) = running.take_pty() {
            master = Some(pty.try_clone()?);
            self.sources.push((Stream::Stdout, File::from(pty)));
        }
        let (mut stdout, mut stderr) = self.output.unzip();
        let abandoned = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (stream, source) in self.sources {
            let target = match stream {
                Stream::Stdout => stdout.take(),
                Stream::Stderr => stderr.take(),
            };
            let copier = Copier {
                source,
                stream,
                log: log.map(Arc::clone),
                target,
                drains: master.is_some(),
                abandoned: Arc::clone(&abandoned),
            };
            let thread = std::thread::Builder::new()
                .name("output".to_owned())
                .spawn(move || copier.copy())?;
            threads.push(thread);
        }
        Ok((Copiers { threads, abandoned }, master))
    }
}

/// The threads that copy a process's output.
pub(crate) struct Copiers {
    threads: Vec<JoinHandle<io::Result<()>>>,
    abandoned: Arc<AtomicBool>,
}

/// Tells copiers that nobody waits for the output any more.
#[derive(Clone)]
pub(crate) struct Abandon(Arc<AtomicBool>);

impl Abandon {
    /// What no reader has taken by now is dropped instead of waited for.
    pub(crate) fn abandon(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Copiers {
    /// The way to give up on a reader that does not read.
    pub(crate) fn abandon(&self) -> Abandon {
        Abandon(Arc::clone(&self.abandoned))
    }

    /// Waits until everything that was written is copied.
    ///
    /// # Errors
    ///
    /// The caller's streams took not all of it, though somebody wanted it: a full disk, say.
    pub(crate) fn join(self) -> io::Result<()> {
        let mut result = Ok(());
        for thread in self.threads {
            if let Ok(copied) = thread.join() {
                result = result.and(copied);
            } else {
                tracing::error!("a thread that copied output failed");
            }
        }
        result
    }
}

fn null() -> io::Result<OwnedFd> {
    Ok(File::options().read(true).write(true).open("/dev/null")?.into())
}

/// One stream's way out.
struct Copier {
    source: File,
    stream: Stream,
    log: Option<Arc<Log>>,
    target: Option<File>,
    /// Whether it goes on without a reader: the end of a terminal is told by its hang-up.
    drains: bool,
    abandoned: Arc<AtomicBool>,
}

impl Copier {
    /// Until every process that could write has ended, or nobody reads. A terminal's master says the former with EIO.
    fn copy(mut self) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = match self.source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    if error.raw_os_error() != Some(libc::EIO) {
                        tracing::warn!(%error, "a container's output could not be read");
                    }
                    return Ok(());
                }
            };
            let bytes = &buffer[..count];
            if let Some(Err(error)) = self.log.as_ref().map(|log| log.append(self.stream, bytes)) {
                tracing::warn!(%error, "a container's output is no longer logged");
                if let Some(Err(error)) = self.log.take().map(|log| log.cut(&error)) {
                    tracing::warn!(%error, "its log does not say so");
                }
            }
            let delivered = self
                .target
                .as_mut()
                .map_or(Ok(()), |target| deliver(target, bytes, &self.abandoned));
            match delivered {
                Ok(()) => {}
                Err(_) if self.drains => self.target = None,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Writes to a descriptor that is the caller's, who may have made it non-blocking, and whose reader may never read: no write is
/// larger than what a pipe that polls ready takes at once.
fn deliver(target: &mut File, mut bytes: &[u8], abandoned: &AtomicBool) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut ready = [PollFd::new(target.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut ready, MOMENT) {
            Ok(0) if abandoned.load(Ordering::Relaxed) => return Err(io::ErrorKind::BrokenPipe.into()),
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match target.write(&bytes[..bytes.len().min(libc::PIPE_BUF)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                _ => return Err(error),
            },
        }
    }
    Ok(())
}
