//! buildah with cached layers, on overlay storage of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::{BASE, Base, Builder};
use crate::command::{run, timed};

struct Buildah {
    root: PathBuf,
    run_root: PathBuf,
}

pub fn version(_: &Base) -> Result<String> {
    Ok(run(Command::new("buildah").arg("--version"))?.trim().to_owned())
}

pub fn start(base: &Base, root: &Path) -> Result<Box<dyn Builder>> {
    let buildah = Buildah {
        root: root.join("storage"),
        run_root: root.join("run"),
    };
    run(buildah.command("from").args(["--name", "base", "scratch"]))?;
    run(buildah.command("add").arg("base").arg(&base.tar).arg("/"))?;
    run(buildah.command("commit").args(["base", BASE]))?;
    run(buildah.command("rm").arg("base"))?;
    Ok(Box::new(buildah))
}

impl Buildah {
    fn command(&self, command: &str) -> Command {
        let mut buildah = Command::new("buildah");
        buildah
            .arg("--root")
            .arg(&self.root)
            .arg("--runroot")
            .arg(&self.run_root);
        buildah.args(["--storage-driver", "overlay", command]);
        buildah
    }
}

impl Builder for Buildah {
    fn build(&mut self, context: &Path, tag: &str) -> Result<Duration> {
        // Limits of its own choosing are above what some machines let root have.
        let limits = ["--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000"];
        let options = [
            "--layers",
            "--network",
            "host",
            "--runtime",
            "runc",
            "--pull-never",
            "-t",
            tag,
        ];
        timed(self.command("bud").args(options).args(limits).arg(context))
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn stop(&mut self) -> Result<()> {
        // Its overlay mount outlives its commands.
        if run(Command::new("mountpoint")
            .arg("-q")
            .arg(self.root.join("overlay")))
        .is_ok()
        {
            run(Command::new("umount").arg(self.root.join("overlay")))?;
        }
        Ok(())
    }
}

impl Drop for Buildah {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("buildah: {error:#}");
        }
    }
}
