//! One container: started, watched, signalled, stopped, waited for; and what it left.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, bounded};
use silt_store::{Edit, GuestPath, Lease, Node, Store, StoreResult, TreeRef, directory};

use crate::engine::container::log::Log;
use crate::engine::container::{Abandon, ContainerRecord, ContainerState, Containers, Copiers, Streams};
use crate::engine::error::EngineError;
use crate::sandbox::{Exit, Helper, Running, SandboxError, Spec, Stub};
use crate::snapshot::{Snapshot, SnapshotStrategy, Workspace};

/// A container of the store, running or not.
pub(crate) struct Container {
    id: String,
    /// Its log's directory.
    pub(super) directory: PathBuf,
    log: Arc<Log>,
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    record: ContainerRecord,
    /// What it was made from.
    base: TreeRef,
    /// What it left; what it started with while it runs.
    filesystem: TreeRef,
    running: Option<Arc<Running>>,
    workspace: Option<Box<dyn Workspace>>,
    /// Gives up on whoever does not read what it writes.
    output: Option<Abandon>,
    /// The user asked for its removal: nothing of it is kept.
    dropped: bool,
    /// Keeps its base against garbage collection while it runs: one that is to vanish has no record.
    lease: Option<Lease>,
}

/// How a process and what it wrote ended.
pub(crate) struct Ended {
    /// Its exit status, as a shell gives it.
    pub(crate) status: i32,
    /// What it wrote to its caller or to its filesystem and is lost.
    pub(crate) lost: Result<(), EngineError>,
}

/// What a container's start needs besides itself.
pub(crate) struct Start<'a> {
    pub(crate) helper: &'a Helper,
    pub(crate) strategy: &'a dyn SnapshotStrategy,
    pub(crate) spec: Spec,
    pub(crate) streams: (Streams, crate::sandbox::Stdio),
    pub(crate) lease: Lease,
}

