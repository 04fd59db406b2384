//! What a tree is made of: entries with exact metadata, file content by reference, directories by id, roots with hard links.
//!
//! Types here; their canonical encoding in `tree/encode.rs`; specified in `store/DESIGN.md`. No effects.

pub(crate) mod acl;
pub(crate) mod encode;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::{ChunkId, ContentId, GuestPath, TreeId};

/// A directory or a root by both its ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeRef {
    /// With times.
    pub tree: TreeId,
    /// Without times.
    pub content: ContentId,
}

/// A time since the epoch: seconds, which may be negative, and nanoseconds below 1e9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanos: u32,
}

/// Extended attributes, sorted by name; empty costs nothing. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Xattrs(Option<Arc<XattrMap>>);

type XattrMap = BTreeMap<Box<[u8]>, Box<[u8]>>;

impl Xattrs {
    /// The value of `name`.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.as_ref()?.get(name).map(|value| &**value)
    }

    /// Sets `name`, replacing a value it has.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        Arc::make_mut(self.0.get_or_insert_default()).insert(name.into(), value.into());
    }

    /// Removes `name`; whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Some(map) = &mut self.0 else { return false };
        let removed = Arc::make_mut(map).remove(name).is_some();
        if map.is_empty() {
            self.0 = None;
        }
        removed
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |map| map.len())
    }

    /// Names and values in order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.0
            .iter()
            .flat_map(|map| map.iter().map(|(name, value)| (&**name, &**value)))
    }
}

/// An entry's metadata, as `stat` and `listxattr` show it. Owners are the container's ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky: `0o7777` at most, no file type.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Time,
    /// Extended attributes, POSIX ACLs and `security.capability` among them.
    pub xattrs: Xattrs,
}

/// A device's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Device {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// A file's bytes, by value or by reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Content {
    /// The file's length in bytes.
    pub len: u64,
    /// Where the bytes are.
    pub data: Data,
}

impl Content {
    /// The empty file.
    pub fn empty() -> Self {
        Self {
            len: 0,
            data: Data::Inline(Bytes::new()),
        }
    }
}

/// Where a file's bytes are. Which form holds is a function of the bytes alone (`store/DESIGN.md`, "Content").
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Data {
    /// In the entry itself; short files only.
    Inline(Bytes),
    /// One chunk holds all of them.
    Chunk(ChunkId),
    /// A chunk that holds a list of chunks and holes.
    List(ChunkId),
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Node {
    /// A directory.
    Directory(TreeRef),
    /// A regular file.
    File(Content),
    /// A symbolic link and its target, uninterpreted.
    Symlink(Box<[u8]>),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
    /// A socket's name.
    Socket,
}

/// One directory entry, its name apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Metadata.
    pub meta: Meta,
    /// Kind and content.
    pub node: Node,
}

/// Groups of paths that are one inode: each group sorted, at least two paths; groups sorted by their first path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Links(Vec<Vec<GuestPath>>);

impl Links {
    /// Sorts paths and groups into canonical order; groups of fewer than two paths vanish.
    pub fn new(groups: impl IntoIterator<Item = Vec<GuestPath>>) -> Self {
        let mut groups: Vec<_> = groups
            .into_iter()
            .map(|mut group| {
                group.sort();
                group.dedup();
                group
            })
            .filter(|group| group.len() > 1)
            .collect();
        groups.sort();
        Self(groups)
    }

    /// The groups in canonical order.
    pub fn groups(&self) -> &[Vec<GuestPath>] {
        &self.0
    }

    /// Whether nothing is hard-linked.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A whole filesystem: what stands in no directory, namely the root directory's own metadata and the hard-link groups.
/// Every member of a group carries the same entry. A snapshot is a root's `TreeRef`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Root {
    /// Metadata of `/`.
    pub meta: Meta,
    /// The entries of `/`.
    pub directory: TreeRef,
    /// Hard links.
    pub links: Links,
}
