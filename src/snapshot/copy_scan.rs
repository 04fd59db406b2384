//! Strategy `copy-scan`: the whole tree copied to a directory, the whole directory read back.
//!
//! In: a sealed snapshot. Out: a stored one. Effects: a directory under the scratch directory, removed with the workspace. It costs
//! what exists, as vfs and kaniko do, and it is what the other strategies are compared with.

use nix::unistd::geteuid;
use tempfile::TempDir;

use super::{Setup, Snapshot, SnapshotError, SnapshotStrategy, Trace, Workspace, materialise, scan};
use crate::sandbox::RootFilesystem;

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
        let directory = tempfile::Builder::new().prefix("silt-copy-").tempdir_in(&self.0.scratch);
        let directory = directory.map_err(|source| SnapshotError::Scratch {
            path: self.0.scratch.clone(),
            source,
        })?;
        materialise::materialise(&self.0.store, base.sealed()?, directory.path(), materialise::Owners::Kept)?;
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

    fn commit(self: Box<Self>) -> Result<Snapshot, SnapshotError> {
        Ok(Snapshot::Stored(scan::scan(&*self.setup.store, self.directory.path())?))
    }

    fn checkpoint(&self) -> Result<Snapshot, SnapshotError> {
        Err(SnapshotError::NotWhileRunning { strategy: NAME })
    }
}
