//! Snapshots: a tree becomes a writable root filesystem, and what a step leaves there becomes a tree.
//!
//! In: a snapshot. Out: another. Effects: by strategy; the store.
//!
//! | file          | turns what into what                                                |
//! |---------------|---------------------------------------------------------------------|
//! | `seal`        | frozen snapshots -> stored ones, behind the build's back            |
//! | `fuse`        | strategy: copy-on-write through FUSE, commit in O(changed)          |
//! | `copy_scan`   | strategy: the whole tree copied out, the whole directory scanned    |
//! | `materialise` | a tree -> a directory                                               |
//! | `scan`        | a directory -> a tree                                               |
//!
//! All strategies commit the same `ContentId` for the same writes, and the same `TreeId` when the writes set all times:
//! `copy_scan` does what anybody would do, and so is the oracle of the others.

mod copy_scan;
mod fuse;
pub mod materialise;
pub mod scan;
mod seal;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use silt_fuse::{Base, Frozen, FsError};
use silt_store::{NameError, Store, StoreError, TreeRef};

pub use materialise::MaterialiseError;
pub use scan::ScanError;
pub use seal::Sealer;

use crate::sandbox::{RootFilesystem, Stub};
use crate::solve::{Failure, Produced};

/// An immutable filesystem: in the store, or on its way there. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Snapshot {
    /// In the store.
    Stored(TreeRef),
    /// What a step left; readable by the next mount, sealed in the background.
    Frozen(Arc<Frozen>),
}

impl Snapshot {
    /// What a mount starts from.
    pub fn base(&self) -> Base {
        match self {
            Self::Stored(tree) => Base::Stored(*tree),
            Self::Frozen(frozen) => Base::Frozen(Arc::clone(frozen)),
        }
    }

    /// Its tree, once all its content is in the store. Blocks until then.
    ///
    /// # Errors
    /// `Fs`: the store is full, above all.
    pub fn sealed(&self) -> Result<TreeRef, SnapshotError> {
        match self {
            Self::Stored(tree) => Ok(*tree),
            Self::Frozen(frozen) => Ok(frozen.seal()?),
        }
    }
}

impl Produced for Snapshot {
    fn stored(tree: TreeRef) -> Self {
        Self::Stored(tree)
    }

    fn known(&self) -> Option<TreeRef> {
        match self {
            Self::Stored(tree) => Some(*tree),
            Self::Frozen(frozen) => frozen.sealed(),
        }
    }

    fn seal(&self) -> Result<TreeRef, Failure> {
        self.sealed().map_err(Failure::other)
    }
}

/// Why a snapshot could not be prepared or committed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The FUSE filesystem failed.
    #[error("the step's filesystem failed")]
    Fs(#[from] FsError),
    /// The store failed.
    #[error("the snapshot could not be stored")]
    Store(#[from] StoreError),
    /// A directory could not be filled.
    #[error("the tree could not be written to a directory")]
    Materialise(#[from] MaterialiseError),
    /// A directory could not be read back.
    #[error("the directory could not be read back into a tree")]
    Scan(#[from] ScanError),
    /// Scratch space could not be had.
    #[error("cannot create a directory in {}", path.display())]
    Scratch {
        /// Where.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A mount point that was made for the container has no path that a tree could hold.
    #[error("the mount point {path:?} cannot be taken out again")]
    Stub {
        /// In the container.
        path: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// The strategy needs what this user may not do.
    #[error("the snapshotter `{strategy}` needs root: {why}; use `--snapshotter fuse`")]
    NeedsRoot {
        /// Which.
        strategy: &'static str,
        /// What for.
        why: &'static str,
    },
    /// The strategy has no view of a running step.
    #[error("the snapshotter `{strategy}` cannot snapshot a running container")]
    NotWhileRunning {
        /// Which.
        strategy: &'static str,
    },
}

/// How much a strategy sees of what a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// Every look-up, read, listing and write.
    Full,
    /// Reads of what the step did not write.
    LowerReads,
    /// Nothing.
    None,
}

/// What all strategies need.
#[derive(Clone)]
pub struct Setup {
    /// Where trees are.
    pub store: Arc<dyn Store>,
    /// A directory for written data and copies, on a real disk.
    pub scratch: PathBuf,
    /// Seals behind the build's back.
    pub sealer: Arc<Sealer>,
    /// Threads that serve one mount.
    pub threads: usize,
    /// Bytes of written data that one mount keeps in memory.
    pub max_dirty_memory: u64,
}

/// A way from a tree to a writable directory and back.
pub trait SnapshotStrategy: Send + Sync {
    /// As `--snapshotter` has it.
    fn name(&self) -> &'static str;

    /// How much it sees.
    fn trace(&self) -> Trace;

    /// A writable view of `base`, for one container.
    ///
    /// # Errors
    /// `NeedsRoot`, `Scratch`, `Materialise`, `Fs`.
    fn prepare(&self, base: &Snapshot) -> Result<Box<dyn Workspace>, SnapshotError>;
}

/// A writable view. Dropped without `commit`, what was written is gone.
pub trait Workspace: Send {
    /// The container's root; asked for once.
    ///
    /// # Errors
    /// `Fs`.
    fn root_filesystem(&mut self) -> Result<RootFilesystem, SnapshotError>;

    /// What it holds now, after the container: every process is reaped and the mount is gone. Of `stubs`, the mount points that
    /// were made for the container, those still empty are taken out.
    ///
    /// # Errors
    /// `Fs`, `Scan`, `Store`.
    fn commit(self: Box<Self>, stubs: &[Stub]) -> Result<Snapshot, SnapshotError>;

    /// What it holds now, under a running container whose filesystem was synced.
    ///
    /// # Errors
    /// `NotWhileRunning`, `Fs`.
    fn checkpoint(&self) -> Result<Snapshot, SnapshotError>;
}

/// A strategy's entry in the table.
pub struct Strategy {
    /// As `--snapshotter` has it.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    /// Makes it.
    pub make: fn(Setup) -> Box<dyn SnapshotStrategy>,
}

/// Every strategy, the default first.
pub const STRATEGIES: &[Strategy] = &[
    Strategy {
        name: "fuse",
        about: "copy-on-write through FUSE; a snapshot costs what changed",
        make: fuse::make,
    },
    Strategy {
        name: "copy-scan",
        about: "copies the whole tree out and scans it back; root only, the reference for the others",
        make: copy_scan::make,
    },
];

/// The strategy of this name.
pub fn strategy(name: &str, setup: Setup) -> Option<Box<dyn SnapshotStrategy>> {
    let found = STRATEGIES.iter().find(|strategy| strategy.name == name)?;
    Some((found.make)(setup))
}
