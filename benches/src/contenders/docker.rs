//! Debian's docker.io: its own builder, and the BuildKit inside the same daemon, both through Debian's client.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{BASE, Base, Builder};
use crate::command::{run, timed};

/// Debian's client, not a newer one that may come first in PATH.
const CLIENT: &str = "/usr/bin/docker";

struct Docker {
    daemon: Child,
    folder: PathBuf,
    data: PathBuf,
    buildkit: bool,
}

pub fn version(_: &Base) -> Result<String> {
    Ok(run(Command::new("dockerd").arg("--version"))?.trim().to_owned())
}

pub fn start_legacy(base: &Base, root: &Path) -> Result<Box<dyn Builder>> {
    start(base, root, false)
}

pub fn start_buildkit(base: &Base, root: &Path) -> Result<Box<dyn Builder>> {
    start(base, root, true)
}

fn start(base: &Base, root: &Path, buildkit: bool) -> Result<Box<dyn Builder>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/dockerd");
    let daemon = Command::new(script).arg(root).stdin(Stdio::piped()).spawn()?;
    let docker = Docker {
        daemon,
        folder: root.to_owned(),
        data: root.join("data"),
        buildkit,
    };
    let start = Instant::now();
    while run(docker.command().arg("version")).is_err() {
        if start.elapsed() > Duration::from_mins(1) {
            bail!(
                "dockerd did not come up: {}",
                std::fs::read_to_string(root.join("log"))?
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    run(docker.command().arg("import").arg(&base.tar).arg(BASE))?;
    Ok(Box::new(docker))
}

impl Docker {
    fn command(&self) -> Command {
        let mut docker = Command::new(CLIENT);
        docker
            .arg("-H")
            .arg(format!("unix://{}/docker.sock", self.folder.display()));
        docker.env("DOCKER_CONFIG", self.folder.join("config"));
        docker.env("DOCKER_BUILDKIT", if self.buildkit { "1" } else { "0" });
        docker
    }
}

impl Builder for Docker {
    fn build(&mut self, context: &Path, tag: &str) -> Result<Duration> {
        let mut command = self.command();
        command.args(["build", "--network=host", "-t", tag]);
        if self.buildkit {
            command.arg("--progress=plain");
        }
        timed(command.arg(context))
    }

    fn root(&self) -> &Path {
        &self.data
    }

    fn stop(&mut self) -> Result<()> {
        drop(self.daemon.stdin.take());
        self.daemon.wait().context("dockerd").map(drop)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("dockerd: {error:#}");
        }
    }
}
