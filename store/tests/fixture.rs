//! Entries, trees and bytes for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use silt_store::{
    Edit, Entry, GuestPath, MemoryStore, Meta, Name, Node, Store, Time, TreeRef, blob, directory, root, walk,
};

pub(crate) fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text.as_bytes()).unwrap()
}

pub(crate) fn path(text: &str) -> GuestPath {
    GuestPath::parse(text.as_bytes()).unwrap()
}

pub(crate) fn meta(mode: u16, seconds: i64) -> Meta {
    Meta {
        mode,
        uid: 1000,
        gid: 100,
        mtime: Time {
            seconds,
            nanos: 123_456_789,
        },
        ..Meta::default()
    }
}

/// A file whose content is `text`, which must be short.
pub(crate) fn file(text: &str) -> Entry {
    let store = MemoryStore::new();
    Entry {
        meta: meta(0o644, 1_700_000_000),
        node: Node::File(blob::from_bytes(&store, text.as_bytes()).unwrap()),
    }
}

pub(crate) fn empty_directory() -> Entry {
    Entry {
        meta: meta(0o755, 1_600_000_000),
        node: Node::Directory(directory::empty()),
    }
}

pub(crate) fn symlink(target: &str) -> Entry {
    Entry {
        meta: meta(0o777, 5),
        node: Node::Symlink(target.as_bytes().into()),
    }
}

/// A root with these entries; missing parents are made.
pub(crate) fn tree(store: &Arc<dyn Store>, entries: &[(&str, Entry)]) -> TreeRef {
    let mut edit = Edit::new(Arc::clone(store), root::scratch(store).unwrap()).unwrap();
    for (at, entry) in entries {
        let at = path(at);
        let (parent, _) = at.split_last().unwrap();
        edit.make_directories(&parent, &meta(0o755, 1)).unwrap();
        edit.insert(&at, entry.clone()).unwrap();
    }
    edit.finish().unwrap()
}

/// Every path of a root, directories without their ids, so that trees compare by what they hold.
pub(crate) fn flat(store: &Arc<dyn Store>, root: TreeRef) -> BTreeMap<GuestPath, Entry> {
    walk::walk(store, root)
        .map(|step| {
            let (path, mut entry) = step.unwrap();
            if let Node::Directory(node) = &mut entry.node {
                *node = directory::empty();
            }
            (path, entry)
        })
        .collect()
}

/// Bytes that nothing compresses or dedupes.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for word in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
    }
    bytes
}
