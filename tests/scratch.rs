//! A store of its own for a test: every command of the built binary runs on it, its engine ends with it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

pub(crate) struct Scratch {
    dir: TempDir,
    pub(crate) store: PathBuf,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let dir = TempDir::with_prefix("silt-test-").unwrap();
        let store = dir.path().join("store");
        Self { dir, store }
    }

    /// A directory for the test's own files.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The command, ready to be changed further.
    pub(crate) fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_silt"));
        command
            .env("SILT_STORE", &self.store)
            .env("SILT_IDLE", "30")
            .env("NO_COLOR", "1")
            .current_dir(self.path())
            .stdin(Stdio::null())
            .args(arguments);
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Ended {
        Ended::from(self.command(arguments).output().unwrap())
    }

    /// The engine's process, from its lock file, if one runs.
    pub(crate) fn engine_pid(&self) -> Option<i32> {
        let status = self.run(["engine", "status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status.stdout).ok()?;
        Some(status.get("Pid")?.as_i64()? as i32)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let stopped = self.run(["engine", "stop"]);
        assert!(
            stopped.status == 0 || std::thread::panicking(),
            "the engine did not stop: {stopped:?}"
        );
    }
}

/// What a command gave.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The standard output of a command that must have succeeded.
    #[track_caller]
    pub(crate) fn success(self) -> String {
        assert_eq!(self.status, 0, "{self:?}");
        self.stdout
    }

    /// The standard error of a command that must have ended with `status`.
    #[track_caller]
    pub(crate) fn failure(self, status: i32) -> String {
        assert_eq!(self.status, status, "{self:?}");
        self.stderr
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        Self {
            status: output
                .status
                .code()
                .unwrap_or_else(|| 128 + output.status.signal().unwrap()),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
