//! Tars in and out of trees over a store in memory.

mod hostile;
mod packing;
mod round_trip;
mod unpacking;

use std::sync::Arc;

use silt_store::{Entry, GuestPath, MemoryStore, Node, Store, TreeRef, blob, root, walk};
use tar::{EntryType, Header};

use super::*;

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

fn scratch(store: &Arc<dyn Store>) -> TreeRef {
    root::scratch(store.as_ref()).unwrap()
}

fn path(text: &str) -> GuestPath {
    GuestPath::parse(text.as_bytes()).unwrap()
}

/// A tar built by hand: exactly the members given, however wrong.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn add(mut self, name: &str, kind: u8, link: &str, data: &[u8]) -> Self {
        let mut header = header(name, kind, link, data.len() as u64);
        header.set_cksum();
        self.block(header.as_bytes());
        self.data(data);
        self
    }

    fn header(mut self, mut header: Header) -> Self {
        header.set_cksum();
        self.block(header.as_bytes());
        self
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            pax::push(&mut bytes, key.as_bytes(), value);
        }
        self.add("PaxHeaders/x", b'x', "", &bytes)
    }

    fn file(self, name: &str, data: &[u8]) -> Self {
        self.add(name, b'0', "", data)
    }

    fn dir(self, name: &str) -> Self {
        self.add(name, b'5', "", b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.add(name, b'2', target, b"")
    }

    fn hard(self, name: &str, target: &str) -> Self {
        self.add(name, b'1', target, b"")
    }

    fn block(&mut self, block: &[u8; 512]) {
        self.0.extend_from_slice(block);
    }

    fn data(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

fn header(name: &str, kind: u8, link: &str, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(EntryType::new(kind));
    header.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(size);
    header
}

fn apply(store: &Arc<dyn Store>, base: TreeRef, tar: &[u8]) -> Result<TreeRef, LayerError> {
    unpack(store, base, &mut &*tar, Whiteouts::Apply)
}

/// One line for each path: name, kind, and what distinguishes it. Hard-linked paths name their first.
fn list(store: &Arc<dyn Store>, tree: TreeRef) -> Vec<String> {
    let links = root::read(store.as_ref(), tree.tree).unwrap().links;
    let first = |path: &GuestPath| {
        links
            .groups()
            .iter()
            .find(|group| group.contains(path))
            .map(|group| group[0].clone())
    };
    walk::walk(store, tree)
        .map(|item| {
            let (path, entry) = item.unwrap();
            let text = match &entry.node {
                Node::Directory(_) => "/".into(),
                Node::File(content) => format!(
                    "={}",
                    String::from_utf8_lossy(&blob::read_all(store.as_ref(), content).unwrap())
                ),
                Node::Symlink(target) => format!("->{}", String::from_utf8_lossy(target)),
                Node::CharDevice(device) => format!(" c{}:{}", device.major, device.minor),
                Node::BlockDevice(device) => format!(" b{}:{}", device.major, device.minor),
                Node::Fifo => "|".into(),
                Node::Socket => " socket".into(),
            };
            match first(&path) {
                Some(first) if first != path => format!("{path} links {first}"),
                _ => format!("{path}{text}"),
            }
        })
        .collect()
}

fn entry(store: &Arc<dyn Store>, tree: TreeRef, text: &str) -> Entry {
    walk::lookup(store, tree, &path(text)).unwrap().unwrap()
}

fn packed(store: &Arc<dyn Store>, lower: TreeRef, upper: TreeRef) -> Vec<u8> {
    let mut out = Vec::new();
    pack(store, lower, upper, &mut out).unwrap();
    out
}

/// Names and types of a tar's members, as the `tar` crate reads them.
fn members(bytes: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(bytes);
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let link = entry
                .link_name_bytes()
                .map(|link| format!("->{}", String::from_utf8_lossy(&link)));
            format!(
                "{}{}",
                String::from_utf8_lossy(&entry.path_bytes()),
                link.unwrap_or_default()
            )
        })
        .collect()
}
