//! What changed between two roots, against a naive comparison of all paths.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use silt_store::diff::diff;
use silt_store::{Change, ChangeKind, Edit, Entry, GuestPath, Node, Store, TreeRef};

use crate::fixture::{empty_directory, file, flat, memory, path, symlink, tree};

/// `+ path`, `- path`, `~ path`.
fn lines(store: &Arc<dyn Store>, old: TreeRef, new: TreeRef) -> Vec<String> {
    diff(store, old, new)
        .map(|change| {
            let Change { path, kind } = change.unwrap();
            let sign = match kind {
                ChangeKind::Added(_) => '+',
                ChangeKind::Removed(_) => '-',
                ChangeKind::Modified { .. } => '~',
            };
            format!("{sign} {path}")
        })
        .collect()
}

fn naive(old: &BTreeMap<GuestPath, Entry>, new: &BTreeMap<GuestPath, Entry>) -> Vec<String> {
    let is_directory = |entry: &Entry| matches!(entry.node, Node::Directory(_));
    let mut paths: Vec<_> = old.keys().chain(new.keys()).collect();
    paths.sort();
    paths.dedup();
    let mut lines = Vec::new();
    for path in paths {
        match (old.get(path), new.get(path)) {
            (None, Some(_)) => lines.push(format!("+ {path}")),
            (Some(a), Some(b)) if a != b => lines.push(format!("~ {path}")),
            (Some(_), None) => {
                let (parent, _) = path.split_last().unwrap();
                let whole = parent.names().is_empty() || new.get(&parent).is_some_and(is_directory);
                if whole {
                    lines.push(format!("- {path}"));
                }
            }
            _ => {}
        }
    }
    lines
}

#[test]
fn only_what_differs_is_told() {
    let store = memory();
    let old = tree(
        &store,
        &[
            ("/same/a", file("a")),
            ("/gone/x/y", file("")),
            ("/file", file("")),
            ("/turns", empty_directory()),
        ],
    );
    let mut edit = Edit::new(Arc::clone(&store), old).unwrap();
    edit.remove(&path("/gone")).unwrap();
    edit.insert(&path("/file"), empty_directory()).unwrap();
    edit.insert(&path("/file/in"), file("in")).unwrap();
    edit.insert(&path("/turns"), file("")).unwrap();
    edit.insert(&path("/same/b"), symlink("a")).unwrap();
    let new = edit.finish().unwrap();
    assert_eq!(
        lines(&store, old, new),
        ["~ /file", "+ /file/in", "- /gone", "+ /same/b", "~ /turns"]
    );
    assert_eq!(lines(&store, old, old), [""; 0]);
}

#[test]
fn a_change_of_links_alone_is_told_for_each_member() {
    let store = memory();
    let old = tree(
        &store,
        &[("/d/a", file("x")), ("/d/b", file("x")), ("/e", file(""))],
    );
    let mut edit = Edit::new(Arc::clone(&store), old).unwrap();
    edit.link(&path("/d/a"), &[path("/d/b")]).unwrap();
    let new = edit.finish().unwrap();
    assert_ne!(old, new);
    assert_eq!(lines(&store, old, new), ["~ /d/a", "~ /d/b"]);
    assert_eq!(lines(&store, new, old), ["~ /d/a", "~ /d/b"]);
}

#[test]
fn the_root_directory_itself_can_change() {
    let store = memory();
    let old = tree(&store, &[("/a", file(""))]);
    let mut edit = Edit::new(Arc::clone(&store), old).unwrap();
    edit.set_meta(&GuestPath::root(), &crate::fixture::meta(0o700, 9))
        .unwrap();
    edit.insert(&path("/b"), file("")).unwrap();
    let new = edit.finish().unwrap();
    assert_eq!(lines(&store, old, new), ["~ /", "+ /b"]);
}

fn any_tree() -> impl Strategy<Value = BTreeMap<String, u8>> {
    prop::collection::btree_map("(/[abc]){1,4}", 0u8..4, 0..25)
}

fn plant(store: &Arc<dyn Store>, spec: &BTreeMap<String, u8>) -> TreeRef {
    let mut edit = Edit::new(Arc::clone(store), silt_store::root::scratch(store).unwrap()).unwrap();
    for (at, what) in spec {
        let at = path(at);
        let (parent, _) = at.split_last().unwrap();
        let entry = match what {
            0 => empty_directory(),
            number => file(&number.to_string()),
        };
        // Where a file stands in the way, there is nothing to plant.
        if edit
            .make_directories(&parent, &crate::fixture::meta(0o755, 1))
            .is_ok()
        {
            edit.insert(&at, entry).unwrap();
        }
    }
    edit.finish().unwrap()
}

proptest! {
    #[test]
    fn differences_are_those_of_a_naive_comparison(old in any_tree(), new in any_tree()) {
        let store = memory();
        let (old, new) = (plant(&store, &old), plant(&store, &new));
        prop_assert_eq!(lines(&store, old, new), naive(&flat(&store, old), &flat(&store, new)));
    }
}
