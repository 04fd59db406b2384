//! What each contender builds: one file and one line in `WORKLOADS` for each.

mod context;
mod steps;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::command::tool;
use crate::contenders::Builder;

/// One timed part of a workload.
#[derive(Debug, Clone, Copy)]
pub struct Phase {
    /// As in results.
    pub name: &'static str,
    pub time: Duration,
    /// Bytes that the builder's root grew by, where that is of interest.
    pub disk: Option<i64>,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}: {:.3} s", self.name, self.time.as_secs_f64())?;
        match self.disk {
            Some(disk) => write!(out, ", {disk} bytes of disk"),
            None => Ok(()),
        }
    }
}

/// A line of the table.
pub struct Workload {
    /// As in results and on the command line.
    pub name: &'static str,
    /// Fills the context, once for all rounds.
    prepare: fn(&Path) -> Result<()>,
    /// What the machine itself needs for phases that have such a floor; the directory is for what it writes.
    pub floor: fn(&Material, &Path) -> Result<Vec<Phase>>,
    /// Builds, several times, in a fresh builder.
    pub run: fn(&mut dyn Builder, &Material) -> Result<Vec<Phase>>,
}

/// All.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "steps",
        prepare: steps::prepare,
        floor: |_, _| Ok(Vec::new()),
        run: steps::run,
    },
    Workload {
        name: "context",
        prepare: context::prepare,
        floor: context::floor,
        run: context::run,
    },
];

/// A workload's context, in a directory that goes with it.
pub struct Material {
    folder: tempfile::TempDir,
}

impl Material {
    /// Makes it.
    pub fn prepare(workload: &Workload, scratch: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("silt-bench-context-")
            .tempdir_in(scratch)?;
        let material = Self { folder };
        fs::create_dir(material.context())?;
        (workload.prepare)(&material.context())?;
        tool("sync", ["-f".as_ref(), scratch.as_os_str()])?;
        Ok(material)
    }

    /// The build context.
    pub fn context(&self) -> PathBuf {
        self.folder.path().join("context")
    }
}
