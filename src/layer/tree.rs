//! The tree being unpacked: an edit of the base that knows which paths the layer itself brought.
//!
//! Whiteouts hide only what lies in lower layers, wherever in the archive they stand (image-spec, "Whiteouts"). So what the
//! layer brought is remembered by path, and put back when a whiteout takes away what was below it.

use std::collections::BTreeSet;
use std::sync::Arc;

use silt_store::{Edit, Entry, GuestPath, Meta, Node, Store, StoreResult, TreeRef, directory, root};

/// An `Edit` with a memory.
pub(super) struct Tree {
    edit: Edit,
    /// Paths this layer brought, if there is a lower layer that whiteouts could mean.
    own: Option<BTreeSet<GuestPath>>,
    /// Hard links this layer made: (target, link).
    own_links: Vec<(GuestPath, GuestPath)>,
}

impl Tree {
    pub(super) fn new(store: &Arc<dyn Store>, base: TreeRef) -> StoreResult<Self> {
        let root = root::read(store.as_ref(), base.tree)?;
        let own = (root.directory != directory::empty()).then(BTreeSet::new);
        Ok(Self {
            edit: Edit::new(store.clone(), base)?,
            own,
            own_links: Vec::new(),
        })
    }

    pub(super) fn lookup(&mut self, path: &GuestPath) -> StoreResult<Option<Entry>> {
        self.edit.lookup(path)
    }

    /// Puts an entry, replacing one that is there with all below it.
    pub(super) fn insert(&mut self, path: &GuestPath, entry: Entry) -> StoreResult<()> {
        self.edit.insert(path, entry)
    }

    /// Notes that the layer has an entry of its own at `path`.
    pub(super) fn own(&mut self, path: &GuestPath) {
        if let Some(own) = &mut self.own {
            own.insert(path.clone());
        }
    }

    /// Removes a path with all below it, the layer's own entries too.
    pub(super) fn remove(&mut self, path: &GuestPath) -> StoreResult<()> {
        if let Some(own) = &mut self.own {
            for gone in below(own, path) {
                own.remove(&gone);
            }
        }
        self.edit.remove(path)
    }

    /// Makes `link` another name of what `target` names.
    pub(super) fn link(&mut self, target: &GuestPath, link: &GuestPath) -> StoreResult<()> {
        self.edit.link(target, std::slice::from_ref(link))?;
        if self.own.is_some() {
            self.own_links.push((target.clone(), link.clone()));
        }
        Ok(())
    }

    pub(super) fn set_meta(&mut self, path: &GuestPath, meta: &Meta) -> StoreResult<()> {
        self.edit.set_meta(path, meta)
    }

    /// A whiteout of `path`: takes away what lower layers have there and below.
    pub(super) fn white_out(&mut self, path: &GuestPath) -> StoreResult<()> {
        let own = self.own_below(path)?;
        if self.edit.lookup(path)?.is_some() {
            self.edit.remove(path)?;
        }
        self.put_back(path, own)
    }

    /// An opaque whiteout in the directory `path`: takes away all that lower layers have in it.
    pub(super) fn make_opaque(&mut self, path: &GuestPath) -> StoreResult<()> {
        if !matches!(
            self.edit.lookup(path)?,
            Some(Entry {
                node: Node::Directory(_),
                ..
            })
        ) {
            return Ok(());
        }
        for (name, _) in self.edit.list(path)? {
            self.white_out(&path.child(&name))?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> StoreResult<TreeRef> {
        self.edit.finish()
    }

    /// The layer's own entries at and below `path`, parents first.
    fn own_below(&mut self, path: &GuestPath) -> StoreResult<Vec<(GuestPath, Entry)>> {
        let paths = self.own.as_ref().map(|own| below(own, path)).unwrap_or_default();
        let mut entries = Vec::new();
        for path in paths {
            if let Some(entry) = self.edit.lookup(&path)? {
                entries.push((path, emptied(entry)));
            }
        }
        Ok(entries)
    }

    fn put_back(&mut self, below: &GuestPath, entries: Vec<(GuestPath, Entry)>) -> StoreResult<()> {
        if entries.is_empty() {
            return Ok(());
        }
        for (path, entry) in entries {
            self.put_parents(&path)?;
            self.edit.insert(&path, entry)?;
        }
        for (target, link) in &self.own_links {
            let touched = target.starts_with(below) || link.starts_with(below);
            if touched && self.edit.lookup(target)?.is_some() && self.edit.lookup(link)?.is_some() {
                self.edit.link(target, std::slice::from_ref(link))?;
            }
        }
        Ok(())
    }

    /// Parents that came from lower layers and are gone now.
    fn put_parents(&mut self, path: &GuestPath) -> StoreResult<()> {
        let Some((parent, _)) = path.split_last() else {
            return Ok(());
        };
        if parent.names().is_empty() || self.edit.lookup(&parent)?.is_some() {
            return Ok(());
        }
        self.put_parents(&parent)?;
        self.edit.insert(&parent, super::place::missing_parent())
    }
}

fn below(own: &BTreeSet<GuestPath>, path: &GuestPath) -> Vec<GuestPath> {
    own.range(path.clone()..)
        .take_while(|own| own.starts_with(path))
        .cloned()
        .collect()
}

/// A directory without what is in it; other entries as they are.
fn emptied(entry: Entry) -> Entry {
    match entry.node {
        Node::Directory(_) => Entry {
            meta: entry.meta,
            node: Node::Directory(directory::empty()),
        },
        node => Entry {
            meta: entry.meta,
            node,
        },
    }
}
