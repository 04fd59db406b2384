//! The inodes the kernel or the upper holds, by number.
//!
//! In: entries from below, numbers. Out: inodes. No effects. An inode from below is clean: it is dropped when the kernel forgets it,
//! and comes back under the same number, which is a function of where the base has it. One that this mount changed is held by the
//! upper; one without a name lives until the kernel forgets it.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use silt_store::{Device, Meta, Name, Time};

use crate::content::Content;
use crate::content::Pieces;
use crate::error::Reply;
use crate::links::LinkDir;
use crate::lower::{LowerDir, LowerEntry, LowerNode};
use crate::protocol::{Attributes, InodeNo, Kind, Listed};

/// Numbers of inodes from below have this bit, new ones count up from 2: neither ever meets the other.
const BELOW: u64 = 1 << 62;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) parent: InodeNo,
    pub(crate) name: Name,
}

/// Which inode of the base this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Made by this mount.
    New,
    /// The base has it in one place; the parent is the base's directory, wherever that has moved since.
    Below(Place),
    /// A hard-link group of the base, by its position in the link table.
    Group(usize),
}

impl Origin {
    /// The inode number: deterministic, so that it survives FORGET.
    pub(crate) fn number(&self) -> Option<InodeNo> {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::New => return None,
            Self::Below(Place { parent, name }) => (parent.0, name.as_bytes()).hash(&mut hasher),
            Self::Group(group) => ("group", group).hash(&mut hasher),
        }
        Some(InodeNo(hasher.finish() >> 2 | BELOW))
    }
}

/// Who keeps an inode that the kernel has forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody: as the base has it.
    Clean,
    /// The upper: it is reached by changes from the root.
    Changed,
    /// Nobody: it has no name left.
    Orphan,
}

/// An inode.
#[derive(Debug)]
pub(crate) struct Inode {
    pub(crate) meta: Meta,
    pub(crate) atime: Time,
    pub(crate) ctime: Time,
    pub(crate) nlink: u32,
    pub(crate) node: Node,
    pub(crate) origin: Origin,
    pub(crate) state: State,
    /// How often the kernel was told of it.
    pub(crate) lookups: u64,
    /// Clean inodes in the table that stand in this directory.
    pub(crate) held: u32,
}

/// What an inode is.
#[derive(Debug)]
pub(crate) enum Node {
    /// Boxed: most inodes are files.
    Directory(Box<Dir>),
    File(Arc<File>),
    Symlink(Arc<[u8]>),
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
    Socket,
}

/// A directory: what it was, and the names that changed.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) lower: Option<LowerDir>,
    pub(crate) changes: BTreeMap<Name, Option<InodeNo>>,
    /// Where it is now; the root is its own parent.
    pub(crate) place: Place,
    /// Which of the base's names here are hard-linked.
    pub(crate) links: Option<Arc<LinkDir>>,
    /// The listing under way, in order of cookies.
    pub(crate) listing: Option<Arc<[Listed]>>,
}

/// A regular file's bytes.
#[derive(Debug)]
pub(crate) struct File {
    body: RwLock<Body>,
    len: AtomicU64,
    allocated: AtomicU64,
}

#[derive(Debug)]
pub(crate) enum Body {
    Clean(Content),
    Dirty(Pieces),
}

impl File {
    pub(crate) fn new(content: Content) -> Self {
        Self {
            len: AtomicU64::new(content.len()),
            allocated: AtomicU64::new(content.allocated()),
            body: RwLock::new(Body::Clean(content)),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    pub(crate) fn body(&self) -> RwLockReadGuard<'_, Body> {
        self.body.read()
    }

    /// Changes the pieces, copying nothing up.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Pieces) -> Reply<T>) -> Reply<T> {
        let mut body = self.body.write();
        if let Body::Clean(content) = &*body {
            *body = Body::Dirty(Pieces::of(content.clone()));
        }
        let Body::Dirty(pieces) = &mut *body else {
            return Err(Errno::EIO);
        };
        let result = change(pieces);
        self.len.store(pieces.len(), Ordering::Release);
        self.allocated.store(pieces.covered(), Ordering::Release);
        RwLockWriteGuard::unlock_fair(body);
        result
    }

    /// The bytes as they are now, immutable; later writes stand over them.
    pub(crate) fn freeze(&self) -> Content {
        let mut body = self.body.write();
        let content = match &mut *body {
            Body::Clean(content) => return content.clone(),
            Body::Dirty(pieces) => Content::freeze(std::mem::take(pieces)),
        };
        *body = Body::Clean(content.clone());
        content
    }
}

impl Dir {
    pub(crate) fn new(lower: Option<LowerDir>, place: Place) -> Self {
        Self {
            lower,
            changes: BTreeMap::new(),
            place,
            links: None,
            listing: None,
        }
    }

    /// Which inode the base has as `name` in this directory, whose number is `ino`.
    pub(crate) fn origin(&self, ino: InodeNo, name: &Name) -> Origin {
        match self.links.as_ref().and_then(|links| links.groups.get(name)) {
            Some(group) => Origin::Group(*group),
            None => Origin::Below(Place {
                parent: ino,
                name: name.clone(),
            }),
        }
    }
}

