//! What goes in and out of a container's first process: pipes or a terminal, copied to the log and to the caller.
//!
//! In: the caller's descriptors, if any. Out: what the sandbox needs, then threads that copy until the container is silent for
//! good. A caller that went away is no reason to stop logging.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::engine::container::log::Log;
use crate::progress::Stream;
use crate::sandbox::{Running, Stdio};

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
        let mut threads = Vec::new();
        for (stream, source) in self.sources {
            let target = match stream {
                Stream::Stdout => stdout.take(),
                Stream::Stderr => stderr.take(),
            };
            let log = log.map(Arc::clone);
            let thread = std::thread::Builder::new()
                .name("output".to_owned())
                .spawn(move || copy(source, stream, log.as_deref(), target))?;
            threads.push(thread);
        }
        Ok((Copiers(threads), master))
    }
}

/// The threads that copy a process's output.
pub(crate) struct Copiers(Vec<JoinHandle<()>>);

impl Copiers {
    /// Waits until everything that was written is copied.
    pub(crate) fn join(self) {
        for copier in self.0 {
            if copier.join().is_err() {
                tracing::error!("a thread that copied output failed");
            }
        }
    }
}

fn null() -> io::Result<OwnedFd> {
    Ok(File::options().read(true).write(true).open("/dev/null")?.into())
}

/// Until every process that could write has ended, which a terminal's master says with EIO, or until the caller reads no more:
/// then this end is closed, and whoever writes on gets SIGPIPE as in any pipeline (`silt run debian yes | head`).
fn copy(mut source: File, stream: Stream, mut log: Option<&Log>, mut target: Option<File>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match source.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                if error.raw_os_error() != Some(libc::EIO) {
                    tracing::warn!(%error, "a container's output could not be read");
                }
                return;
            }
        };
        if let Some(Err(error)) = log.map(|log| log.append(stream, &buffer[..count])) {
            tracing::warn!(%error, "a container's output is no longer logged");
            log = None;
        }
        if let Some(target) = &mut target
            && let Err(error) = target.write_all(&buffer[..count])
        {
            tracing::debug!(%error, "a container's output has lost its reader");
            return;
        }
    }
}
