//! One directory: from its id to its entries, from entries to an id, and from an old one to a new one.
//!
//! In: a `TreeId`, or entries in order of names. Out: entries in order, or a `TreeRef`. Effects: reads and puts nodes.
//! Spec: `store/DESIGN.md`, "Directories". A large directory is a tree of leaves split by a function of its names, so that a
//! change touches one leaf and the index above it.

mod rewrite;
mod split;

use std::sync::{Arc, LazyLock};

use bytes::Bytes;

pub(crate) use rewrite::rewrite_into;
pub use rewrite::{Changes, rewrite};
pub(crate) use split::build;

use crate::tree::encode::{self, Table, View};
use crate::{Entry, Name, Store, StoreError, StoreResult, TreeId, TreeRef};

/// A directory opened for reading. Cheap to clone; leaves of a split directory are read when they are needed.
#[derive(Clone)]
pub struct Directory {
    store: Arc<dyn Store>,
    top: View,
    len: u64,
}

impl Directory {
    /// Opens the directory that `id` names (`Node::Directory`, `Root::directory`).
    ///
    /// # Errors
    /// `MissingTree`, `CorruptTree`, `Malformed`, `Database`.
    pub fn load(store: &Arc<dyn Store>, id: TreeId) -> StoreResult<Self> {
        let top = View::open(store.node(id)?)?;
        let len = match &top {
            View::Leaf(leaf) => leaf.len() as u64,
            View::Index(index) => {
                let mut len = 0;
                for at in 0..index.len() {
                    len += index.child(at)?.1;
                }
                len
            }
        };
        Ok(Self {
            store: Arc::clone(store),
            top,
            len,
        })
    }

    /// How many entries it has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entry called `name`.
    ///
    /// # Errors
    /// `MissingTree`, `CorruptTree`, `Malformed`, `Database`.
    pub fn get(&self, name: &[u8]) -> StoreResult<Option<Entry>> {
        let mut view = self.top.clone();
        loop {
            match view {
                View::Leaf(leaf) => {
                    return leaf
                        .search(name)?
                        .ok()
                        .map(|at| leaf.unnamed_entry(at))
                        .transpose();
                }
                View::Index(index) => {
                    let at = match index.search(name)? {
                        Ok(at) => at,
                        Err(0) => return Ok(None),
                        Err(after) => after - 1,
                    };
                    view = View::open(self.store.node(index.child(at)?.0)?)?;
                }
            }
        }
    }

    /// All entries in order of names.
    pub fn entries(&self) -> Entries {
        Entries {
            store: Arc::clone(&self.store),
            stack: vec![(self.top.clone(), 0)],
        }
    }

    /// The entries whose names come after `after`, in order of names.
    ///
    /// # Errors
    /// `MissingTree`, `CorruptTree`, `Malformed`, `Database`.
    pub fn entries_after(&self, after: &[u8]) -> StoreResult<Entries> {
        let mut stack = Vec::new();
        let mut view = self.top.clone();
        loop {
            match view {
                View::Leaf(leaf) => {
                    let at = match leaf.search(after)? {
                        Ok(at) => at + 1,
                        Err(at) => at,
                    };
                    stack.push((View::Leaf(leaf), at));
                    break;
                }
                View::Index(index) => {
                    let at = match index.search(after)? {
                        Ok(at) => at,
                        Err(at) => at.saturating_sub(1),
                    };
                    view = View::open(self.store.node(index.child(at)?.0)?)?;
                    stack.push((View::Index(index), at + 1));
                }
            }
        }
        Ok(Entries {
            store: Arc::clone(&self.store),
            stack,
        })
    }

    /// At most `limit` entries, those after `after` or the first ones: a directory read in pages.
    ///
    /// # Errors
    /// `MissingTree`, `CorruptTree`, `Malformed`, `Database`.
    pub fn page(&self, after: Option<&[u8]>, limit: usize) -> StoreResult<Vec<(Name, Entry)>> {
        let entries = match after {
            Some(after) => self.entries_after(after)?,
            None => self.entries(),
        };
        entries.take(limit).collect()
    }
}

/// Iterates over a directory's entries in order of names; ends after an error.
pub struct Entries {
    store: Arc<dyn Store>,
    /// From the top to the current leaf: each node and its next element.
    stack: Vec<(View, usize)>,
}

impl Entries {
    fn step(&mut self) -> StoreResult<Option<(Name, Entry)>> {
        while let Some((view, next)) = self.stack.last_mut() {
            let at = *next;
            *next += 1;
            match view {
                View::Leaf(leaf) if at < leaf.len() => return leaf.entry(at).map(Some),
                View::Index(index) if at < index.len() => {
                    let (child, _) = index.child(at)?;
                    self.stack.push((View::open(self.store.node(child)?)?, 0));
                }
                _ => drop(self.stack.pop()),
            }
        }
        Ok(None)
    }
}

impl Iterator for Entries {
    type Item = StoreResult<(Name, Entry)>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.stack.clear();
        }
        step.transpose()
    }
}

/// Puts a directory of `entries`, which must be in strict order of names. Not durable until `sync`.
///
/// # Errors
/// `Malformed` when they are not in order; `NoSpace`, `Database`.
pub fn write(store: &dyn Store, entries: impl IntoIterator<Item = (Name, Entry)>) -> StoreResult<TreeRef> {
    let entries: Vec<_> = entries.into_iter().collect();
    if !entries.is_sorted_by(|(a, _), (b, _)| a < b) {
        return Err(StoreError::Malformed {
            what: "directory",
            detail: "its names are not in strict order",
        });
    }
    let mut nodes = Vec::new();
    let top = build(&entries, &mut nodes);
    store.put_nodes(nodes)?;
    Ok(top)
}

/// The empty directory, which every store has.
pub fn empty() -> TreeRef {
    empty_node().0
}

/// The empty directory with its encoding, for stores to begin with.
pub(crate) fn empty_node() -> (TreeRef, Bytes) {
    static EMPTY: LazyLock<(TreeRef, Bytes)> = LazyLock::new(|| {
        let encoded = encode::leaf(&[]);
        (encoded.id, encoded.bytes)
    });
    EMPTY.clone()
}

/// All entries of one node known to be a leaf.
fn leaf_entries(leaf: &Table) -> StoreResult<Vec<(Name, Entry)>> {
    (0..leaf.len()).map(|at| leaf.entry(at)).collect()
}