impl Node {
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
}

impl Inode {
    /// A clean inode as the base has it, at `place` (its directory's, if it is one).
    pub(crate) fn below(entry: LowerEntry, origin: Origin, place: Place, nlink: u32) -> Self {
        let mtime = entry.meta.mtime;
        let node = match entry.node {
            LowerNode::Directory(lower) => Node::Directory(Box::new(Dir::new(Some(lower), place))),
            LowerNode::File(content) => Node::File(Arc::new(File::new(content))),
            LowerNode::Symlink(target) => Node::Symlink(target.into()),
            LowerNode::CharDevice(device) => Node::CharDevice(device),
            LowerNode::BlockDevice(device) => Node::BlockDevice(device),
            LowerNode::Fifo => Node::Fifo,
            LowerNode::Socket => Node::Socket,
        };
        Self {
            meta: entry.meta,
            atime: mtime,
            ctime: mtime,
            nlink,
            node,
            origin,
            state: State::Clean,
            lookups: 0,
            held: 0,
        }
    }

    pub(crate) fn dir(&self) -> Reply<&Dir> {
        match &self.node {
            Node::Directory(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(crate) fn dir_mut(&mut self) -> Reply<&mut Dir> {
        match &mut self.node {
            Node::Directory(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(crate) fn file(&self) -> Reply<&Arc<File>> {
        match &self.node {
            Node::File(file) => Ok(file),
            Node::Directory(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(crate) fn attributes(&self, ino: InodeNo) -> Attributes {
        let (size, allocated, device) = match &self.node {
            Node::File(file) => (file.len(), file.allocated.load(Ordering::Acquire), None),
            Node::Symlink(target) => (target.len() as u64, 0, None),
            Node::CharDevice(device) | Node::BlockDevice(device) => (0, 0, Some(*device)),
            Node::Directory(_) => (4096, 0, None),
            Node::Fifo | Node::Socket => (0, 0, None),
        };
        Attributes {
            ino,
            kind: self.node.kind(),
            mode: self.meta.mode,
            nlink: self.nlink,
            uid: self.meta.uid,
            gid: self.meta.gid,
            device,
            size,
            allocated,
            atime: self.atime,
            mtime: self.meta.mtime,
            ctime: self.ctime,
        }
    }
}

/// Inodes by number.
#[derive(Debug)]
pub(crate) struct Table {
    inodes: HashMap<InodeNo, Box<Inode>>,
    next: u64,
}

impl Table {
    pub(crate) fn new(root: Inode) -> Self {
        Self {
            inodes: HashMap::from([(InodeNo::ROOT, Box::new(root))]),
            next: InodeNo::ROOT.0 + 1,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.inodes.len()
    }

    pub(crate) fn get(&self, ino: InodeNo) -> Reply<&Inode> {
        self.inodes.get(&ino).map(Box::as_ref).ok_or(Errno::ESTALE)
    }

    pub(crate) fn get_mut(&mut self, ino: InodeNo) -> Reply<&mut Inode> {
        self.inodes.get_mut(&ino).map(Box::as_mut).ok_or(Errno::ESTALE)
    }

    pub(crate) fn contains(&self, ino: InodeNo) -> bool {
        self.inodes.contains_key(&ino)
    }

    /// The number of the base's inode `origin`, whether it is here or not. Two origins with one digest are told apart while both
    /// are here.
    pub(crate) fn number(&self, origin: &Origin) -> Option<InodeNo> {
        let mut ino = origin.number()?;
        while self.inodes.get(&ino).is_some_and(|inode| inode.origin != *origin) {
            ino = InodeNo(ino.0.wrapping_add(1) | BELOW);
        }
        Some(ino)
    }

    pub(crate) fn insert(&mut self, ino: InodeNo, inode: Inode) {
        self.inodes.insert(ino, Box::new(inode));
    }

    /// Adds an inode of this mount's own.
    pub(crate) fn insert_new(&mut self, inode: Inode) -> InodeNo {
        let ino = InodeNo(self.next);
        self.next += 1;
        self.inodes.insert(ino, Box::new(inode));
        ino
    }

    /// Drops inodes from `ino` upwards that nobody holds any more.
    pub(crate) fn collect(&mut self, mut ino: InodeNo) {
        while let Some(inode) = self.inodes.get(&ino) {
            if inode.lookups > 0 || inode.held > 0 || inode.state == State::Changed {
                return;
            }
            let Some(inode) = self.inodes.remove(&ino) else {
                return;
            };
            if self.inodes.len() < self.inodes.capacity() / 8 {
                self.inodes.shrink_to(self.inodes.len() * 2);
            }
            let (State::Clean, Origin::Below(place)) = (inode.state, inode.origin) else {
                return;
            };
            if let Some(parent) = self.inodes.get_mut(&place.parent) {
                parent.held -= 1;
            }
            ino = place.parent;
        }
    }
}
