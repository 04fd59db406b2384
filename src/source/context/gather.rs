//! What the walk found becomes directories of the store, children before parents, and stat records.
//!
//! In: directories, parents before children. Out: the context's root directory. Effects: tree nodes, stat records.

use silt_store::{Content, Entry, Node, Store, TreeRef, directory};

use super::ContextError;
use super::stat;
use super::walk::Directory;

/// The gathered root.
pub(super) struct Gathered {
    pub(super) directory: TreeRef,
    /// All content that was taken from the stat cache.
    pub(super) unseen: Vec<Content>,
}

pub(super) fn gather(store: &dyn Store, mut found: Vec<Directory>) -> Result<Gathered, ContextError> {
    let mut unseen = Vec::new();
    let mut records = Vec::new();
    let mut top = directory::empty();
    while let Some(mut last) = found.pop() {
        records.extend(record(&mut last));
        unseen.append(&mut last.unseen);
        last.entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        let Some((parent, name)) = last.place else {
            top = directory::write(store, last.entries)?;
            continue;
        };
        if last.optional && last.entries.is_empty() {
            continue;
        }
        let node = Node::Directory(directory::write(store, last.entries)?);
        found[parent].entries.push((
            name,
            Entry {
                meta: last.meta,
                node,
            },
        ));
    }
    store.put_records_lazily(silt_store::RecordKind::Stat, records)?;
    Ok(Gathered {
        directory: top,
        unseen,
    })
}

/// The directory's stat record, if it is no longer what it was.
fn record(directory: &mut Directory) -> Option<(Vec<u8>, silt_store::Record)> {
    let mut seen = std::mem::take(&mut directory.seen);
    if !directory.complete {
        let gone = |name: &silt_store::Name| seen.iter().all(|file| file.name != *name);
        let kept: Vec<_> = directory
            .known
            .iter()
            .filter(|file| gone(&file.name))
            .cloned()
            .collect();
        seen.extend(kept);
    }
    seen.sort_by(|one, other| one.name.cmp(&other.name));
    (seen != directory.known).then(|| stat::record(directory.identity, &seen))
}
