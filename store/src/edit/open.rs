//! One directory of an edit: what is stored and what changed.
//!
//! In: a stored directory and changes by name. Out: the directory's new id, bottom up. Effects: reads nodes; gathers new ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::directory::{build, rewrite_into};
use crate::{Directory, Entry, Meta, Name, Node, Store, StoreResult, TreeId, TreeRef};

/// Encoded nodes are put when there are so many bytes of them.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

pub(super) enum Child {
    /// Taken whole.
    Entry(Entry),
    /// A directory with changes inside.
    Open(Meta, Box<Open>),
}

/// What came of entering a child.
pub(super) enum Entered {
    /// It is a directory, now open.
    Open,
    Missing,
    NoDirectory,
}

/// A directory with changes; `None` in `changes` is a removal.
pub(super) struct Open {
    base: Option<(TreeRef, Directory)>,
    pub(super) changes: BTreeMap<Name, Option<Child>>,
}

impl Open {
    pub(super) fn stored(store: &Arc<dyn Store>, node: TreeRef) -> StoreResult<Self> {
        let base = if node == super::nothing() {
            None
        } else {
            Some((node, Directory::load(store, node.tree)?))
        };
        Ok(Self {
            base,
            changes: BTreeMap::new(),
        })
    }

    /// What the base has under `name`, changes not considered.
    pub(super) fn stored_entry(&self, name: &Name) -> StoreResult<Option<Entry>> {
        match &self.base {
            Some((_, directory)) => directory.get(name.as_bytes()),
            None => Ok(None),
        }
    }

    /// This directory as an entry; its id is the one it began with.
    pub(super) fn as_entry(&self, meta: &Meta) -> Entry {
        Entry {
            meta: meta.clone(),
            node: Node::Directory(self.base.as_ref().map_or_else(super::nothing, |(node, _)| *node)),
        }
    }

    /// Opens the child directory `name`, if it is one.
    pub(super) fn enter(&mut self, store: &Arc<dyn Store>, name: &Name) -> StoreResult<Entered> {
        let entry = match self.changes.get(name) {
            Some(Some(Child::Open(..))) => return Ok(Entered::Open),
            Some(Some(Child::Entry(entry))) => Some(entry.clone()),
            Some(None) => None,
            None => self.stored_entry(name)?,
        };
        Ok(match entry {
            None => Entered::Missing,
            Some(Entry {
                meta,
                node: Node::Directory(node),
            }) => {
                let open = Box::new(Self::stored(store, node)?);
                self.changes.insert(name.clone(), Some(Child::Open(meta, open)));
                Entered::Open
            }
            Some(_) => Entered::NoDirectory,
        })
    }

    /// The child directory `name` if it is open.
    pub(super) fn opened(&mut self, name: &Name) -> Option<&mut Open> {
        match self.changes.get_mut(name) {
            Some(Some(Child::Open(_, open))) => Some(open),
            _ => None,
        }
    }

    /// Makes a new, empty directory `name`, open.
    pub(super) fn create(&mut self, name: &Name, meta: &Meta) {
        let open = Self {
            base: None,
            changes: BTreeMap::new(),
        };
        self.changes
            .insert(name.clone(), Some(Child::Open(meta.clone(), Box::new(open))));
    }

    /// All entries as they now are.
    pub(super) fn list(&self) -> StoreResult<Vec<(Name, Entry)>> {
        let mut entries = BTreeMap::new();
        if let Some((_, directory)) = &self.base {
            for entry in directory.entries() {
                let (name, entry) = entry?;
                entries.insert(name, entry);
            }
        }
        for (name, change) in &self.changes {
            match change {
                None => drop(entries.remove(name)),
                Some(Child::Entry(entry)) => drop(entries.insert(name.clone(), entry.clone())),
                Some(Child::Open(meta, open)) => drop(entries.insert(name.clone(), open.as_entry(meta))),
            }
        }
        Ok(entries.into_iter().collect())
    }

    /// Encodes this directory and all below it. Full batches of nodes are put, children before parents; the rest stays in
    /// `nodes`.
    pub(super) fn finish(
        self,
        store: &dyn Store,
        nodes: &mut Vec<(TreeId, bytes::Bytes)>,
    ) -> StoreResult<TreeRef> {
        let mut changes = BTreeMap::new();
        for (name, child) in self.changes {
            let entry = match child {
                None => None,
                Some(Child::Entry(entry)) => Some(entry),
                Some(Child::Open(meta, open)) => {
                    let node = Node::Directory(open.finish(store, nodes)?);
                    Some(Entry { meta, node })
                }
            };
            changes.insert(name, entry);
        }
        let node = match self.base {
            Some((base, _)) if changes.is_empty() => base,
            Some((base, _)) => rewrite_into(store, base.tree, &changes, nodes)?,
            None => {
                let entries: Vec<_> = changes
                    .into_iter()
                    .filter_map(|(name, entry)| Some((name, entry?)))
                    .collect();
                build(&entries, nodes)
            }
        };
        if nodes.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() >= BATCH_BYTES {
            store.put_nodes(std::mem::take(nodes))?;
        }
        Ok(node)
    }
}
