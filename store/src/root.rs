//! Whole filesystems: a root's metadata, its directory and its hard-link groups, as one node.
//!
//! In: a `Root`. Out: its `TreeRef`, and back. Effects: reads and puts nodes. Spec: `store/DESIGN.md`, "Roots".

use crate::tree::encode;
use crate::{Links, Meta, Root, Store, StoreResult, TreeId, TreeRef, directory};

/// Reads the root that `id` names.
///
/// # Errors
/// `MissingTree`, `CorruptTree`, `Malformed`, `Database`.
pub fn read(store: &dyn Store, id: TreeId) -> StoreResult<Root> {
    encode::read_root(&store.node(id)?)
}

/// Puts a root; its directory must have been put before. Not durable until `sync`.
///
/// # Errors
/// `NoSpace`, `Database`.
pub fn write(store: &dyn Store, root: &Root) -> StoreResult<TreeRef> {
    let encoded = encode::root(root);
    store.put_nodes(vec![(encoded.id.tree, encoded.bytes)])?;
    Ok(encoded.id)
}

/// Puts the empty filesystem: `/` with mode 0755, owned by root, of the epoch.
///
/// # Errors
/// `NoSpace`, `Database`.
pub fn scratch(store: &dyn Store) -> StoreResult<TreeRef> {
    write(
        store,
        &Root {
            meta: Meta {
                mode: 0o755,
                ..Meta::default()
            },
            directory: directory::empty(),
            links: Links::default(),
        },
    )
}
