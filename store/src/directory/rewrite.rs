//! An old directory and its changes to a new directory, touching only the leaves concerned.
//!
//! In: a base and, by name, new entries or removals. Out: exactly what `write` would give for the resulting entries.
//! Effects: reads the base's indexes and changed leaves, puts new nodes. Spec: `store/DESIGN.md`, "Splitting".

use std::collections::BTreeMap;
use std::ops::Bound;

use super::split::{self, Nodes};
use super::{build, leaf_entries};
use crate::tree::encode::{Item, View};
use crate::{Entry, Name, Store, StoreError, StoreResult, TreeId, TreeRef};

/// Names with their new entries; `None` removes a name, which need not be there.
pub type Changes = BTreeMap<Name, Option<Entry>>;

/// Puts the directory that `base` becomes by `changes`. Not durable until `sync`.
///
/// # Errors
/// `MissingTree`, `CorruptTree`, `Malformed`, `NoSpace`, `Database`.
pub fn rewrite(store: &dyn Store, base: TreeId, changes: &Changes) -> StoreResult<TreeRef> {
    let mut nodes = Vec::new();
    let top = rewrite_into(store, base, changes, &mut nodes)?;
    store.put_nodes(nodes)?;
    Ok(top)
}

/// `rewrite` that leaves the putting to the caller.
pub(crate) fn rewrite_into(
    store: &dyn Store,
    base: TreeId,
    changes: &Changes,
    out: &mut Nodes,
) -> StoreResult<TreeRef> {
    let items = match View::open(store.node(base)?)? {
        View::Leaf(leaf) => return Ok(build(&apply(leaf_entries(&leaf)?, changes.iter()), out)),
        index @ View::Index(_) => {
            let mut items = Vec::new();
            leaf_items(store, &index, &mut items)?;
            items
        }
    };
    let pieces = pieces(store, &items, changes)?;
    let total: u64 = pieces.iter().map(Piece::entries).sum();
    if total <= split::WHOLE_LEAF as u64 {
        let mut entries = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Kept(item) => entries.extend(read_leaf(store, item.node.tree)?),
                Piece::Changed(fresh) => entries.extend(fresh),
            }
        }
        return Ok(build(&entries, out));
    }
    Ok(split::indexes(join(store, pieces, out)?, out))
}

/// A leaf of the base: as it was, or its new entries.
enum Piece {
    Kept(Item),
    Changed(Vec<(Name, Entry)>),
}

impl Piece {
    fn entries(&self) -> u64 {
        match self {
            Self::Kept(item) => item.entries,
            Self::Changed(entries) => entries.len() as u64,
        }
    }
}

/// All leaves below an index, in order.
fn leaf_items(store: &dyn Store, view: &View, items: &mut Vec<Item>) -> StoreResult<()> {
    let View::Index(index) = view else { return Ok(()) };
    for at in 0..index.len() {
        let item = index.item(at)?;
        if index.level() == 1 {
            items.push(item);
        } else {
            leaf_items(store, &View::open(store.node(item.node.tree)?)?, items)?;
        }
    }
    Ok(())
}

fn read_leaf(store: &dyn Store, id: TreeId) -> StoreResult<Vec<(Name, Entry)>> {
    match View::open(store.node(id)?)? {
        View::Leaf(leaf) => leaf_entries(&leaf),
        View::Index(_) => Err(StoreError::Malformed {
            what: "directory index",
            detail: "a leaf is an index",
        }),
    }
}

fn pieces(store: &dyn Store, items: &[Item], changes: &Changes) -> StoreResult<Vec<Piece>> {
    let mut pieces = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let from = match at {
            0 => Bound::Unbounded,
            _ => Bound::Included(&item.first),
        };
        let to = match items.get(at + 1) {
            Some(next) => Bound::Excluded(&next.first),
            None => Bound::Unbounded,
        };
        let mut concerned = changes.range::<Name, _>((from, to)).peekable();
        pieces.push(if concerned.peek().is_none() {
            Piece::Kept(item.clone())
        } else {
            Piece::Changed(apply(read_leaf(store, item.node.tree)?, concerned))
        });
    }
    Ok(pieces)
}

/// Merges two sorted sequences; changes win.
fn apply<'a>(
    base: Vec<(Name, Entry)>,
    changes: impl Iterator<Item = (&'a Name, &'a Option<Entry>)>,
) -> Vec<(Name, Entry)> {
    let mut result = Vec::with_capacity(base.len());
    let mut base = base.into_iter().peekable();
    for (name, change) in changes {
        while let Some(kept) = base.next_if(|(old, _)| old < name) {
            result.push(kept);
        }
        base.next_if(|(old, _)| old == name);
        if let Some(entry) = change {
            result.push((name.clone(), entry.clone()));
        }
    }
    result.extend(base);
    result
}

/// Splits changed runs anew. A run that no longer begins a leaf continues the leaf before it.
fn join(store: &dyn Store, pieces: Vec<Piece>, out: &mut Nodes) -> StoreResult<Vec<Item>> {
    let mut items: Vec<Item> = Vec::with_capacity(pieces.len());
    let mut open: Vec<(Name, Entry)> = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Kept(item) => {
                split::leaves(&open, &mut items, out);
                open.clear();
                items.push(item);
            }
            Piece::Changed(entries) => {
                let continues = entries.first().is_some_and(|(name, _)| !split::begins_leaf(name));
                if open.is_empty()
                    && continues
                    && let Some(before) = items.pop()
                {
                    open = read_leaf(store, before.node.tree)?;
                }
                open.extend(entries);
            }
        }
    }
    split::leaves(&open, &mut items, out);
    Ok(items)
}
