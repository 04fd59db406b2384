//! What lies below a mount: the immutable directories of a stored tree, or of an earlier step that is not sealed yet.
//!
//! In: a directory's reference and a name. Out: an entry. Effects: reads the store; a directory is loaded when first asked. Both
//! forms answer alike, and one of them turns into the other when it is sealed, under the feet of whoever reads it: so a chain of
//! unsealed steps is as long as sealing is behind, not as the Dockerfile.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use silt_store::{
    Device, Directory, Entry, Meta, Name, Node, Store, StoreError, StoreResult, TreeRef, directory,
};

use crate::content::{Content, Contents, Staged, seal_all};
use crate::protocol::Kind;

/// An immutable directory.
#[derive(Debug, Clone)]
pub(crate) enum LowerDir {
    Stored(Arc<StoredDir>),
    Frozen(Arc<FrozenDir>),
}

/// A directory of the store, loaded once.
pub(crate) struct StoredDir {
    reference: TreeRef,
    loaded: OnceLock<Directory>,
}

/// A directory that a step changed: its base, and the changes over it.
#[derive(Debug)]
pub(crate) struct FrozenDir {
    state: RwLock<FrozenState>,
}

#[derive(Debug)]
enum FrozenState {
    Changed {
        base: Option<LowerDir>,
        changes: Arc<BTreeMap<Name, Option<LowerEntry>>>,
    },
    Sealed(Arc<StoredDir>),
}

/// One entry of an immutable directory.
#[derive(Debug, Clone)]
pub(crate) struct LowerEntry {
    pub(crate) meta: Meta,
    pub(crate) node: LowerNode,
}

/// What an entry is.
#[derive(Debug, Clone)]
pub(crate) enum LowerNode {
    Directory(LowerDir),
    File(Content),
    Symlink(Box<[u8]>),
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
    Socket,
}

impl std::fmt::Debug for StoredDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StoredDir").field(&self.reference).finish()
    }
}

impl StoredDir {
    pub(crate) fn new(reference: TreeRef) -> Arc<Self> {
        Arc::new(Self {
            reference,
            loaded: OnceLock::new(),
        })
    }

    fn load(&self, store: &Arc<dyn Store>) -> StoreResult<&Directory> {
        if let Some(directory) = self.loaded.get() {
            return Ok(directory);
        }
        let directory = Directory::load(store, self.reference.tree)?;
        Ok(self.loaded.get_or_init(|| directory))
    }
}

impl From<Entry> for LowerEntry {
    fn from(entry: Entry) -> Self {
        let node = match entry.node {
            Node::Directory(reference) => LowerNode::Directory(LowerDir::Stored(StoredDir::new(reference))),
            Node::File(content) => LowerNode::File(Content::Stored(content)),
            Node::Symlink(target) => LowerNode::Symlink(target),
            Node::CharDevice(device) => LowerNode::CharDevice(device),
            Node::BlockDevice(device) => LowerNode::BlockDevice(device),
            Node::Fifo => LowerNode::Fifo,
            Node::Socket => LowerNode::Socket,
        };
        Self {
            meta: entry.meta,
            node,
        }
    }
}

impl LowerNode {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Directory(_) => Kind::Directory,
            Self::File(_) => Kind::File,
            Self::Symlink(_) => Kind::Symlink,
            Self::CharDevice(_) => Kind::CharDevice,
            Self::BlockDevice(_) => Kind::BlockDevice,
            Self::Fifo => Kind::Fifo,
            Self::Socket => Kind::Socket,
        }
    }

    /// The store's form; everything below is sealed.
    fn seal(&self, contents: &Contents) -> StoreResult<Node> {
        Ok(match self {
            Self::Directory(directory) => Node::Directory(directory.seal(contents)?),
            Self::File(content) => Node::File(content.sealed().ok_or(StoreError::Malformed {
                what: "frozen file",
                detail: "its directory was sealed before it",
            })?),
            Self::Symlink(target) => Node::Symlink(target.clone()),
            Self::CharDevice(device) => Node::CharDevice(*device),
            Self::BlockDevice(device) => Node::BlockDevice(*device),
            Self::Fifo => Node::Fifo,
            Self::Socket => Node::Socket,
        })
    }
}

impl LowerDir {
    pub(crate) fn stored(reference: TreeRef) -> Self {
        Self::Stored(StoredDir::new(reference))
    }

    /// The entry `name`.
    pub(crate) fn get(&self, store: &Arc<dyn Store>, name: &Name) -> StoreResult<Option<LowerEntry>> {
        let mut directory = self.clone();
        loop {
            directory = match directory {
                Self::Stored(stored) => {
                    return Ok(stored.load(store)?.get(name.as_bytes())?.map(LowerEntry::from));
                }
                Self::Frozen(frozen) => match &*frozen.state.read() {
                    FrozenState::Sealed(stored) => Self::Stored(Arc::clone(stored)),
                    FrozenState::Changed { base, changes } => match (changes.get(name), base) {
                        (Some(change), _) => return Ok(change.clone()),
                        (None, Some(base)) => base.clone(),
                        (None, None) => return Ok(None),
                    },
                },
            };
        }
    }

