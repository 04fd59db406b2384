//! A step's result: an immutable tree, readable at once, durable once sealed.
//!
//! In: a frozen upper. Out: a base for the next mount; a `TreeRef`. Effects: `seal` digests staged content, writes directories and
//! the root to the store, and frees what was staged.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use silt_store::{GuestPath, Links, Meta, Root, Store, TreeRef, root};

use crate::commit::{Stats, Tree};
use crate::content::Contents;
use crate::error::FsError;
use crate::lower::{LowerDir, LowerNode};

/// What a mount starts from.
#[derive(Debug, Clone)]
pub enum Base {
    /// A root in the store.
    Stored(TreeRef),
    /// An earlier step's result, sealed or not.
    Frozen(Arc<Frozen>),
}

/// What `Frozen::read` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No such path.
    Nothing,
    /// A regular file with this content.
    File(Vec<u8>),
    /// Something else there, or on the way there.
    Other,
}

/// An immutable tree over an immutable base. Shared by the mounts that start from it and the thread that seals it.
#[derive(Debug)]
pub struct Frozen {
    contents: Arc<Contents>,
    /// Gone once this is sealed.
    base: Mutex<Option<Base>>,
    meta: Meta,
    root: LowerDir,
    links: Arc<Links>,
    stats: Stats,
    sealed: OnceLock<TreeRef>,
    sealing: Mutex<()>,
}

/// A base, opened.
pub(crate) struct Opened {
    pub(crate) meta: Meta,
    pub(crate) root: LowerDir,
    pub(crate) links: Arc<Links>,
}

impl Base {
    pub(crate) fn open(&self, store: &dyn Store) -> Result<Opened, FsError> {
        match self {
            Self::Stored(reference) => {
                let root = root::read(store, reference.tree)?;
                Ok(Opened {
                    meta: root.meta,
                    root: LowerDir::stored(root.directory),
                    links: Arc::new(root.links),
                })
            }
            Self::Frozen(frozen) => Ok(Opened {
                meta: frozen.meta.clone(),
                root: frozen.root.clone(),
                links: Arc::clone(&frozen.links),
            }),
        }
    }
}

impl Frozen {
    pub(crate) fn new(contents: Arc<Contents>, base: Base, tree: Tree) -> Self {
        Self {
            contents,
            base: Mutex::new(Some(base)),
            meta: tree.meta,
            root: tree.root,
            links: tree.links,
            stats: tree.stats,
            sealed: OnceLock::new(),
            sealing: Mutex::new(()),
        }
    }

    /// Writes the tree to the store, after its base's, and frees what was staged. Blocks; any thread may call it, one does the
    /// work, and a later call gives the same answer at once. Durable after the store's next `sync` or record.
    ///
    /// # Errors
    /// `Store`: `NoSpace`, `Database`; the tree stays readable, and sealing may be tried again.
    pub fn seal(&self) -> Result<TreeRef, FsError> {
        if let Some(sealed) = self.sealed.get() {
            return Ok(*sealed);
        }
        // The oldest first, without recursion: a chain is as long as a Dockerfile.
        let mut chain = Vec::new();
        let mut next = self.base.lock().clone();
        while let Some(Base::Frozen(frozen)) = next.take() {
            next.clone_from(&frozen.base.lock());
            chain.push(frozen);
        }
        for frozen in chain.into_iter().rev() {
            frozen.seal_this()?;
        }
        self.seal_this()
    }

    fn seal_this(&self) -> Result<TreeRef, FsError> {
        let _one_at_a_time = self.sealing.lock();
        if let Some(sealed) = self.sealed.get() {
            return Ok(*sealed);
        }
        let directory = self.root.seal(&self.contents)?;
        let root = Root {
            meta: self.meta.clone(),
            directory,
            links: (*self.links).clone(),
        };
        let sealed = root::write(&**self.contents.store(), &root)?;
        *self.base.lock() = None;
        Ok(*self.sealed.get_or_init(|| sealed))
    }

    /// The sealed tree, if sealing is done.
    pub fn sealed(&self) -> Option<TreeRef> {
        self.sealed.get().copied()
    }

    /// The content of the regular file at `path`, read whole; links are not followed. Needs no sealing.
    ///
    /// # Errors
    /// `Store`, `Io`.
    pub fn read(&self, path: &GuestPath) -> Result<Found, FsError> {
        let mut node = LowerNode::Directory(self.root.clone());
        for name in path.names() {
            let LowerNode::Directory(directory) = &node else {
                return Ok(Found::Other);
            };
            match directory.get(self.contents.store(), name)? {
                Some(entry) => node = entry.node,
                None => return Ok(Found::Nothing),
            }
        }
        let LowerNode::File(content) = node else {
            return Ok(Found::Other);
        };
        let mut bytes = vec![0; content.len() as usize];
        let read = content.read_exact_at(&self.contents, 0, &mut bytes);
        read.map_err(|error| FsError::Io {
            doing: "reading a frozen file",
            source: error.into(),
        })?;
        Ok(Found::File(bytes))
    }

    /// How much the step changed.
    pub fn changes(&self) -> Stats {
        self.stats
    }
}
