//! A store in memory: the model of the other, and what tests of other crates use.
//!
//! In and out: the `Store` trait. Effects: memory. Nothing is verified on reading, for nothing can rot.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::{ChunkId, Record, RecordKind, Store, StoreError, StoreResult, TreeId, directory};

#[derive(Default)]
struct Inner {
    chunks: HashMap<ChunkId, Bytes>,
    nodes: HashMap<TreeId, Bytes>,
    records: BTreeMap<(RecordKind, Vec<u8>), Record>,
}

/// Everything in maps behind one lock; lost when dropped.
pub struct MemoryStore(Mutex<Inner>);

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        let mut inner = Inner::default();
        let (empty, bytes) = directory::empty_node();
        inner.nodes.insert(empty.tree, bytes);
        Self(Mutex::new(inner))
    }

    /// How many chunks and how many tree nodes it has: for tests of sharing.
    pub fn counts(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.chunks.len(), inner.nodes.len())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MemoryStore {
    fn chunk(&self, id: ChunkId) -> StoreResult<Bytes> {
        self.lock()
            .chunks
            .get(&id)
            .cloned()
            .ok_or(StoreError::MissingChunk(id))
    }

    fn has_chunks(&self, ids: &[ChunkId]) -> StoreResult<Vec<bool>> {
        let inner = self.lock();
        Ok(ids.iter().map(|id| inner.chunks.contains_key(id)).collect())
    }

    fn put_chunks(&self, chunks: Vec<(ChunkId, Bytes)>) -> StoreResult<()> {
        let mut inner = self.lock();
        for (id, bytes) in chunks {
            inner.chunks.entry(id).or_insert(bytes);
        }
        Ok(())
    }

    fn node(&self, id: TreeId) -> StoreResult<Bytes> {
        self.lock()
            .nodes
            .get(&id)
            .cloned()
            .ok_or(StoreError::MissingTree(id))
    }

    fn put_nodes(&self, nodes: Vec<(TreeId, Bytes)>) -> StoreResult<()> {
        let mut inner = self.lock();
        for (id, bytes) in nodes {
            inner.nodes.entry(id).or_insert(bytes);
        }
        Ok(())
    }

    fn sync(&self) -> StoreResult<()> {
        Ok(())
    }

    fn record(&self, kind: RecordKind, key: &[u8]) -> StoreResult<Option<Record>> {
        Ok(self.lock().records.get(&(kind, key.to_vec())).cloned())
    }

    fn put_record(&self, kind: RecordKind, key: &[u8], record: &Record) -> StoreResult<()> {
        self.lock().records.insert((kind, key.to_vec()), record.clone());
        Ok(())
    }

    fn put_records_lazily(&self, kind: RecordKind, records: Vec<(Vec<u8>, Record)>) -> StoreResult<()> {
        let mut inner = self.lock();
        for (key, record) in records {
            inner.records.insert((kind, key), record);
        }
        Ok(())
    }

    fn delete_record(&self, kind: RecordKind, key: &[u8]) -> StoreResult<()> {
        self.lock().records.remove(&(kind, key.to_vec()));
        Ok(())
    }

    fn delete_records_lazily(&self, kind: RecordKind, keys: &[Vec<u8>]) -> StoreResult<()> {
        let mut inner = self.lock();
        for key in keys {
            inner.records.remove(&(kind, key.clone()));
        }
        Ok(())
    }

    fn records(&self, kind: RecordKind, prefix: &[u8]) -> StoreResult<Vec<(Vec<u8>, Record)>> {
        let inner = self.lock();
        let from = (kind, prefix.to_vec());
        Ok(inner
            .records
            .range(from..)
            .take_while(|((found, key), _)| *found == kind && key.starts_with(prefix))
            .map(|((_, key), record)| (key.clone(), record.clone()))
            .collect())
    }
}