impl Container {
    /// A container that is about to run, or one that a record tells of.
    pub(super) fn new(
        record: ContainerRecord,
        directory: PathBuf,
        log: Log,
        base: TreeRef,
        filesystem: TreeRef,
    ) -> Self {
        Self {
            id: record.id.clone(),
            directory,
            log: Arc::new(log),
            inner: Mutex::new(Inner {
                record,
                base,
                filesystem,
                running: None,
                workspace: None,
                output: None,
                dropped: false,
                lease: None,
            }),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn record(&self) -> ContainerRecord {
        self.inner().record.clone()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.inner().record.is_running()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the process and the thread that watches it. Gives the terminal's master and a channel that tells the end.
    pub(crate) fn start(
        self: &Arc<Self>,
        containers: &Arc<Containers>,
        start: Start<'_>,
    ) -> Result<(Option<OwnedFd>, Receiver<Ended>), EngineError> {
        let base = Snapshot::Stored(self.inner().filesystem);
        let mut workspace = start.strategy.prepare(&base)?;
        let root = workspace.root_filesystem()?;
        let (streams, stdio) = start.streams;
        let running = Arc::new(start.helper.spawn(&start.spec, root, stdio)?);
        let copied = streams.start(&running, Some(&self.log));
        let (copiers, master) = copied.map_err(|source| EngineError::Io {
            doing: "connecting a container's streams",
            source,
        })?;
        let mut inner = self.inner();
        inner.running = Some(Arc::clone(&running));
        inner.workspace = Some(workspace);
        inner.lease = Some(start.lease);
        inner.output = Some(copiers.abandon());
        drop(inner);
        let (tell, told) = bounded(1);
        let (container, containers) = (Arc::clone(self), Arc::clone(containers));
        let alive = containers.alive();
        let watcher = std::thread::Builder::new()
            .name("container".to_owned())
            .spawn(move || {
                let ended = container.watch(&containers, &running, copiers);
                drop(alive);
                // A detached container's caller does not listen.
                tell.send(ended).ok();
            });
        watcher.map_err(|source| EngineError::Io {
            doing: "watching a container",
            source,
        })?;
        Ok((master, told))
    }

    /// Until its processes are gone and what it left is kept.
    fn watch(&self, containers: &Containers, running: &Running, copiers: Copiers) -> Ended {
        let exit = running.wait();
        let mut lost = copiers.join().map_err(unwritten);
        self.log.close();
        let (status, out_of_memory, error) = judge(exit);
        let (workspace, keep) = {
            let mut inner = self.inner();
            inner.running = None;
            (
                inner.workspace.take(),
                !inner.dropped && !inner.record.host.remove,
            )
        };
        let mut state = ContainerState::Exited {
            status,
            since: now(),
            out_of_memory,
            error,
        };
        let kept = match workspace {
            Some(workspace) if keep => workspace
                .commit(running.created_stubs())
                .and_then(|snapshot| snapshot.sealed())
                .map(Some),
            _ => Ok(None),
        };
        let filesystem = match kept {
            Ok(filesystem) => filesystem,
            Err(failed) => {
                tracing::error!(container = %self.id, error = %failed, "a container's filesystem was lost");
                if let ContainerState::Exited { error, .. } = &mut state {
                    *error = Some(format!(
                        "its filesystem was lost: {}",
                        crate::engine::error::chain(&failed)
                    ));
                }
                lost = lost.and(Err(failed.into()));
                None
            }
        };
        self.ended(containers, state, filesystem);
        Ended { status, lost }
    }

    fn ended(&self, containers: &Containers, state: ContainerState, filesystem: Option<TreeRef>) {
        let mut inner = self.inner();
        inner.record.state = state;
        inner.filesystem = filesystem.unwrap_or(inner.filesystem);
        let (record, filesystem, base) = (inner.record.clone(), inner.filesystem, inner.base);
        let gone = inner.dropped || record.host.remove;
        let lease = inner.lease.take();
        drop(inner);
        let kept = if gone {
            containers.forget(self)
        } else {
            record
                .put(containers.store(), filesystem, base)
                .map_err(EngineError::from)
        };
        if let Err(error) = kept {
            tracing::error!(container = %self.id, %error, "the end of a container was not recorded");
        }
        drop(lease);
        self.changed.notify_all();
    }

    /// Sends a signal to its first process.
    pub(crate) fn signal(&self, signal: i32) -> Result<(), EngineError> {
        let running = self.running()?;
        Ok(running.signal(signal)?)
    }

    /// Its process.
    pub(crate) fn running(&self) -> Result<Arc<Running>, EngineError> {
        let inner = self.inner();
        inner.running.clone().ok_or_else(|| EngineError::NotRunning {
            container: inner.record.name.clone(),
        })
    }

    /// Sends `signal`, then SIGKILL if it still runs after `timeout`; waits for its end.
    pub(crate) fn stop(&self, signal: i32, timeout: Duration) -> Result<(), EngineError> {
        if !self.is_running() {
            return Ok(());
        }
        match self.signal(signal) {
            Ok(()) | Err(EngineError::NotRunning { .. }) => {}
            Err(error) => return Err(error),
        }
        if self.wait_until(Some(Instant::now() + timeout)).is_none() {
            match self.signal(libc::SIGKILL) {
                Ok(()) | Err(EngineError::NotRunning { .. }) => {}
                Err(error) => return Err(error),
            }
            self.abandon_output();
            self.wait_until(None);
        }
        Ok(())
    }

    /// Its caller is gone, or its end cannot wait for a reader.
    pub(crate) fn abandon_output(&self) {
        if let Some(output) = &self.inner().output {
            output.abandon();
        }
    }

    /// Waits for its end and gives its exit status; `None` when the deadline came first.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> Option<i32> {
        let mut inner = self.inner();
        loop {
            if let ContainerState::Exited { status, .. } = inner.record.state {
                return Some(status);
            }
            let moment = match deadline {
                Some(deadline) => deadline.checked_duration_since(Instant::now())?,
                None => Duration::from_hours(1),
            };
            inner = self
                .changed
                .wait_timeout(inner, moment)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Keeps nothing of it: kills it when it runs and `force` is set.
    pub(crate) fn remove(&self, containers: &Containers, force: bool) -> Result<(), EngineError> {
        let running = {
            let mut inner = self.inner();
            if inner.record.is_running() && !force {
                return Err(EngineError::StillRunning {
                    container: inner.record.name.clone(),
                });
            }
            inner.dropped = true;
            inner.record.is_running()
        };
        if running {
            // Its watcher forgets it.
            self.stop(libc::SIGKILL, Duration::from_secs(10))
        } else {
            containers.forget(self)
        }
    }

    /// It never ran: its start failed.
    pub(crate) fn abandon(&self, containers: &Containers) {
        self.inner().dropped = true;
        if let Err(error) = containers.forget(self) {
            tracing::warn!(container = %self.id, %error, "what a failed start left was not removed");
        }
    }

    /// What it was made from.
    pub(crate) fn base(&self) -> TreeRef {
        self.inner().base
    }

    /// Its filesystem: as it left it, or as it is now.
    pub(crate) fn filesystem(&self, store: &Arc<dyn Store>) -> Result<TreeRef, EngineError> {
        let inner = self.inner();
        let (Some(workspace), Some(running)) = (&inner.workspace, &inner.running) else {
            return Ok(inner.filesystem);
        };
        let running = Arc::clone(running);
        sync(&running);
        let snapshot = workspace.checkpoint()?;
        drop(inner);
        Ok(without_stubs(store, snapshot.sealed()?, running.created_stubs())?)
    }

    /// After a restart of the engine: whether it ran when the former engine died, and how it counts now.
    pub(super) fn bury(&self, store: &dyn Store) -> Result<(), EngineError> {
        self.log.close();
        let mut inner = self.inner();
        if inner.record.is_running() {
            inner.record.state = ContainerState::Exited {
                status: 137,
                since: now(),
                out_of_memory: false,
                error: Some("the engine died, and its filesystem with it".to_owned()),
            };
            inner.record.put(store, inner.filesystem, inner.base)?;
        }
        Ok(())
    }
}

/// Has the kernel hand over what a container wrote and it still holds.
fn sync(running: &Running) {
    let root = File::open(format!("/proc/{}/root", running.pid()));
    if let Err(error) = root.and_then(|root| nix::unistd::syncfs(root).map_err(Into::into)) {
        // In a user namespace of its own: then only memory that is mapped shared and was not flushed is missed.
        tracing::debug!(%error, "a running container was not synced before it was looked at");
    }
}

/// A tree without the mount points that the sandbox made, unless something is in them.
fn without_stubs(store: &Arc<dyn Store>, tree: TreeRef, stubs: &[Stub]) -> StoreResult<TreeRef> {
    let mut edit = Edit::new(Arc::clone(store), tree)?;
    for stub in stubs.iter().rev() {
        let Ok(path) = GuestPath::parse(stub.path.as_bytes()) else {
            continue;
        };
        let empty = match edit.lookup(&path)?.map(|entry| entry.node) {
            Some(Node::File(content)) => content.len == 0,
            Some(Node::Directory(node)) => node == directory::empty(),
            _ => false,
        };
        if empty {
            edit.remove(&path)?;
        }
    }
    edit.finish()
}

/// Exit status as a shell gives it, whether memory was the reason, and what went wrong on our side.
fn judge(exit: Result<Exit, SandboxError>) -> (i32, bool, Option<String>) {
    match exit {
        Ok(Exit::Code(code)) => (code, false, None),
        Ok(Exit::Signal(signal)) => (128 + signal, false, None),
        Ok(Exit::OutOfMemory) => (137, true, None),
        Err(error) => (137, false, Some(crate::engine::error::chain(&error))),
    }
}

/// What a caller's streams did not take.
pub(crate) fn unwritten(source: io::Error) -> EngineError {
    EngineError::Io {
        doing: "writing what the container wrote",
        source,
    }
}

/// The time, RFC 3339.
pub(crate) fn now() -> String {
    format!("{:.9}", jiff::Timestamp::now())
}
