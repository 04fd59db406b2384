//! The client's side of a container's terminal: raw mode while it lasts, keys to the container, the window's size kept.
//!
//! The engine copies what the container writes; the client writes what the user types into the terminal's master.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use signal_hook::consts::SIGWINCH;
use signal_hook::iterator::{Handle, Signals};

/// Raw mode of the user's terminal; the former mode comes back when dropped.
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Switches standard input's terminal; `None` when it is none.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, &self.before) {
            tracing::warn!(%error, "the terminal's mode was not restored");
        }
    }
}

/// Copies keys to the container and follows the window's size until dropped.
pub(crate) struct Relay {
    resizes: Handle,
    _raw: Option<RawMode>,
}

impl Relay {
    /// Starts relaying to `master`.
    pub(crate) fn start(master: OwnedFd, interactive: bool) -> io::Result<Self> {
        follow_size(&master);
        let mut signals = Signals::new([SIGWINCH])?;
        let resizes = signals.handle();
        let sized = master.try_clone()?;
        std::thread::spawn(move || {
            for _ in signals.forever() {
                follow_size(&sized);
            }
        });
        let raw = if interactive { RawMode::enter()? } else { None };
        if interactive {
            // Ends with the process: a read of the user's terminal cannot be called back.
            std::thread::spawn(move || copy_keys(File::from(master)));
        }
        Ok(Self { resizes, _raw: raw })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.resizes.close();
    }
}

fn follow_size(master: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(io::stdout().as_fd()).or_else(|_| tcgetwinsize(io::stdin().as_fd()))
        && let Err(error) = tcsetwinsize(master, size)
    {
        tracing::debug!(%error, "the container's terminal was not resized");
    }
}

/// Until the user's input ends, which the container sees as Ctrl-D, or the container does.
fn copy_keys(mut master: File) {
    let mut buffer = [0; 4096];
    loop {
        match io::stdin().lock().read(&mut buffer) {
            Ok(0) => {
                master.write_all(&[4]).ok();
                return;
            }
            Ok(count) => {
                if master.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
