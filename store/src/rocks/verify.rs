//! A look at everything that records name.
//!
//! In: all records. Out: what is damaged, and who names it. Effects: reads and digests all of it, past the caches.

use std::collections::HashSet;

use super::RocksStore;
use crate::tree::encode::{Named, visit_named};
use crate::{ChunkId, Content, RecordKind, Store, StoreError, StoreResult, TreeId, TreeRef, blob};

/// Something that cannot be read, and a record that needs it.
#[derive(Debug)]
pub struct Damage {
    /// The record's kind.
    pub kind: RecordKind,
    /// The record's key; the first of several that need the same.
    pub key: Vec<u8>,
    /// What cannot be read, and why.
    pub error: StoreError,
}

#[derive(Default)]
struct Seen {
    nodes: HashSet<TreeId>,
    chunks: HashSet<ChunkId>,
}

impl RocksStore {
    /// Reads everything that records reach, each chunk and node once; empty when all of it is whole.
    ///
    /// # Errors
    /// `Database` or `Malformed` when the records themselves cannot be listed.
    pub fn verify(&self) -> StoreResult<Vec<Damage>> {
        let mut seen = Seen::default();
        let mut damages = Vec::new();
        for kind in RecordKind::ALL {
            for (key, record) in self.records(kind, b"")? {
                let mut errors = Vec::new();
                for root in &record.roots {
                    self.verify_root(*root, &mut seen, &mut errors);
                }
                for content in &record.contents {
                    self.verify_content(content, &mut seen, &mut errors);
                }
                let damage = |error| Damage {
                    kind,
                    key: key.clone(),
                    error,
                };
                damages.extend(errors.into_iter().map(damage));
            }
        }
        Ok(damages)
    }

    fn verify_root(&self, root: TreeRef, seen: &mut Seen, errors: &mut Vec<StoreError>) {
        let mut ahead = vec![root.tree];
        while let Some(id) = ahead.pop() {
            if !seen.nodes.insert(id) {
                continue;
            }
            let mut contents = Vec::new();
            let mut visit = |named| {
                match named {
                    Named::Node(id) => ahead.push(id),
                    Named::Content(content) => contents.push(content),
                }
                Ok(())
            };
            let read = self
                .read_node(id)
                .and_then(|bytes| visit_named(bytes, &mut visit));
            errors.extend(read.err());
            for content in contents {
                self.verify_content(&content, seen, errors);
            }
        }
    }

    fn verify_content(&self, content: &Content, seen: &mut Seen, errors: &mut Vec<StoreError>) {
        match blob::chunks(self, content) {
            Ok(chunks) => {
                for id in chunks {
                    if seen.chunks.insert(id) {
                        errors.extend(self.read_chunk(id).err());
                    }
                }
            }
            Err(error) => errors.push(error),
        }
    }
}
