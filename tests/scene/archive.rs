//! An image archive as a person would read it: its config, and the file tree that its layers make, one on the other.
//!
//! Written apart from the program's own unpacking, so that each judges the other.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use tar::{Archive, EntryType};

/// What stands at a path, times left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) kind: &'static str,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    /// BLAKE3 of a file's content, a link's target, a device's numbers.
    pub(crate) content: String,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
    /// The first path of its hard-link group, when it has several.
    pub(crate) linked: Option<String>,
}

pub(crate) type Tree = BTreeMap<String, Fact>;

/// A docker-archive.
pub(crate) struct Image {
    pub(crate) config: Value,
    /// One for each layer, as it is in the archive.
    pub(crate) layers: Vec<Vec<u8>>,
}

impl Image {
    /// Reads what `docker save` or `silt save` wrote: one image.
    pub(crate) fn read(path: &Path) -> Self {
        let mut members: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut aliases = BTreeMap::new();
        for entry in Archive::new(File::open(path).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            if let Some(target) = entry.link_name().unwrap() {
                // Docker writes a layer that it has already written as a link to it.
                let from = Path::new(&name).parent().unwrap().join(target);
                aliases.insert(name, from.to_string_lossy().into_owned());
            } else {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                members.insert(name, bytes);
            }
        }
        let member = |name: &str| {
            let resolved = aliases.get(name).map_or(name.to_owned(), |target| plain(target));
            members
                .get(&resolved)
                .unwrap_or_else(|| panic!("{}: no {name}", path.display()))
                .clone()
        };
        let manifest: Value = serde_json::from_slice(&member("manifest.json")).unwrap();
        let config = serde_json::from_slice(&member(manifest[0]["Config"].as_str().unwrap())).unwrap();
        let layers = manifest[0]["Layers"].as_array().unwrap();
        let layers = layers
            .iter()
            .map(|layer| member(layer.as_str().unwrap()))
            .collect();
        Self { config, layers }
    }

    /// The file tree: layers applied in order.
    pub(crate) fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        for layer in &self.layers {
            apply(&mut tree, layer);
        }
        mark_links(&mut tree);
        tree
    }
}

/// `a/../b` as `b`.
fn plain(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn apply(tree: &mut Tree, layer: &[u8]) {
    for entry in Archive::new(layer).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = format!("/{}", plain(&entry.path().unwrap().to_string_lossy()));
        let (folder, name) = path.rsplit_once('/').unwrap();
        if name == ".wh..wh..opq" {
            remove_below(tree, folder);
        } else if let Some(name) = name.strip_prefix(".wh.") {
            let path = format!("{folder}/{name}");
            remove_below(tree, &path);
            tree.remove(&path);
        } else {
            let fact = fact(&mut entry, tree);
            if fact.kind != "directory" {
                remove_below(tree, &path);
            }
            tree.insert(path, fact);
        }
    }
}

fn remove_below(tree: &mut Tree, path: &str) {
    let below = format!("{path}/");
    tree.retain(|name, _| !name.starts_with(&below));
}

fn fact(entry: &mut tar::Entry<'_, &[u8]>, tree: &Tree) -> Fact {
    let header = entry.header();
    let (kind, mode) = (header.entry_type(), header.mode().unwrap());
    let owner = (header.uid().unwrap(), header.gid().unwrap());
    let device = (
        header.device_major().unwrap_or(None),
        header.device_minor().unwrap_or(None),
    );
    let target = entry
        .link_name_bytes()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if kind == EntryType::Link {
        let first = format!("/{}", plain(&target.unwrap()));
        let fact = tree
            .get(&first)
            .unwrap_or_else(|| panic!("a hard link to {first}, which is not there"));
        return Fact {
            linked: Some(fact.linked.clone().unwrap_or(first)),
            ..fact.clone()
        };
    }
    let mut xattrs = BTreeMap::new();
    for extension in entry.pax_extensions().unwrap().into_iter().flatten() {
        let extension = extension.unwrap();
        if let Some(name) = extension.key().unwrap().strip_prefix("SCHILY.xattr.") {
            xattrs.insert(name.to_owned(), extension.value_bytes().to_vec());
        }
    }
    let (kind, content) = match kind {
        EntryType::Directory => ("directory", String::new()),
        EntryType::Symlink => ("link", target.unwrap()),
        EntryType::Char => ("character device", format!("{device:?}")),
        EntryType::Block => ("block device", format!("{device:?}")),
        EntryType::Fifo => ("fifo", String::new()),
        _ => {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            ("file", blake3::hash(&bytes).to_hex().to_string())
        }
    };
    Fact {
        kind,
        mode: mode & 0o7777,
        owner,
        content,
        xattrs,
        linked: None,
    }
}

/// Groups are named by their first path in order, whichever came first in the tar.
fn mark_links(tree: &mut Tree) {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, fact) in tree.iter() {
        if let Some(first) = &fact.linked {
            groups.entry(first.clone()).or_default().push(path.clone());
        }
    }
    for (first, mut members) in groups {
        if tree.get(&first).is_some_and(|fact| fact.linked.is_none()) {
            members.push(first);
        }
        members.sort();
        for member in &members {
            if let Some(fact) = tree.get_mut(member) {
                fact.linked = (members.len() > 1).then(|| members[0].clone());
            }
        }
    }
}

/// Paths that differ, with both facts; empty when the trees are the same.
pub(crate) fn differences(one: &Tree, other: &Tree) -> Vec<String> {
    let paths: std::collections::BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let differing = paths
        .into_iter()
        .filter(|path| one.get(*path) != other.get(*path));
    differing
        .map(|path| format!("{path}\n    {:?}\n    {:?}", one.get(path), other.get(path)))
        .collect()
}
