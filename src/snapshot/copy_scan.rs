//! Strategy `copy-scan`: the whole tree copied to a directory, the whole directory read back.
//!
//! In: a sealed snapshot. Out: a stored one. Effects: a directory under the scratch directory, removed with the workspace. It costs
//! what exists, as vfs and kaniko do, and it is what the other strategies are compared with.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::geteuid;
use tempfile::TempDir;

use super::{Setup, Snapshot, SnapshotError, SnapshotStrategy, Trace, Workspace, materialise, scan};
use crate::sandbox::{RootFilesystem, Stub};

const NAME: &str = "copy-scan";

pub(super) fn make(setup: Setup) -> Box<dyn SnapshotStrategy> {
    Box::new(CopyScan(setup))
}

struct CopyScan(Setup);

struct Copy {
    setup: Setup,
    directory: TempDir,
}

impl SnapshotStrategy for CopyScan {
    fn name(&self) -> &'static str {
        NAME
    }

    fn trace(&self) -> Trace {
        Trace::None
    }

    fn prepare(&self, base: &Snapshot) -> Result<Box<dyn Workspace>, SnapshotError> {
        if !geteuid().is_root() {
            let why = "it creates files of other owners and devices";
            return Err(SnapshotError::NeedsRoot { strategy: NAME, why });
        }
        let directory = tempfile::Builder::new()
            .prefix("silt-copy-")
            .tempdir_in(&self.0.scratch);
        let directory = directory.map_err(|source| SnapshotError::Scratch {
            path: self.0.scratch.clone(),
            source,
        })?;
        materialise::materialise(
            &self.0.store,
            base.sealed()?,
            directory.path(),
            materialise::Owners::Kept,
        )?;
        Ok(Box::new(Copy {
            setup: self.0.clone(),
            directory,
        }))
    }
}

impl Workspace for Copy {
    fn root_filesystem(&mut self) -> Result<RootFilesystem, SnapshotError> {
        Ok(RootFilesystem::Directory(self.directory.path().to_owned()))
    }

    fn commit(self: Box<Self>, stubs: &[Stub]) -> Result<Snapshot, SnapshotError> {
        for stub in stubs.iter().rev() {
            remove_stub(self.directory.path(), stub)?;
        }
        Ok(Snapshot::Stored(scan::scan(
            &*self.setup.store,
            self.directory.path(),
        )?))
    }

    fn checkpoint(&self) -> Result<Snapshot, SnapshotError> {
        Err(SnapshotError::NotWhileRunning { strategy: NAME })
    }
}

/// Takes out a mount point if it is still empty; its parent's time stays. The path has no links on its way.
fn remove_stub(root: &Path, stub: &Stub) -> Result<(), SnapshotError> {
    let path = root.join(stub.path.trim_start_matches('/'));
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    let Ok(before) = fs::symlink_metadata(parent) else {
        return Ok(());
    };
    let untouched = fs::symlink_metadata(&path).is_ok_and(|stat| {
        if stub.directory {
            stat.is_dir()
        } else {
            stat.is_file() && stat.len() == 0
        }
    });
    if !untouched {
        return Ok(());
    }
    let removed = if stub.directory {
        fs::remove_dir(&path)
    } else {
        fs::remove_file(&path)
    };
    if removed.is_err() {
        // Not empty: it is the step's by now.
        return Ok(());
    }
    let time = TimeSpec::new(before.mtime(), before.mtime_nsec());
    let restored = utimensat(
        nix::fcntl::AT_FDCWD,
        parent,
        &time,
        &time,
        UtimensatFlags::NoFollowSymlink,
    );
    restored.map_err(|error| SnapshotError::Scratch {
        path: parent.to_owned(),
        source: error.into(),
    })
}
