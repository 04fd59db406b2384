//! Edits and hard links against a flat map of paths.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use silt_store::{Edit, Entry, GuestPath, Node, Store, StoreError, TreeRef, root, walk};

use crate::fixture::{empty_directory, file, flat, memory, meta, path, symlink, tree};

fn edit(store: &Arc<dyn Store>, root: TreeRef) -> Edit {
    Edit::new(Arc::clone(store), root).unwrap()
}

fn groups(store: &Arc<dyn Store>, root: TreeRef) -> Vec<String> {
    let links = root::read(store, root.tree).unwrap().links;
    links
        .groups()
        .iter()
        .map(|group| {
            group
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

fn why(result: Result<(), StoreError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn an_edit_that_changes_nothing_gives_the_same_root() {
    let store = memory();
    let old = tree(&store, &[("/a/b/c", file("c")), ("/x", file("x"))]);
    assert_eq!(edit(&store, old).finish().unwrap(), old);
    let mut again = edit(&store, old);
    again.remove(&path("/x")).unwrap();
    again.insert(&path("/x"), file("x")).unwrap();
    assert_eq!(again.finish().unwrap(), old);
}

#[test]
fn grafts_share_subtrees_and_keep_whole_groups() {
    let store = memory();
    let mut source = edit(
        &store,
        tree(
            &store,
            &[
                ("/app/bin/a", file("a")),
                ("/app/b", file("b")),
                ("/out", file("o")),
            ],
        ),
    );
    source
        .link(&path("/app/bin/a"), &[path("/app/a2"), path("/app/bin/a3")])
        .unwrap();
    source.link(&path("/app/b"), &[path("/outside")]).unwrap();
    let source = source.finish().unwrap();
    assert_eq!(
        groups(&store, source),
        ["/app/a2 /app/bin/a /app/bin/a3", "/app/b /outside"]
    );

    let target = tree(&store, &[("/srv/old", file("old"))]);
    let mut grafted = edit(&store, target);
    grafted.graft(&path("/srv/app"), source, &path("/app")).unwrap();
    let grafted = grafted.finish().unwrap();
    assert_eq!(
        groups(&store, grafted),
        ["/srv/app/a2 /srv/app/bin/a /srv/app/bin/a3"]
    );
    let subtree = |root, at: &str| walk::lookup(&store, root, &path(at)).unwrap().unwrap();
    assert_eq!(subtree(grafted, "/srv/app"), subtree(source, "/app"));

    let mut whole = edit(&store, target);
    whole
        .graft(&GuestPath::root(), source, &GuestPath::root())
        .unwrap();
    assert_eq!(whole.finish().unwrap(), source);
}

#[test]
fn groups_share_metadata_and_lose_members_that_are_replaced() {
    let store = memory();
    let mut linked = edit(&store, tree(&store, &[("/d/a", file("a")), ("/d/z", file("z"))]));
    linked
        .link(&path("/d/a"), &[path("/d/b"), path("/c"), path("/d/z")])
        .unwrap();
    linked.set_meta(&path("/c"), &meta(0o4755, 9)).unwrap();
    assert_eq!(linked.links_of(&path("/c")).len(), 4);
    linked.insert(&path("/d/b"), file("new")).unwrap();
    linked.remove(&path("/d/z")).unwrap();
    let linked = linked.finish().unwrap();
    assert_eq!(groups(&store, linked), ["/c /d/a"]);
    assert_eq!(flat(&store, linked)[&path("/d/a")].meta.mode, 0o4755);

    let mut severed = edit(&store, linked);
    severed.remove(&path("/d")).unwrap();
    assert_eq!(groups(&store, severed.finish().unwrap()), [""; 0]);
}

fn merge_source(store: &Arc<dyn Store>) -> TreeRef {
    let entries = [
        ("/c/sub/new", file("new")),
        ("/c/file", file("2")),
        ("/c/fresh/x", file("x")),
    ];
    let mut source = edit(store, tree(store, &entries));
    source.link(&path("/c/file"), &[path("/c/fresh/file")]).unwrap();
    source.set_meta(&path("/c"), &meta(0o700, 7)).unwrap();
    source.set_meta(&path("/c/sub"), &meta(0o711, 8)).unwrap();
    source.finish().unwrap()
}

#[test]
fn a_directory_merges_as_copy_does() {
    let store = memory();
    let entries = [
        ("/srv/keep", file("keep")),
        ("/srv/sub/old", file("old")),
        ("/srv/file", file("1")),
    ];
    let target = tree(&store, &entries);
    let source = merge_source(&store);
    let mut merged = edit(&store, target);
    merged
        .merge_directory(&path("/srv"), source, &path("/c"))
        .unwrap();
    merged
        .merge_directory(&path("/made"), source, &path("/c"))
        .unwrap();
    let merged = merged.finish().unwrap();
    let paths = flat(&store, merged);
    let below: Vec<_> = paths
        .keys()
        .filter(|at| at.starts_with(&path("/srv")))
        .map(ToString::to_string)
        .collect();
    let expected = [
        "/srv",
        "/srv/file",
        "/srv/fresh",
        "/srv/fresh/file",
        "/srv/fresh/x",
        "/srv/keep",
        "/srv/sub",
        "/srv/sub/new",
        "/srv/sub/old",
    ];
    assert_eq!(below, expected);
    let mode = |at: &str| paths[&path(at)].meta.mode;
    assert_eq!(mode("/srv"), 0o755, "the destination keeps its metadata");
    assert_eq!(mode("/made"), 0o700, "a new one takes the source's");
    assert_eq!(mode("/srv/sub"), 0o711, "those below take the source's");
    assert_eq!(paths[&path("/srv/file")], file("2"));
    assert_eq!(
        groups(&store, merged),
        ["/made/file /made/fresh/file", "/srv/file /srv/fresh/file"]
    );
}

#[test]
fn a_whole_subtree_changes_its_owner() {
    let store = memory();
    let mut owned = edit(
        &store,
        tree(
            &store,
            &[("/a/b/c", file("c")), ("/a/d", file("d")), ("/e", file("e"))],
        ),
    );
    owned.link(&path("/a/d"), &[path("/a/b/d2")]).unwrap();
    owned
        .update_below(&path("/a"), &|entry| entry.meta.uid = 7)
        .unwrap();
    let owned = owned.finish().unwrap();
    for (at, entry) in flat(&store, owned) {
        assert_eq!(entry.meta.uid == 7, at.starts_with(&path("/a")), "{at}");
    }
    assert_eq!(groups(&store, owned), ["/a/b/d2 /a/d"]);
}

#[test]
fn what_cannot_be_done_is_said_with_its_path() {
    let store = memory();
    let root = tree(&store, &[("/dir/f", file("")), ("/link", symlink("dir"))]);
    let mut it = edit(&store, root);
    let all = GuestPath::root();
    assert_eq!(why(it.insert(&path("/no/x"), file(""))), "/no: not found");
    assert_eq!(
        why(it.insert(&path("/link/x"), file(""))),
        "/link: not a directory"
    );
    assert_eq!(why(it.insert(&all, file(""))), "/: not a directory");
    assert_eq!(why(it.remove(&path("/no"))), "/no: not found");
    assert_eq!(why(it.remove(&all)), "/: the root cannot be removed");
    assert_eq!(
        why(it.make_directories(&path("/dir/f/x"), &meta(0, 0))),
        "/dir/f: not a directory"
    );
    assert_eq!(
        why(it.link(&path("/dir"), &[path("/d2")])),
        "/dir: a directory cannot be hard-linked"
    );
    assert_eq!(why(it.graft(&path("/g"), root, &path("/no"))), "/no: not found");
    assert_eq!(
        why(it.merge_directory(&path("/dir"), root, &path("/dir/f"))),
        "/dir/f: not a directory"
    );
    let other = tree(&store, &[("/dir/f/x", file(""))]);
    assert_eq!(
        why(it.merge_directory(&all, other, &all)),
        "/dir/f: a directory cannot be copied onto what is none"
    );
    let mut it = edit(&store, other);
    assert_eq!(
        why(it.merge_directory(&all, root, &all)),
        "/dir/f: a directory cannot be replaced by what is none"
    );
}

/// A filesystem as naively as can be: paths, and inodes by number.
#[derive(Default, Clone)]
struct Model {
    paths: BTreeMap<GuestPath, u32>,
    inodes: Vec<Entry>,
}

impl Model {
    fn add(&mut self, at: &GuestPath, entry: Entry) {
        self.inodes.push(entry);
        self.paths.insert(at.clone(), self.inodes.len() as u32 - 1);
    }

    fn is_directory(&self, at: &GuestPath) -> bool {
        at.names().is_empty()
            || self
                .paths
                .get(at)
                .is_some_and(|ino| matches!(self.inodes[*ino as usize].node, Node::Directory(_)))
    }

    fn parent_is_directory(&self, at: &GuestPath) -> bool {
        at.split_last()
            .is_some_and(|(parent, _)| self.is_directory(&parent))
    }

    fn clear(&mut self, at: &GuestPath) {
        self.paths.retain(|path, _| !path.starts_with(at));
    }

    fn graft(&mut self, dst: &GuestPath, from: &Self, src: &GuestPath) -> bool {
        if !self.parent_is_directory(dst) || !from.paths.contains_key(src) {
            return false;
        }
        self.clear(dst);
        let mut moved = BTreeMap::new();
        for (at, ino) in from.paths.iter().filter(|(at, _)| at.starts_with(src)) {
            let outside = from
                .paths
                .iter()
                .any(|(path, other)| other == ino && !path.starts_with(src));
            let to: GuestPath = dst
                .names()
                .iter()
                .chain(&at.names()[src.names().len()..])
                .cloned()
                .collect();
            let number = if let Some(number) = moved.get(ino).filter(|_| !outside) {
                *number
            } else {
                self.inodes.push(from.inodes[*ino as usize].clone());
                self.inodes.len() as u32 - 1
            };
            moved.insert(*ino, number);
            self.paths.insert(to, number);
        }
        true
    }

    fn groups(&self) -> BTreeSet<Vec<GuestPath>> {
        let mut groups: BTreeMap<u32, Vec<GuestPath>> = BTreeMap::new();
        for (at, ino) in &self.paths {
            groups.entry(*ino).or_default().push(at.clone());
        }
        groups.into_values().filter(|group| group.len() > 1).collect()
    }
}

#[derive(Debug, Clone)]
enum Op {
    Insert(String, u8),
    Remove(String),
    Link(String, String),
    Mode(String, u16),
    Graft(String, String),
    Merge(String, String),
    Finish,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let at = || "(/[abc]){1,3}";
    let op = prop_oneof![
        4 => (at(), 0u8..4).prop_map(|(at, what)| Op::Insert(at, what)),
        1 => at().prop_map(Op::Remove),
        3 => (at(), at()).prop_map(|(from, to)| Op::Link(from, to)),
        2 => (at(), 0u16..0o7777).prop_map(|(at, mode)| Op::Mode(at, mode)),
        2 => (at(), at()).prop_map(|(dst, src)| Op::Graft(dst, src)),
        1 => (at(), at()).prop_map(|(dst, src)| Op::Merge(dst, src)),
        1 => Just(Op::Finish),
    ];
    prop::collection::vec(op, 1..40)
}

struct Both {
    store: Arc<dyn Store>,
    edit: Edit,
    model: Model,
    /// The last finished root, which grafts take from.
    base: (TreeRef, Model),
}

impl Both {
    fn apply(&mut self, op: Op) {
        match op {
            Op::Insert(at, what) => {
                let at = path(&at);
                let entry = if what == 0 {
                    empty_directory()
                } else {
                    file(&what.to_string())
                };
                let done = self.edit.insert(&at, entry.clone()).is_ok();
                assert_eq!(done, self.model.parent_is_directory(&at));
                if done {
                    self.model.clear(&at);
                    self.model.add(&at, entry);
                }
            }
            Op::Remove(at) => {
                let done = self.edit.remove(&path(&at)).is_ok();
                assert_eq!(done, self.model.paths.contains_key(&path(&at)));
                self.model.clear(&path(&at));
            }
            Op::Link(from, to) => self.link(&path(&from), &path(&to)),
            Op::Mode(at, mode) => {
                let done = self.edit.set_meta(&path(&at), &meta(mode, 3)).is_ok();
                let ino = self.model.paths.get(&path(&at)).copied();
                assert_eq!(done, ino.is_some());
                if let Some(ino) = ino {
                    self.model.inodes[ino as usize].meta = meta(mode, 3);
                }
            }
            Op::Graft(dst, src) => {
                let done = self.edit.graft(&path(&dst), self.base.0, &path(&src)).is_ok();
                assert_eq!(done, self.model.graft(&path(&dst), &self.base.1, &path(&src)));
            }
            Op::Merge(dst, src) => self.merge(&path(&dst), &path(&src)),
            Op::Finish => self.finish(),
        }
    }

    fn link(&mut self, from: &GuestPath, to: &GuestPath) {
        let linkable = self.model.paths.contains_key(from)
            && !self.model.is_directory(from)
            && self.model.parent_is_directory(to)
            && !from.starts_with(to);
        if linkable {
            self.edit.link(from, std::slice::from_ref(to)).unwrap();
            let ino = self.model.paths[from];
            self.model.clear(to);
            self.model.paths.insert(to.clone(), ino);
        }
    }

    /// Merging is checked where the destination is not there, and where it has none of the source's names.
    fn merge(&mut self, dst: &GuestPath, src: &GuestPath) {
        let from = self.base.1.clone();
        let clash = self.model.paths.keys().any(|at| at.starts_with(dst) && at != dst);
        if !from.is_directory(src) || !self.model.parent_is_directory(dst) || clash {
            return;
        }
        let kept = self
            .model
            .paths
            .get(dst)
            .map(|ino| self.model.inodes[*ino as usize].clone());
        if kept.is_some() && !self.model.is_directory(dst) {
            return;
        }
        self.edit.merge_directory(dst, self.base.0, src).unwrap();
        self.model.graft(dst, &from, src);
        if let Some(kept) = kept {
            let ino = self.model.paths[dst];
            self.model.inodes[ino as usize].meta = kept.meta;
        }
    }

    fn finish(&mut self) {
        let fresh = edit(&self.store, self.base.0);
        let root = std::mem::replace(&mut self.edit, fresh).finish().unwrap();
        let found = flat(&self.store, root);
        assert!(
            found.keys().eq(self.model.paths.keys()),
            "{:?} {:?}",
            found.keys(),
            self.model.paths.keys()
        );
        for (at, ino) in &self.model.paths {
            assert_eq!(found[at], without_id(&self.model.inodes[*ino as usize]), "{at}");
        }
        let links = root::read(&self.store, root.tree).unwrap().links;
        assert_eq!(
            links.groups().iter().cloned().collect::<BTreeSet<_>>(),
            self.model.groups()
        );
        // What an edit gives depends on the result alone.
        let entries: Vec<_> = found
            .iter()
            .map(|(at, entry)| (at.clone(), entry.clone()))
            .collect();
        let mut again = edit(&self.store, root::scratch(&self.store).unwrap());
        for (at, entry) in entries {
            again.insert(&at, entry).unwrap();
        }
        for group in links.groups() {
            again.link(&group[0], group).unwrap();
        }
        assert_eq!(again.finish().unwrap(), root);
        self.edit = edit(&self.store, root);
        self.base = (root, self.model.clone());
    }
}

fn without_id(entry: &Entry) -> Entry {
    match entry.node {
        Node::Directory(_) => Entry {
            meta: entry.meta.clone(),
            ..empty_directory()
        },
        _ => entry.clone(),
    }
}

proptest! {
    #[test]
    fn edits_do_what_a_flat_map_does(ops in ops()) {
        let store = memory();
        let scratch = root::scratch(&store).unwrap();
        let mut both = Both {
            edit: edit(&store, scratch),
            store,
            model: Model::default(),
            base: (scratch, Model::default()),
        };
        for op in ops {
            both.apply(op);
        }
        both.finish();
    }
}
