//! Strategy `fuse`: a writable FUSE filesystem over the base, mounted by the container's own helper.
//!
//! In: a snapshot, sealed or not. Out: what the step changed over it, frozen in O(changed) and sealed in the background. Effects: a
//! session's threads while the container lives.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use silt_fuse::{Frozen, Options, Session};
use silt_store::GuestPath;

use super::{Setup, Snapshot, SnapshotError, SnapshotStrategy, Trace, Workspace};
use crate::sandbox::{RootFilesystem, Stub};

pub(super) fn make(setup: Setup) -> Box<dyn SnapshotStrategy> {
    Box::new(Fuse(setup))
}

struct Fuse(Setup);

struct View {
    setup: Setup,
    base: Snapshot,
    session: Arc<Mutex<Option<Session>>>,
}

impl SnapshotStrategy for Fuse {
    fn name(&self) -> &'static str {
        "fuse"
    }

    fn trace(&self) -> Trace {
        Trace::Full
    }

    fn prepare(&self, base: &Snapshot) -> Result<Box<dyn Workspace>, SnapshotError> {
        Ok(Box::new(View {
            setup: self.0.clone(),
            base: base.clone(),
            session: Arc::default(),
        }))
    }
}

impl View {
    fn session(&self) -> MutexGuard<'_, Option<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sealing(&self, frozen: Frozen) -> Snapshot {
        let frozen = Arc::new(frozen);
        self.setup.sealer.submit(Arc::clone(&frozen));
        Snapshot::Frozen(frozen)
    }
}

impl Workspace for View {
    fn root_filesystem(&mut self) -> Result<RootFilesystem, SnapshotError> {
        let (store, base, slot) = (
            Arc::clone(&self.setup.store),
            self.base.base(),
            Arc::clone(&self.session),
        );
        let options = Options {
            staging: self.setup.scratch.clone(),
            threads: self.setup.threads,
            max_dirty_memory: self.setup.max_dirty_memory,
            trace: false,
            read_only: false,
        };
        Ok(RootFilesystem::Fuse(Box::new(move |device: OwnedFd| {
            let session = Session::start(device, store, base, options).map_err(std::io::Error::other)?;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
            Ok(())
        })))
    }

    fn commit(self: Box<Self>, stubs: &[Stub]) -> Result<Snapshot, SnapshotError> {
        let session = self.session().take();
        let Some(session) = session else {
            return Ok(self.base);
        };
        for stub in stubs.iter().rev() {
            let path = GuestPath::parse(stub.path.as_bytes()).map_err(|source| SnapshotError::Stub {
                path: stub.path.clone(),
                source,
            })?;
            session.remove_stub(&path, stub.directory)?;
        }
        let frozen = session.finish()?;
        Ok(self.sealing(frozen))
    }

    fn checkpoint(&self) -> Result<Snapshot, SnapshotError> {
        let frozen = self.session().as_ref().map(Session::checkpoint).transpose()?;
        Ok(frozen.map_or_else(|| self.base.clone(), |frozen| self.sealing(frozen)))
    }
}
