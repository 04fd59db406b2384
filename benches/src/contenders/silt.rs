//! Silt: an engine of its own on a store of its own, running when the clock starts, as Docker's daemon is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::{BASE, Base, Builder};
use crate::command::{run, timed};

struct Silt {
    binary: PathBuf,
    store: PathBuf,
}

pub fn version(base: &Base) -> Result<String> {
    Ok(run(Command::new(&base.silt).arg("--version"))?.trim().to_owned())
}

pub fn start(base: &Base, root: &Path) -> Result<Box<dyn Builder>> {
    let silt = Silt {
        binary: base.silt.clone(),
        store: root.join("store"),
    };
    run(silt.command("import").arg(&base.tar).arg(BASE))?;
    Ok(Box::new(silt))
}

impl Silt {
    fn command(&self, command: &str) -> Command {
        let mut silt = Command::new(&self.binary);
        silt.arg(command).env("SILT_STORE", &self.store);
        silt
    }
}

impl Builder for Silt {
    fn build(&mut self, context: &Path, tag: &str) -> Result<Duration> {
        timed(
            self.command("build")
                .args(["--progress", "plain", "-t", tag])
                .arg(context),
        )
    }

    fn root(&self) -> &Path {
        &self.store
    }

    fn stop(&mut self) -> Result<()> {
        run(self.command("engine").arg("stop")).map(drop)
    }
}

impl Drop for Silt {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("silt engine stop: {error:#}");
        }
    }
}
