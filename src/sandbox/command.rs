//! The command itself.
//!
//! In: a Spec's arguments and environment, in a process that is confined already. Effect: this process becomes the command, or its
//! init; or it says on its standard error why it cannot, in Docker's words, and ends with 126 or 127.

use std::ffi::{CStr, CString};
use std::io;

use nix::errno::Errno;
use nix::unistd::execve;

use super::Spec;
use super::error::{During, Failure, Step};
use super::sys::{self, SingleThreaded};

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// Arguments and environment as the kernel wants them.
pub(super) struct Command {
    arguments: Vec<CString>,
    environment: Vec<CString>,
    candidates: Vec<CString>,
}

impl Command {
    /// # Errors
    /// When there are no arguments, or one holds a NUL byte.
    pub(super) fn new(spec: &Spec) -> Result<Self, Failure> {
        let strings = |from: &[String]| {
            from.iter()
                .map(|text| CString::new(text.as_str()).map_err(|_| Errno::EINVAL))
                .collect::<Result<Vec<_>, _>>()
        };
        let program = spec
            .argv
            .first()
            .ok_or(Errno::EINVAL)
            .during(|| Step::Arguments)?;
        let path = spec
            .env
            .iter()
            .rev()
            .find_map(|variable| variable.strip_prefix("PATH="))
            .unwrap_or(DEFAULT_PATH);
        let candidates: Vec<String> = if program.contains('/') {
            vec![program.clone()]
        } else if program.is_empty() {
            Vec::new()
        } else {
            path.split(':')
                .map(|directory| join(directory, program))
                .collect()
        };
        Ok(Self {
            arguments: strings(&spec.argv).during(|| Step::Arguments)?,
            environment: strings(&spec.env).during(|| Step::Arguments)?,
            candidates: strings(&candidates).during(|| Step::Arguments)?,
        })
    }

    /// Becomes the command. Comes back only to say why not, on standard error, and ends the process.
    pub(super) fn execute(&self) -> ! {
        let mut answer = Errno::ENOENT;
        let mut tried: Option<&CStr> = None;
        for candidate in &self.candidates {
            let Err(errno) = execve(candidate, &self.arguments, &self.environment);
            match errno {
                Errno::ENOENT | Errno::ENOTDIR if tried.is_none() => answer = Errno::ENOENT,
                Errno::ENOENT | Errno::ENOTDIR => {}
                // A directory of PATH may hold an unreadable one and a later directory the right one.
                Errno::EACCES => (answer, tried) = (errno, Some(candidate.as_c_str())),
                _ => {
                    (answer, tried) = (errno, Some(candidate.as_c_str()));
                    break;
                }
            }
        }
        let name = self
            .arguments
            .first()
            .map(|name| name.to_string_lossy())
            .unwrap_or_default();
        let found = tried.map(CStr::to_string_lossy);
        let (message, status) = explain(&name, found.as_deref(), answer);
        // Nobody is left to hear that standard error is closed.
        drop(io::Write::write_all(&mut io::stderr(), message.as_bytes()));
        sys::exit(status)
    }

    /// Stays as a minimal init: runs the command as a child, passes signals on, reaps, and ends as the child does. All signals are
    /// blocked.
    pub(super) fn execute_under_init(
        &self,
        proof: SingleThreaded,
    ) -> Result<std::convert::Infallible, Failure> {
        use nix::sys::signal::{SigSet, Signal};
        let all = SigSet::all();
        let Some(child) = sys::fork(proof).during(|| Step::Init)? else {
            // A group of its own, in the foreground, so that a terminal's Ctrl-C comes once and not through the init again. Both fail
            // without a terminal, which is no loss.
            let _group = nix::unistd::setpgid(nix::unistd::Pid::this(), nix::unistd::Pid::this());
            let _foreground = nix::unistd::tcsetpgrp(io::stdin(), nix::unistd::Pid::this());
            all.thread_unblock().during(|| Step::Init)?;
            self.execute()
        };
        let child_pid = nix::unistd::Pid::from_raw(child.as_raw_nonzero().get());
        loop {
            match all.wait().during(|| Step::Init)? {
                Signal::SIGCHLD => {
                    if let Some(status) = reap(child_pid) {
                        sys::exit(status);
                    }
                }
                // The child may be gone already; its end is then on its way.
                signal => drop(nix::sys::signal::kill(child_pid, signal)),
            }
        }
    }
}

/// Reaps all that ended; gives the exit status if `main` was among them.
fn reap(main: nix::unistd::Pid) -> Option<i32> {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == main => return Some(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == main => return Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

fn join(directory: &str, program: &str) -> String {
    if directory.is_empty() {
        format!("./{program}")
    } else {
        format!("{directory}/{program}")
    }
}

/// Docker's words and exit status for a command that cannot be executed.
fn explain(name: &str, found: Option<&str>, errno: Errno) -> (String, i32) {
    match (errno, found) {
        (Errno::ENOENT, _) if name.contains('/') => (
            format!("exec: {name:?}: stat {name}: no such file or directory\n"),
            NOT_FOUND,
        ),
        (Errno::ENOENT, _) => (
            format!("exec: {name:?}: executable file not found in $PATH\n"),
            NOT_FOUND,
        ),
        (Errno::EACCES, _) => (format!("exec: {name:?}: permission denied\n"), NOT_EXECUTABLE),
        (errno, found) => (
            format!(
                "exec {}: {}\n",
                found.unwrap_or(name),
                errno.desc().to_lowercase()
            ),
            NOT_EXECUTABLE,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_read_like_dockers() {
        assert_eq!(
            explain("foo", None, Errno::ENOENT),
            ("exec: \"foo\": executable file not found in $PATH\n".into(), 127)
        );
        assert_eq!(
            explain("/foo", None, Errno::ENOENT),
            (
                "exec: \"/foo\": stat /foo: no such file or directory\n".into(),
                127
            )
        );
        assert_eq!(
            explain("/etc", Some("/etc"), Errno::EACCES),
            ("exec: \"/etc\": permission denied\n".into(), 126)
        );
        assert_eq!(
            explain("x", Some("/bin/x"), Errno::ENOEXEC),
            ("exec /bin/x: exec format error\n".into(), 126)
        );
    }
}
