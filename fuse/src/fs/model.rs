//! The filesystem against a model, without a kernel: needs neither root nor a device.
//!
//! Plays the kernel: walks paths by LOOKUP, forgets inodes at random, freezes and goes on at random. The model is a map of paths.

use std::collections::BTreeMap;
use std::sync::Arc;

use nix::errno::Errno;
use proptest::prelude::*;
use silt_store::{GuestPath, Links, MemoryStore, Node, Store, TreeRef, blob, root, walk};

use super::{Fs, Options, Special};
use crate::error::Reply;
use crate::frozen::{Base, Frozen};
use crate::protocol::{Attributes, Caller, Creation, InodeNo, RenameMode};
use crate::trace::Message;

#[derive(Debug, Clone)]
enum Op {
    Make(Vec<u8>),
    MakeDirectory(Vec<u8>),
    Write(Vec<u8>, u8),
    Remove(Vec<u8>),
    RemoveDirectory(Vec<u8>),
    Link(Vec<u8>, Vec<u8>),
    Rename(Vec<u8>, Vec<u8>),
    Exchange(Vec<u8>, Vec<u8>),
    /// The kernel forgets all it knows.
    Forget,
    Checkpoint,
    /// A new mount on what there is; sealed first, or not.
    Remount(bool),
}

/// Up to three of three names: bytes are indices.
fn path() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0_u8..3, 1..4)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => path().prop_map(Op::Make),
        4 => path().prop_map(Op::MakeDirectory),
        3 => (path(), any::<u8>()).prop_map(|(path, byte)| Op::Write(path, byte)),
        2 => path().prop_map(Op::Remove),
        1 => path().prop_map(Op::RemoveDirectory),
        4 => (path(), path()).prop_map(|(from, to)| Op::Link(from, to)),
        4 => (path(), path()).prop_map(|(from, to)| Op::Rename(from, to)),
        2 => (path(), path()).prop_map(|(from, to)| Op::Exchange(from, to)),
        2 => Just(Op::Forget),
        1 => Just(Op::Checkpoint),
        2 => any::<bool>().prop_map(Op::Remount),
    ]
}

/// A file is an index into `files`, so that links share.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    names: BTreeMap<Vec<u8>, Option<usize>>,
    files: Vec<Vec<u8>>,
}

impl Model {
    fn parent(&self, path: &[u8]) -> Reply<()> {
        for len in 1..path.len() {
            match self.names.get(&path[..len]) {
                None => return Err(Errno::ENOENT),
                Some(Some(_)) => return Err(Errno::ENOTDIR),
                Some(None) => {}
            }
        }
        Ok(())
    }

    fn get(&self, path: &[u8]) -> Reply<Option<usize>> {
        self.parent(path)?;
        self.names.get(path).copied().ok_or(Errno::ENOENT)
    }

    fn vacant(&self, path: &[u8]) -> Reply<()> {
        self.parent(path)?;
        if self.names.contains_key(path) {
            Err(Errno::EEXIST)
        } else {
            Ok(())
        }
    }

    fn has_children(&self, path: &[u8]) -> bool {
        self.names
            .keys()
            .any(|name| name.len() > path.len() && name.starts_with(path))
    }

    fn take(&mut self, path: &[u8]) -> Vec<(Vec<u8>, Option<usize>)> {
        let below: Vec<_> = self
            .names
            .keys()
            .filter(|name| name.starts_with(path))
            .cloned()
            .collect();
        below
            .into_iter()
            .filter_map(|name| Some((name[path.len()..].to_vec(), self.names.remove(&name)?)))
            .collect()
    }

    fn put(&mut self, path: &[u8], subtree: Vec<(Vec<u8>, Option<usize>)>) {
        self.names.extend(
            subtree
                .into_iter()
                .map(|(below, node)| ([path, &below].concat(), node)),
        );
    }

