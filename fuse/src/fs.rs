//! The filesystem: what each message of the kernel means. One value for one mount, shared by the threads that serve it.
//!
//! In: calls with the types of `protocol`. Out: values or an errno. Effects: the upper, staging; reads of the store. The lock on
//! the upper covers names and metadata; a file's bytes have their own, so that reading does not stop the rest.
//! `names`, `attributes`, `data` and `listing` hold the operations.

mod attributes;
mod data;
mod listing;
#[cfg(test)]
mod model;
mod names;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use names::Special;
use nix::errno::Errno;
use parking_lot::{Mutex, MutexGuard};
use silt_store::{Name, NameError, Store};

use crate::content::Contents;
use crate::error::{FsError, Reply};
use crate::frozen::{Base, Frozen};
use crate::protocol::{Attributes, InodeNo};
use crate::staging::Staging;
use crate::trace::{Message, Trace};
use crate::upper::Upper;

/// How a mount is served.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory for written data that does not stay in memory. On a real disk.
    pub staging: PathBuf,
    /// Threads that serve; each has its own queue. At least 1.
    pub threads: usize,
    /// Written data kept in memory, in bytes.
    pub max_dirty_memory: u64,
    /// Have the kernel ask for every inode that the step looks at: listings come without attributes.
    pub trace: bool,
    /// Refuse every change.
    pub read_only: bool,
}

/// A mounted tree.
#[derive(Debug)]
pub(crate) struct Fs {
    pub(crate) trace: Trace,
    pub(crate) contents: Arc<Contents>,
    pub(crate) staging: Staging,
    base: Base,
    read_only: bool,
    /// Set when nobody wants the result any more.
    refused: AtomicBool,
    upper: Mutex<Upper>,
}

/// A name from the kernel.
pub(crate) fn name(bytes: &[u8]) -> Reply<Name> {
    Name::new(bytes).map_err(|error| match error {
        NameError::TooLong(_) => Errno::ENAMETOOLONG,
        _ => Errno::EINVAL,
    })
}

impl Fs {
    pub(crate) fn new(store: Arc<dyn Store>, base: Base, options: &Options) -> Result<Self, FsError> {
        let opened = base.open(&*store)?;
        let contents = Arc::new(Contents::new(store));
        let staging =
            Staging::new(&options.staging, options.max_dirty_memory).map_err(|source| FsError::Io {
                doing: "making the staging file",
                source,
            })?;
        let upper =
            Upper::new(Arc::clone(&contents), opened.meta, opened.root, opened.links).map_err(|errno| {
                FsError::Io {
                    doing: "opening the base",
                    source: errno.into(),
                }
            })?;
        Ok(Self {
            trace: Trace::default(),
            contents,
            staging,
            base,
            read_only: options.read_only,
            refused: AtomicBool::new(false),
            upper: Mutex::new(upper),
        })
    }

    pub(crate) fn upper(&self) -> MutexGuard<'_, Upper> {
        self.upper.lock()
    }

    /// Fails every further change: the session was dropped.
    pub(crate) fn refuse(&self) {
        self.refused.store(true, Ordering::Release);
    }

    /// The upper, to change it.
    pub(crate) fn upper_mut(&self) -> Reply<MutexGuard<'_, Upper>> {
        if self.read_only {
            return Err(Errno::EROFS);
        }
        if self.refused.load(Ordering::Acquire) {
            return Err(Errno::ENOTCONN);
        }
        Ok(self.upper.lock())
    }

    /// The tree as it is now.
    pub(crate) fn freeze(&self) -> Result<Frozen, FsError> {
        let tree = self.upper.lock().freeze().map_err(|errno| FsError::Io {
            doing: "freezing what was changed",
            source: errno.into(),
        })?;
        Ok(Frozen::new(Arc::clone(&self.contents), self.base.clone(), tree))
    }

    /// LOOKUP: the inode called so, counted as known to the kernel; `None` is worth remembering too.
    pub(crate) fn lookup(&self, parent: InodeNo, bytes: &[u8]) -> Reply<Option<Attributes>> {
        self.trace.count(Message::Lookup);
        let name = name(bytes)?;
        let mut upper = self.upper();
        let Some(ino) = upper.child(parent, &name)? else {
            return Ok(None);
        };
        let inode = upper.table.get_mut(ino)?;
        inode.lookups += 1;
        Ok(Some(inode.attributes(ino)))
    }

    /// FORGET: the kernel drops `count` of its references.
    pub(crate) fn forget(&self, ino: InodeNo, count: u64) {
        self.trace.count(Message::Forget);
        let mut upper = self.upper();
        if let Ok(inode) = upper.table.get_mut(ino) {
            inode.lookups = inode.lookups.saturating_sub(count);
            if inode.lookups == 0
                && let Ok(dir) = inode.dir_mut()
            {
                dir.listing = None;
            }
        }
        upper.table.collect(ino);
    }

    /// GETATTR.
    pub(crate) fn attributes(&self, ino: InodeNo) -> Reply<Attributes> {
        self.trace.count(Message::GetAttr);
        Ok(self.upper().table.get(ino)?.attributes(ino))
    }

    /// READLINK.
    pub(crate) fn read_link(&self, ino: InodeNo) -> Reply<Arc<[u8]>> {
        self.trace.count(Message::ReadLink);
        match &self.upper().table.get(ino)?.node {
            crate::inode::Node::Symlink(target) => Ok(Arc::clone(target)),
            _ => Err(Errno::EINVAL),
        }
    }
}
