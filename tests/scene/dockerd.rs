//! A private Docker daemon: Debian's docker.io on its own socket and folders, gone with the test, however that ends.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::{Ran, checkout, debian, run, scratch, wait_until};

/// Debian's client, not a newer one that may come first in PATH.
const DOCKER: &str = "/usr/bin/docker";

pub(crate) struct Dockerd {
    daemon: Child,
    folder: TempDir,
}

impl Dockerd {
    /// Starts a daemon without networks of its own: containers use `--network host`.
    pub(crate) fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("dockerd-")
            .tempdir_in(scratch())
            .unwrap();
        // The script ends the daemon when its standard input closes: with this process, if it is killed.
        let daemon = Command::new(checkout().join(".ci/dockerd"))
            .arg(folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let dockerd = Self { daemon, folder };
        let up = wait_until(Duration::from_mins(1), || {
            dockerd.try_docker(["version"]).status == 0
        });
        let log = std::fs::read_to_string(dockerd.folder.path().join("log")).unwrap_or_default();
        assert!(
            up,
            "dockerd did not come up (.ci/install test installs it):\n{log}"
        );
        dockerd
    }

    /// Its socket's address.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(DOCKER);
        command
            .args(["-H", &self.host()])
            .args(arguments)
            .stdin(Stdio::null());
        command
            .env("DOCKER_BUILDKIT", "0")
            .env("DOCKER_CONFIG", self.folder.path().join("config"));
        command
    }

    /// Runs `docker`.
    pub(crate) fn try_docker<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        run(&mut self.command(arguments))
    }

    /// Runs `docker`, which must succeed; returns what it printed.
    #[track_caller]
    pub(crate) fn docker<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        self.try_docker(arguments).ok().stdout
    }

    /// Gives it the Debian base as `debian:latest`.
    pub(crate) fn import_debian(&self) {
        self.docker([
            OsStr::new("import"),
            debian::tar().as_os_str(),
            "debian:latest".as_ref(),
        ]);
    }

    /// Builds with the legacy builder.
    pub(crate) fn build(&self, name: &str, context: &Path) {
        let context = context.as_os_str();
        self.docker([
            OsStr::new("build"),
            "--network=host".as_ref(),
            "-t".as_ref(),
            name.as_ref(),
            context,
        ]);
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        drop(self.daemon.stdin.take());
        if let Err(error) = self.daemon.wait() {
            panic!("dockerd: {error}");
        }
    }
}