    fn run(&mut self, op: &Op) -> Reply<()> {
        match op {
            Op::Make(path) => {
                self.vacant(path)?;
                self.files.push(Vec::new());
                self.names.insert(path.clone(), Some(self.files.len() - 1));
            }
            Op::MakeDirectory(path) => {
                self.vacant(path)?;
                self.names.insert(path.clone(), None);
            }
            Op::Write(path, byte) => {
                let file = self.get(path)?.ok_or(Errno::EISDIR)?;
                self.files[file] = vec![*byte; usize::from(*byte) * 3];
            }
            Op::Remove(path) => {
                self.get(path)?.ok_or(Errno::EISDIR)?;
                self.names.remove(path);
            }
            Op::RemoveDirectory(path) => {
                if self.get(path)?.is_some() {
                    return Err(Errno::ENOTDIR);
                }
                if self.has_children(path) {
                    return Err(Errno::ENOTEMPTY);
                }
                self.names.remove(path);
            }
            Op::Link(from, to) => {
                let node = self.get(from)?;
                self.vacant(to)?;
                let file = node.ok_or(Errno::EPERM)?;
                self.names.insert(to.clone(), Some(file));
            }
            Op::Rename(from, to) => self.rename(from, to)?,
            Op::Exchange(from, to) => {
                self.get(from)?;
                self.get(to)?;
                if from == to {
                    return Ok(());
                }
                if to.starts_with(from) || from.starts_with(to) {
                    return Err(Errno::EINVAL);
                }
                let (source, target) = (self.take(from), self.take(to));
                self.put(to, source);
                self.put(from, target);
            }
            Op::Forget | Op::Checkpoint | Op::Remount(_) => {}
        }
        Ok(())
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) -> Reply<()> {
        let source = self.get(from)?;
        self.parent(to)?;
        if source.is_none() && to.starts_with(from) {
            return if to == from { Ok(()) } else { Err(Errno::EINVAL) };
        }
        match (source, self.names.get(to).copied()) {
            (Some(a), Some(Some(b))) if a == b => return Ok(()),
            (Some(_), Some(None)) => return Err(Errno::EISDIR),
            (None, Some(Some(_))) => return Err(Errno::ENOTDIR),
            (None, Some(None)) if self.has_children(to) => return Err(Errno::ENOTEMPTY),
            _ => {}
        }
        self.names.remove(to);
        let subtree = self.take(from);
        self.put(to, subtree);
        Ok(())
    }

    /// Paths and contents, and which paths share a file.
    fn shown(&self) -> (BTreeMap<String, Option<Vec<u8>>>, Links) {
        let mut shown = BTreeMap::new();
        let mut groups: BTreeMap<usize, Vec<GuestPath>> = BTreeMap::new();
        for (path, node) in &self.names {
            let path = guest_path(path);
            shown.insert(path.to_string(), node.map(|file| self.files[file].clone()));
            if let Some(file) = node {
                groups.entry(*file).or_default().push(path);
            }
        }
        (shown, Links::new(groups.into_values()))
    }
}

fn guest_path(path: &[u8]) -> GuestPath {
    path.iter()
        .map(|name| silt_store::Name::new(name.to_string().as_bytes()).unwrap())
        .collect()
}

/// Plays the kernel on one mount.
struct Kernel {
    fs: Fs,
    lookups: BTreeMap<InodeNo, u64>,
    /// What each path's inode was when it was last looked up.
    numbers: BTreeMap<Vec<u8>, InodeNo>,
}

const CREATION: Creation = Creation {
    caller: Caller { uid: 0, gid: 0 },
    mode: 0o644,
    umask: 0o022,
};

impl Kernel {
    fn new(store: &Arc<dyn Store>, base: Base) -> Self {
        let options = Options {
            staging: std::env::temp_dir(),
            threads: 1,
            max_dirty_memory: 200,
            trace: false,
            read_only: false,
        };
        Self {
            fs: Fs::new(Arc::clone(store), base, &options).unwrap(),
            lookups: BTreeMap::new(),
            numbers: BTreeMap::new(),
        }
    }

    fn know(&mut self, attributes: &Attributes) -> InodeNo {
        *self.lookups.entry(attributes.ino).or_default() += 1;
        attributes.ino
    }

    fn find(&mut self, path: &[u8]) -> Reply<InodeNo> {
        let mut ino = InodeNo::ROOT;
        for (depth, name) in path.iter().enumerate() {
            let attributes = self
                .fs
                .lookup(ino, name.to_string().as_bytes())?
                .ok_or(Errno::ENOENT)?;
            ino = self.know(&attributes);
            self.numbers.insert(path[..=depth].to_vec(), ino);
        }
        Ok(ino)
    }

