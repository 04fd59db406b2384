//! Builders to compare: one file and one line in `CONTENDERS` for each.

mod buildah;
mod docker;
mod silt;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::command::{run, tool};

/// The name that every builder's Debian base has.
pub const BASE: &str = "bench-base:1";

/// What all start from.
pub struct Base {
    /// The silt binary.
    pub silt: PathBuf,
    /// A Debian root filesystem.
    pub tar: PathBuf,
}

impl Base {
    /// The binary given, the base made with mmdebstrap once per machine.
    pub fn find(silt: PathBuf) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/debian-base");
        let tar = PathBuf::from(run(&mut Command::new(script))?.trim_end());
        // In the page cache for all.
        tool("cksum", [&tar])?;
        Ok(Self { silt, tar })
    }
}

/// A builder in a fresh root of its own, which holds the Debian base as `BASE`.
pub trait Builder {
    /// Builds a directory's Dockerfile, from the cache where it can; how long that took.
    fn build(&mut self, context: &Path, tag: &str) -> Result<Duration>;
    /// The directory that holds all it keeps.
    fn root(&self) -> &Path;
    /// Ends what it runs.
    fn stop(&mut self) -> Result<()>;
}

/// A way to start a builder in an empty directory.
type Start = fn(&Base, &Path) -> Result<Box<dyn Builder>>;

/// A line of the table.
pub struct Contender {
    /// As in results and on the command line.
    pub name: &'static str,
    /// Its version; an error says that it is not installed.
    pub version: fn(&Base) -> Result<String>,
    /// Starts it in an empty directory.
    pub start: Start,
}

/// All, the one that others are compared with first.
pub const CONTENDERS: &[Contender] = &[
    Contender {
        name: "silt",
        version: silt::version,
        start: silt::start,
    },
    Contender {
        name: "docker",
        version: docker::version,
        start: docker::start_legacy,
    },
    Contender {
        name: "buildkit",
        version: docker::version,
        start: docker::start_buildkit,
    },
    Contender {
        name: "buildah",
        version: buildah::version,
        start: buildah::start,
    },
];
