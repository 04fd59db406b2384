//! A part of a tree with other owners or modes, or with some of it left out: what `--chown`, `--chmod` and `--exclude` make of a source.
//!
//! In: a root, a path in it, what to change. Out: a root that holds that path alone, changed, with the hard links that stay whole.
//! Effects: nodes. No bytes of files are touched.

use std::sync::Arc;

use silt_store::{
    Directory, Entry, GuestPath, Links, Meta, Node, Root, Store, StoreResult, TreeRef, directory, root,
};

use crate::dockerfile::ignore::{Ignore, Scope};
use crate::plan::Chmod;

/// What becomes of each entry.
#[derive(Debug, Clone)]
pub(super) struct Dress<'a> {
    /// Owner and group.
    pub(super) owner: Option<(u32, u32)>,
    /// Permission bits.
    pub(super) chmod: Option<&'a Chmod>,
    /// What is left out, by path from the source's root.
    pub(super) exclude: &'a Ignore,
}

impl Dress<'_> {
    /// Whether it changes anything at all.
    pub(super) fn changes(&self) -> bool {
        self.owner.is_some() || self.chmod.is_some() || !self.exclude.is_empty()
    }

    /// The metadata of an entry.
    pub(super) fn meta(&self, entry: &Entry) -> Meta {
        let mut meta = entry.meta.clone();
        if let Some((uid, gid)) = self.owner {
            (meta.uid, meta.gid) = (uid, gid);
        }
        // A link's own mode means nothing and cannot be set.
        if let (Some(chmod), false) = (self.chmod, matches!(entry.node, Node::Symlink(_))) {
            meta.mode = chmod.apply(meta.mode, matches!(entry.node, Node::Directory(_)));
        }
        meta
    }

    /// A root with the directory at `path` of `tree`, and all below it, dressed. `entry` is what stands there.
    pub(super) fn directory(
        &self,
        store: &Arc<dyn Store>,
        tree: TreeRef,
        path: &GuestPath,
        node: TreeRef,
    ) -> StoreResult<TreeRef> {
        let source = root::read(&**store, tree.tree)?;
        let mut scope = Scope::default();
        for end in 1..=path.names().len() {
            let path: GuestPath = path.names()[..end].iter().cloned().collect();
            scope = self.exclude.child(&scope, &relative(&path));
        }
        let mut node = self.below(store, path, node, &scope)?;
        let plain = Meta {
            mode: 0o755,
            ..Meta::default()
        };
        for name in path.names().iter().rev() {
            let entry = Entry {
                meta: plain.clone(),
                node: Node::Directory(node),
            };
            node = directory::write(&**store, [(name.clone(), entry)])?;
        }
        let left = |member: &&GuestPath| member.starts_with(path) && !self.exclude.matches(&relative(member));
        let groups = source.links.groups().iter();
        let whole = groups
            .filter(|group| group.iter().all(|member| left(&member)))
            .cloned();
        let root = Root {
            meta: plain,
            directory: node,
            links: Links::new(whole),
        };
        root::write(&**store, &root)
    }

    fn below(
        &self,
        store: &Arc<dyn Store>,
        path: &GuestPath,
        node: TreeRef,
        scope: &Scope,
    ) -> StoreResult<TreeRef> {
        let mut dressed = Vec::new();
        for found in Directory::load(store, node.tree)?.entries() {
            let (name, entry) = found?;
            let path = path.child(&name);
            let text = relative(&path);
            let scope = self.exclude.child(scope, &text);
            let meta = self.meta(&entry);
            let node = match entry.node {
                Node::Directory(_) if scope.is_ignored() && !self.exclude.may_contain_reincluded(&text) => {
                    continue;
                }
                Node::Directory(node) => {
                    let below = self.below(store, &path, node, &scope)?;
                    if scope.is_ignored() && below == directory::empty() {
                        continue;
                    }
                    Node::Directory(below)
                }
                _ if scope.is_ignored() => continue,
                node => node,
            };
            dressed.push((name, Entry { meta, node }));
        }
        directory::write(&**store, dressed)
    }
}

/// As patterns have paths: without the slash before.
pub(super) fn relative(path: &GuestPath) -> String {
    path.to_string().trim_start_matches('/').to_owned()
}
