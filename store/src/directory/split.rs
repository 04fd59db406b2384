//! Where a directory is split: a function of the set of its names, so that equal directories are equal nodes.
//!
//! In: entries in order. Out: leaves, and indexes above them until one node is left. No effects.
//! Spec: `store/DESIGN.md`, "Splitting". The constants are part of the format.

use bytes::Bytes;

use crate::tree::encode::{self, Encoded, Item};
use crate::{Entry, Name, TreeId, TreeRef};

/// A directory of at most so many entries is one leaf.
pub(super) const WHOLE_LEAF: usize = 512;
/// A level of at most so many children is one index.
const WHOLE_INDEX: usize = 128;
/// A name begins a leaf when its rank is at least this: every 256th name does.
const LEAF_RANK: u32 = 8;
/// Each level's boundaries are every 64th of those below.
const LEVEL_RANK: u32 = 6;
/// The rank has 64 bits: above this level nothing would split, so all children go into one index.
const TOP_LEVEL: u8 = 9;

/// How many zero bits end the name's digest (its first 8 bytes as a little-endian number).
fn rank(name: &Name) -> u32 {
    let digest = blake3::hash(name.as_bytes());
    let low = digest
        .as_bytes()
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes));
    low.trailing_zeros()
}

/// Whether `name` begins a leaf wherever it stands.
pub(super) fn begins_leaf(name: &Name) -> bool {
    rank(name) >= LEAF_RANK
}

/// Nodes to be put.
pub(crate) type Nodes = Vec<(TreeId, Bytes)>;

/// Encodes a directory; its nodes are added to `out`.
pub(crate) fn build(entries: &[(Name, Entry)], out: &mut Nodes) -> TreeRef {
    if entries.len() <= WHOLE_LEAF {
        return keep(encode::leaf(entries), out);
    }
    let mut items = Vec::new();
    leaves(entries, &mut items, out);
    indexes(items, out)
}

/// Encodes the leaves of `entries`, which begin a leaf and end one.
pub(super) fn leaves(entries: &[(Name, Entry)], items: &mut Vec<Item>, out: &mut Nodes) {
    for run in runs(entries, |(name, _)| begins_leaf(name)) {
        if let Some((first, _)) = run.first() {
            items.push(Item {
                first: first.clone(),
                node: keep(encode::leaf(run), out),
                entries: run.len() as u64,
            });
        }
    }
}

/// Encodes the indexes above the leaves; one leaf alone needs none.
pub(super) fn indexes(mut items: Vec<Item>, out: &mut Nodes) -> TreeRef {
    let mut level = 1;
    loop {
        match items.as_slice() {
            [] => return keep(encode::leaf(&[]), out),
            [one] => return one.node,
            _ => {}
        }
        if items.len() <= WHOLE_INDEX || level == TOP_LEVEL {
            return keep(encode::index(level, &items), out);
        }
        let least = LEAF_RANK + LEVEL_RANK * u32::from(level);
        items = runs(&items, |item| rank(&item.first) >= least)
            .into_iter()
            .filter_map(|run| {
                Some(Item {
                    first: run.first()?.first.clone(),
                    node: keep(encode::index(level, run), out),
                    entries: run.iter().map(|item| item.entries).sum(),
                })
            })
            .collect();
        level += 1;
    }
}

/// Cuts before each element that begins a run.
fn runs<T>(elements: &[T], begins: impl Fn(&T) -> bool) -> Vec<&[T]> {
    elements.chunk_by(|_, next| !begins(next)).collect()
}

fn keep(encoded: Encoded, out: &mut Nodes) -> TreeRef {
    out.push((encoded.id.tree, encoded.bytes));
    encoded.id
}
