//! The seam between trees and where they are kept. Two implementations: `MemoryStore` (the model) and `RocksStore`.
//!
//! Durability: `put_chunks` and `put_nodes` may be lost by a crash until `sync` returns; a record is durable when `put_record`
//! returns, and `put_record` makes everything put before it durable first. So a record never names what a crash can take.

use std::sync::Arc;

use bytes::Bytes;

use crate::{ChunkId, StoreResult, TreeId, TreeRef};

/// What a record is about; one column family each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKind {
    /// A cache key -> what the step produced.
    Cache,
    /// An image's name or id -> its description.
    Image,
    /// A kept filesystem: a container's, a failed step's.
    Snapshot,
    /// A layer once packed: (lower, upper, compression) -> descriptors.
    Layer,
    /// What was seen of a context's files: a path -> stat data and content.
    Stat,
    /// One past build.
    Build,
}

impl RecordKind {
    /// Every kind, in the order of their column families.
    pub const ALL: [Self; 6] = [
        Self::Cache,
        Self::Image,
        Self::Snapshot,
        Self::Layer,
        Self::Stat,
        Self::Build,
    ];
}

/// A record's value and what it keeps alive. The value's encoding belongs to the room that writes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Roots (see `Root`) that garbage collection keeps, with all they reach, while this record exists.
    pub roots: Vec<TreeRef>,
    /// Chunks kept besides (packed layers, configs), including lists of chunks with all they name.
    pub contents: Vec<crate::Content>,
    /// The payload.
    pub value: Vec<u8>,
}

/// Chunks, tree nodes and records. All calls are safe from many threads.
pub trait Store: Send + Sync + 'static {
    /// The bytes of a chunk, verified against its id.
    ///
    /// # Errors
    /// `MissingChunk`, `CorruptChunk`, `Database`.
    fn chunk(&self, id: ChunkId) -> StoreResult<Bytes>;

    /// For each id, whether the store has its bytes; a hit pins the chunk against garbage collection while this process lives.
    ///
    /// # Errors
    /// `Database`.
    fn has_chunks(&self, ids: &[ChunkId]) -> StoreResult<Vec<bool>>;

    /// Adds chunks; those present already cost no write. Each id must be `ChunkId::of` its bytes.
    ///
    /// # Errors
    /// `NoSpace`, `Database`.
    fn put_chunks(&self, chunks: Vec<(ChunkId, Bytes)>) -> StoreResult<()>;

    /// The canonical encoding of a directory leaf, directory index or root, verified against its id.
    ///
    /// # Errors
    /// `MissingTree`, `CorruptTree`, `Database`.
    fn node(&self, id: TreeId) -> StoreResult<Bytes>;

    /// Adds tree nodes; those present already cost no write.
    ///
    /// # Errors
    /// `NoSpace`, `Database`.
    fn put_nodes(&self, nodes: Vec<(TreeId, Bytes)>) -> StoreResult<()>;

    /// Makes everything put so far durable.
    ///
    /// # Errors
    /// `NoSpace`, `Database`.
    fn sync(&self) -> StoreResult<()>;

    /// The record under `key`, if any.
    ///
    /// # Errors
    /// `Database`, `Malformed`.
    fn record(&self, kind: RecordKind, key: &[u8]) -> StoreResult<Option<Record>>;

    /// Writes a record, replacing one of the same key, durably, after all that was put before it.
    ///
    /// # Errors
    /// `NoSpace`, `Database`.
    fn put_record(&self, kind: RecordKind, key: &[u8], record: &Record) -> StoreResult<()>;

    /// Writes records that may be lost by a crash (stat cache, statistics), without waiting for the disk. What survives names
    /// only what was put before it and survived as well; the next `put_record` or `sync` need not make it durable.
    ///
    /// # Errors
    /// `NoSpace`, `Database`.
    fn put_records_lazily(&self, kind: RecordKind, records: Vec<(Vec<u8>, Record)>) -> StoreResult<()>;

    /// Removes a record; no error when there is none.
    ///
    /// # Errors
    /// `Database`.
    fn delete_record(&self, kind: RecordKind, key: &[u8]) -> StoreResult<()>;

    /// Removes records without waiting for the disk: durable with the next `put_record` or `sync`. Before a record of the same key
    /// is put lazily again, `sync`: what makes the removal durable may take that record, too.
    ///
    /// # Errors
    /// `Database`.
    fn delete_records_lazily(&self, kind: RecordKind, keys: &[Vec<u8>]) -> StoreResult<()>;

    /// All records of a kind whose key starts with `prefix`, in key order.
    ///
    /// # Errors
    /// `Database`, `Malformed`.
    fn records(&self, kind: RecordKind, prefix: &[u8]) -> StoreResult<Vec<(Vec<u8>, Record)>>;
}

/// A shared store is a store, so that `&arc` serves where `&dyn Store` is wanted.
impl<S: Store + ?Sized> Store for Arc<S> {
    fn chunk(&self, id: ChunkId) -> StoreResult<Bytes> {
        (**self).chunk(id)
    }

    fn has_chunks(&self, ids: &[ChunkId]) -> StoreResult<Vec<bool>> {
        (**self).has_chunks(ids)
    }

    fn put_chunks(&self, chunks: Vec<(ChunkId, Bytes)>) -> StoreResult<()> {
        (**self).put_chunks(chunks)
    }

    fn node(&self, id: TreeId) -> StoreResult<Bytes> {
        (**self).node(id)
    }

    fn put_nodes(&self, nodes: Vec<(TreeId, Bytes)>) -> StoreResult<()> {
        (**self).put_nodes(nodes)
    }

    fn sync(&self) -> StoreResult<()> {
        (**self).sync()
    }

    fn record(&self, kind: RecordKind, key: &[u8]) -> StoreResult<Option<Record>> {
        (**self).record(kind, key)
    }

    fn put_record(&self, kind: RecordKind, key: &[u8], record: &Record) -> StoreResult<()> {
        (**self).put_record(kind, key, record)
    }

    fn put_records_lazily(&self, kind: RecordKind, records: Vec<(Vec<u8>, Record)>) -> StoreResult<()> {
        (**self).put_records_lazily(kind, records)
    }

    fn delete_record(&self, kind: RecordKind, key: &[u8]) -> StoreResult<()> {
        (**self).delete_record(kind, key)
    }

    fn delete_records_lazily(&self, kind: RecordKind, keys: &[Vec<u8>]) -> StoreResult<()> {
        (**self).delete_records_lazily(kind, keys)
    }

    fn records(&self, kind: RecordKind, prefix: &[u8]) -> StoreResult<Vec<(Vec<u8>, Record)>> {
        (**self).records(kind, prefix)
    }
}