    fn split<'a>(&mut self, path: &'a [u8]) -> Reply<(InodeNo, String, &'a [u8])> {
        let (last, parent) = path.split_last().unwrap();
        Ok((self.find(parent)?, last.to_string(), parent))
    }

    fn run(&mut self, op: &Op) -> Reply<()> {
        match op {
            Op::Make(path) => {
                let (parent, name, _) = self.split(path)?;
                let made =
                    self.fs
                        .make_node(Message::Create, parent, name.as_bytes(), CREATION, Special::File)?;
                self.know(&made);
            }
            Op::MakeDirectory(path) => {
                let (parent, name, _) = self.split(path)?;
                let made = self.fs.make_directory(parent, name.as_bytes(), CREATION)?;
                self.know(&made);
            }
            Op::Write(path, byte) => {
                let ino = self.find(path)?;
                let data = vec![*byte; usize::from(*byte) * 3];
                self.fs.set_attributes(
                    ino,
                    crate::protocol::AttributeChanges {
                        size: Some(0),
                        ..Default::default()
                    },
                )?;
                self.fs.write(ino, 0, &data, false)?;
            }
            Op::Remove(path) => {
                let (parent, name, _) = self.split(path)?;
                self.fs.unlink(parent, name.as_bytes())?;
            }
            Op::RemoveDirectory(path) => {
                let (parent, name, _) = self.split(path)?;
                self.fs.remove_directory(parent, name.as_bytes())?;
            }
            Op::Link(from, to) => {
                let ino = self.find(from)?;
                let (parent, name, _) = self.split(to)?;
                let made = self.fs.link(ino, parent, name.as_bytes())?;
                self.know(&made);
            }
            Op::Rename(from, to) => self.rename(from, to, RenameMode::Replace)?,
            Op::Exchange(from, to) => self.rename(from, to, RenameMode::Exchange)?,
            Op::Forget => {
                for (ino, count) in std::mem::take(&mut self.lookups) {
                    self.fs.forget(ino, count);
                }
            }
            Op::Checkpoint => drop(self.fs.freeze().unwrap()),
            Op::Remount(_) => {}
        }
        Ok(())
    }

    fn rename(&mut self, from: &[u8], to: &[u8], mode: RenameMode) -> Reply<()> {
        self.find(from)?;
        let (old_parent, old, _) = self.split(from)?;
        let (new_parent, new, _) = self.split(to)?;
        self.fs.rename(
            (old_parent, old.as_bytes()),
            (new_parent, new.as_bytes()),
            mode,
            CREATION,
        )
    }

    /// All names by listing, each looked up; inode numbers agree with what they were.
    fn shown(&mut self) -> BTreeMap<String, Option<Vec<u8>>> {
        let mut shown = BTreeMap::new();
        let mut pending = vec![(Vec::new(), InodeNo::ROOT)];
        while let Some((path, ino)) = pending.pop() {
            let mut names = Vec::new();
            self.fs
                .list(ino, 0, |ino, _, _, name| {
                    names.push((ino, String::from_utf8(name.to_vec()).unwrap()));
                    true
                })
                .unwrap();
            for (listed, name) in names.into_iter().filter(|(_, name)| !name.starts_with('.')) {
                let path = [&path[..], &[name.parse().unwrap()]].concat();
                let before = self.numbers.get(&path).copied();
                let found = self.fs.lookup(ino, name.as_bytes()).unwrap().unwrap();
                self.know(&found);
                assert_eq!(found.ino, listed, "a listing and a lookup agree");
                assert!(
                    before.is_none_or(|before| before == listed),
                    "numbers survive FORGET"
                );
                let content = if found.kind == crate::protocol::Kind::Directory {
                    pending.push((path.clone(), found.ino));
                    None
                } else {
                    let mut bytes = vec![0; found.size as usize];
                    self.fs.read(found.ino, 0, &mut bytes).unwrap();
                    Some(bytes)
                };
                shown.insert(guest_path(&path).to_string(), content);
            }
        }
        shown
    }
}

fn sealed(store: &Arc<dyn Store>, sealed: TreeRef) -> (BTreeMap<String, Option<Vec<u8>>>, Links) {
    let root = root::read(&**store, sealed.tree).unwrap();
    let mut shown = BTreeMap::new();
    for entry in walk::walk(store, sealed) {
        let (path, entry) = entry.unwrap();
        match entry.node {
            _ if path.names().is_empty() => {}
            Node::File(content) => {
                drop(shown.insert(
                    path.to_string(),
                    Some(blob::read_all(&**store, &content).unwrap()),
                ));
            }
            _ => drop(shown.insert(path.to_string(), None)),
        }
    }
    (shown, root.links)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_filesystem_is_a_map_of_paths(ops in prop::collection::vec(op(), 1..60)) {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut kernel = Kernel::new(&store, Base::Stored(root::scratch(&*store).unwrap()));
        let mut model = Model::default();
        for op in &ops {
            let before = model.clone();
            let expected = model.run(op);
            if expected.is_err() {
                model = before;
            }
            prop_assert_eq!(kernel.run(op), expected, "{:?}", op);
            // A rename moves numbers along; paths are learnt anew.
            if !matches!(op, Op::Forget | Op::Checkpoint) {
                kernel.numbers.clear();
            }
            prop_assert_eq!(kernel.shown(), model.shown().0, "{:?}", op);
            if let Op::Remount(seal) = op {
                let frozen: Arc<Frozen> = Arc::new(kernel.fs.freeze().unwrap());
                if *seal {
                    prop_assert_eq!(sealed(&store, frozen.seal().unwrap()), model.shown());
                }
                kernel = Kernel::new(&store, Base::Frozen(frozen));
            }
        }
        prop_assert_eq!(sealed(&store, kernel.fs.freeze().unwrap().seal().unwrap()), model.shown());
    }
}