    /// Every entry, names sorted.
    pub(crate) fn list(&self, store: &Arc<dyn Store>) -> StoreResult<BTreeMap<Name, LowerEntry>> {
        let mut layers = Vec::new();
        let mut next = Some(self.clone());
        let mut entries = BTreeMap::new();
        while let Some(directory) = next.take() {
            match directory {
                Self::Stored(stored) => {
                    for entry in stored.load(store)?.entries() {
                        let (name, entry) = entry?;
                        entries.insert(name, LowerEntry::from(entry));
                    }
                }
                Self::Frozen(frozen) => match &*frozen.state.read() {
                    FrozenState::Sealed(stored) => next = Some(Self::Stored(Arc::clone(stored))),
                    FrozenState::Changed { base, changes } => {
                        layers.push(Arc::clone(changes));
                        next.clone_from(base);
                    }
                },
            }
        }
        for changes in layers.into_iter().rev() {
            for (name, change) in &*changes {
                match change {
                    Some(entry) => drop(entries.insert(name.clone(), entry.clone())),
                    None => drop(entries.remove(name)),
                }
            }
        }
        Ok(entries)
    }

    /// Seals this directory and all below it, deepest first, without recursion: a step may nest directories as deep as it likes.
    pub(crate) fn seal(&self, contents: &Contents) -> StoreResult<TreeRef> {
        if let Self::Frozen(root) = self {
            seal_all(contents, &self.unsealed_files())?;
            let mut pending = vec![Arc::clone(root)];
            let mut ordered = Vec::new();
            while let Some(directory) = pending.pop() {
                directory.push_unsealed(&mut pending);
                ordered.push(directory);
            }
            for directory in ordered.into_iter().rev() {
                directory.rewrite(contents)?;
            }
        }
        match self {
            Self::Stored(stored) => Ok(stored.reference),
            Self::Frozen(frozen) => frozen.rewrite(contents),
        }
    }

    /// The staged files at or below this directory that are not sealed.
    pub(crate) fn unsealed_files(&self) -> Vec<Arc<Staged>> {
        let mut files = Vec::new();
        let mut pending = Vec::new();
        if let Self::Frozen(root) = self {
            pending.push(Arc::clone(root));
        }
        while let Some(directory) = pending.pop() {
            directory.push_unsealed(&mut pending);
            if let FrozenState::Changed { changes, .. } = &*directory.state.read() {
                files.extend(changes.values().flatten().filter_map(|entry| match &entry.node {
                    LowerNode::File(content @ Content::Staged(staged)) if content.sealed().is_none() => {
                        Some(Arc::clone(staged))
                    }
                    _ => None,
                }));
            }
        }
        files
    }
}

impl FrozenDir {
    pub(crate) fn new(base: Option<LowerDir>, changes: BTreeMap<Name, Option<LowerEntry>>) -> Arc<Self> {
        Arc::new(Self {
            state: RwLock::new(FrozenState::Changed {
                base,
                changes: Arc::new(changes),
            }),
        })
    }

    fn push_unsealed(&self, pending: &mut Vec<Arc<Self>>) {
        let FrozenState::Changed { base, changes } = &*self.state.read() else {
            return;
        };
        if let Some(LowerDir::Frozen(base)) = base {
            pending.push(Arc::clone(base));
        }
        pending.extend(changes.values().flatten().filter_map(|entry| match &entry.node {
            LowerNode::Directory(LowerDir::Frozen(directory)) => Some(Arc::clone(directory)),
            _ => None,
        }));
    }

    /// Writes this directory to the store; what stands in it is sealed already, or is no directory.
    fn rewrite(&self, contents: &Contents) -> StoreResult<TreeRef> {
        let (base, changes) = match &*self.state.read() {
            FrozenState::Sealed(stored) => return Ok(stored.reference),
            FrozenState::Changed { base, changes } => (base.clone(), Arc::clone(changes)),
        };
        let store = contents.store();
        let mut sealed = BTreeMap::new();
        for (name, change) in &*changes {
            let entry = match change {
                Some(entry) => Some(Entry {
                    meta: entry.meta.clone(),
                    node: entry.node.seal(contents)?,
                }),
                None => None,
            };
            sealed.insert(name.clone(), entry);
        }
        let base = match base {
            Some(base) => base.seal(contents)?,
            None => directory::write(&**store, [])?,
        };
        let reference = directory::rewrite(&**store, base.tree, &sealed)?;
        *self.state.write() = FrozenState::Sealed(StoredDir::new(reference));
        Ok(reference)
    }
}
