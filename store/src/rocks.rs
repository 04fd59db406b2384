//! The store on disk: one RocksDB database, one process at a time.
//!
//! In and out: the `Store` trait. Effects: a directory on disk. Spec: `store/DESIGN.md`, "Database". Bytes and trees go in
//! without a log and become durable together, before the record that names them: by a flush when they are many, by one
//! logged write with the record itself when they are few.

mod cache;
mod commit;
mod failure;
mod gc;
mod pins;
mod records;
mod schema;
mod verify;

use std::collections::HashSet;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cache::Cache;
use commit::{Committer, Op};
use failure::database;
pub use gc::Swept;
pub use pins::Lease;
use pins::{Kind, Pinned, Pins};
use rocksdb::{ColumnFamily, DB, Direction, IteratorMode, WriteBatch, WriteOptions};
use schema::Family;
pub use verify::Damage;

use crate::{ChunkId, Record, RecordKind, Store, StoreError, StoreResult, TreeId};

/// Sizes of a store's memory. The default keeps an idle process small.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of index and data blocks kept by the database.
    pub block_cache: usize,
    /// Bytes of tree nodes kept, verified.
    pub node_cache: usize,
    /// Bytes of chunks kept, verified: lists of long files, and what the next read continues.
    pub chunk_cache: usize,
    /// Bytes of new chunks gathered in memory before they are written; up to three times as much while the disk is slow.
    pub write_buffer: usize,
    /// Bytes of the disk left free: below it, and what is still in memory, writes are refused with `NoSpace`.
    pub reserve: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            block_cache: 32 << 20,
            node_cache: 16 << 20,
            chunk_cache: 16 << 20,
            write_buffer: 32 << 20,
            reserve: 16 << 20,
        }
    }
}

/// Chunks, trees and records in RocksDB. Safe from many threads; closing flushes what was put.
pub struct RocksStore {
    db: DB,
    path: PathBuf,
    options: Options,
    committer: Committer,
    pins: Arc<Pins>,
    nodes: Cache<TreeId>,
    chunks: Cache<ChunkId>,
    /// Held by the one sweep that may run.
    sweeping: Mutex<()>,
}

impl RocksStore {
    /// Opens the store in `dir`, making it when there is none.
    ///
    /// # Errors
    /// `Locked` when another process has it, `Format` when a newer silt wrote it, `NoSpace`, `Io`, `Database`.
    pub fn open(dir: &Path, options: Options) -> StoreResult<Self> {
        let db = schema::open(dir, &options)?;
        Ok(Self {
            db,
            path: dir.to_owned(),
            committer: Committer::default(),
            pins: Arc::default(),
            nodes: Cache::new(options.node_cache),
            chunks: Cache::new(options.chunk_cache),
            sweeping: Mutex::new(()),
            options,
        })
    }

    /// Keeps what is put, found and named from now on against `gc`, until the lease is dropped. Each open build has one.
    pub fn lease(&self) -> Lease {
        Lease::new(&self.pins)
    }

    /// How many bytes of memory the database holds: new data, blocks, filters.
    ///
    /// # Errors
    /// `Database`.
    pub fn memory(&self) -> StoreResult<u64> {
        let mut bytes = self.property(Family::Chunks, c"rocksdb.block-cache-usage")?;
        for family in Family::all() {
            bytes += self.property(family, c"rocksdb.cur-size-all-mem-tables")?;
            bytes += self.property(family, c"rocksdb.estimate-table-readers-mem")?;
        }
        Ok(bytes)
    }

    fn property(&self, family: Family, name: &'static CStr) -> StoreResult<u64> {
        let value = self.db.property_int_value_cf(self.family(family)?, name);
        Ok(value.map_err(database("asking for its size"))?.unwrap_or(0))
    }

    fn family(&self, family: Family) -> StoreResult<&ColumnFamily> {
        schema::handle(&self.db, family)
    }

    /// Refuses early: a database that runs out of space in the middle of a flush stops until it is opened again.
    fn check_space(&self, wanted: u64) -> StoreResult<()> {
        let stat = nix::sys::statvfs::statvfs(&self.path).map_err(|error| StoreError::Io {
            doing: "asking for free space",
            source: error.into(),
        })?;
        let free = stat.blocks_available().saturating_mul(stat.fragment_size());
        let unwritten = self.property(Family::Chunks, c"rocksdb.cur-size-all-mem-tables")?
            + self.property(Family::Trees, c"rocksdb.cur-size-all-mem-tables")?;
        if free < self.options.reserve + unwritten + wanted {
            return Err(StoreError::NoSpace(
                format!("{free} bytes are free on the disk of {}", self.path.display()).into(),
            ));
        }
        Ok(())
    }

    /// Pins chunks, then says which are there.
    fn look(&self, ids: &[ChunkId]) -> StoreResult<(Pinned, Vec<bool>)> {
        let pinned = self.pins.add(Kind::Chunk, ids.iter().map(ChunkId::as_bytes));
        let mut present = pinned.known.clone();
        let unknown = ids.iter().zip(&present).filter(|(_, known)| !**known);
        let unknown: Vec<_> = unknown.map(|(id, _)| *id).collect();
        if !unknown.is_empty() {
            let mut found = self.presence(&unknown)?.into_iter();
            for present in present.iter_mut().filter(|known| !**known) {
                *present = found.next().unwrap_or(false);
            }
        }
        Ok((pinned, present))
    }

    fn presence(&self, ids: &[ChunkId]) -> StoreResult<Vec<bool>> {
        let failed = database("looking for chunks");
        let presence = self.family(Family::Presence)?;
        if let [id] = ids {
            let found = self.db.get_pinned_cf(presence, id.as_bytes()).map_err(failed)?;
            return Ok(vec![found.is_some()]);
        }
        let keys = ids.iter().map(ChunkId::as_bytes);
        let found = self.db.batched_multi_get_cf(presence, keys, false);
        found
            .into_iter()
            .map(|found| Ok(found.map_err(&failed)?.is_some()))
            .collect()
    }

    /// Writes chunks and nodes, if there are any and the disk has room.
    fn write_new(&self, ops: Vec<Op>, doing: &'static str) -> StoreResult<()> {
        if ops.is_empty() {
            return Ok(());
        }
        self.check_space(ops.iter().map(|op| op.size() as u64).sum())?;
        self.write(ops, doing)
    }

    /// Writes without the log; durable after the next commit.
    fn write(&self, ops: Vec<Op>, doing: &'static str) -> StoreResult<()> {
        if !ops.is_empty() {
            self.write_unlogged(&ops, doing)?;
            self.committer.written(ops);
        }
        Ok(())
    }

    /// Writes without the log; durable at some time after all that was put before.
    fn write_unlogged(&self, ops: &[Op], doing: &'static str) -> StoreResult<()> {
        let mut batch = WriteBatch::default();
        for op in ops {
            op.add_to(&self.db, &mut batch)?;
        }
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        self.db.write_opt(batch, &unlogged).map_err(database(doing))
    }

    /// Forgets that a damaged chunk is there, so that whoever brings its bytes next stores them anew. The bytes stay: someone may
    /// just have written them.
    fn forget(&self, id: ChunkId, why: &StoreError) {
        tracing::error!(%id, error = %why, "a chunk cannot be read");
        let gone = vec![Op::delete(Family::Presence, id.as_bytes())];
        if let Err(error) = self.write(gone, "forgetting a damaged chunk") {
            tracing::warn!(%id, %error, "it cannot be forgotten either");
        }
        self.pins.unlearn(Kind::Chunk, id.as_bytes());
    }

    fn read_chunk(&self, id: ChunkId) -> StoreResult<Bytes> {
        let found = self.db.get_cf(self.family(Family::Chunks)?, id.as_bytes());
        let bytes: Bytes = match found {
            Ok(Some(bytes)) => bytes.into(),
            Ok(None) => return Err(StoreError::MissingChunk(id)),
            Err(source) => {
                return Err(StoreError::UnreadableChunk {
                    id,
                    source: source.into(),
                });
            }
        };
        let actual = ChunkId::of(&bytes);
        if actual != id {
            return Err(StoreError::CorruptChunk { expected: id, actual });
        }
        Ok(bytes)
    }

    fn read_node(&self, id: TreeId) -> StoreResult<Bytes> {
        let found = self.db.get_cf(self.family(Family::Trees)?, id.as_bytes());
        let bytes: Bytes = match found {
            Ok(Some(bytes)) => bytes.into(),
            Ok(None) => return Err(StoreError::MissingTree(id)),
            Err(source) => {
                return Err(StoreError::UnreadableTree {
                    id,
                    source: source.into(),
                });
            }
        };
        let actual = TreeId::of(&bytes);
        if actual != id {
            return Err(StoreError::CorruptTree { expected: id, actual });
        }
        Ok(bytes)
    }
}

impl Store for RocksStore {
    fn chunk(&self, id: ChunkId) -> StoreResult<Bytes> {
        if let Some(bytes) = self.chunks.get(&id) {
            return Ok(bytes);
        }
        let read = self.read_chunk(id);
        match &read {
            Ok(bytes) => self.chunks.insert(id, bytes),
            Err(error) => self.forget(id, error),
        }
        read
    }

    fn has_chunks(&self, ids: &[ChunkId]) -> StoreResult<Vec<bool>> {
        let (pinned, present) = self.look(ids)?;
        let here = ids.iter().zip(&present).filter(|(_, present)| **present);
        self.pins
            .learn(Kind::Chunk, &pinned, here.map(|(id, _)| id.as_bytes()));
        Ok(present)
    }

    fn put_chunks(&self, chunks: Vec<(ChunkId, Bytes)>) -> StoreResult<()> {
        let ids: Vec<_> = chunks.iter().map(|(id, _)| *id).collect();
        let (pinned, present) = self.look(&ids)?;
        let mut seen = HashSet::new();
        let mut ops = Vec::with_capacity(2 * chunks.len());
        for ((id, bytes), present) in chunks.into_iter().zip(present) {
            if !present && seen.insert(id) {
                ops.push(Op::put(Family::Chunks, id.as_bytes(), bytes));
                ops.push(Op::put(Family::Presence, id.as_bytes(), Bytes::new()));
            }
        }
        self.write_new(ops, "adding chunks")?;
        self.pins
            .learn(Kind::Chunk, &pinned, ids.iter().map(ChunkId::as_bytes));
        Ok(())
    }

    fn node(&self, id: TreeId) -> StoreResult<Bytes> {
        if let Some(bytes) = self.nodes.get(&id) {
            return Ok(bytes);
        }
        let read = self.read_node(id);
        match &read {
            Ok(bytes) => self.nodes.insert(id, bytes),
            Err(error) => {
                tracing::error!(%id, %error, "a tree node cannot be read");
                self.pins.unlearn(Kind::Node, id.as_bytes());
            }
        }
        read
    }

    fn put_nodes(&self, nodes: Vec<(TreeId, Bytes)>) -> StoreResult<()> {
        let pinned = self
            .pins
            .add(Kind::Node, nodes.iter().map(|(id, _)| id.as_bytes()));
        let unknown = nodes
            .into_iter()
            .zip(&pinned.known)
            .filter(|(_, known)| !**known)
            .map(|(node, _)| node);
        let unknown: Vec<_> = unknown.collect();
        let trees = self.family(Family::Trees)?;
        let keys: Vec<_> = unknown.iter().map(|(id, _)| *id.as_bytes()).collect();
        let found = self.db.batched_multi_get_cf(trees, &keys, false);
        let mut ops = Vec::with_capacity(unknown.len());
        for ((id, bytes), found) in unknown.into_iter().zip(found) {
            // A node that cannot be read is written again.
            let present = matches!(found, Ok(Some(found)) if *found == bytes);
            if !present {
                self.nodes.insert(id, &bytes);
                ops.push(Op::put(Family::Trees, id.as_bytes(), bytes));
            }
        }
        self.write_new(ops, "adding tree nodes")?;
        self.pins.learn(Kind::Node, &pinned, keys.iter());
        Ok(())
    }

    fn sync(&self) -> StoreResult<()> {
        self.committer.commit(&self.db, None)
    }

    fn record(&self, kind: RecordKind, key: &[u8]) -> StoreResult<Option<Record>> {
        let family = self.family(Family::Records(kind))?;
        let found = self
            .db
            .get_pinned_cf(family, key)
            .map_err(database("reading a record"))?;
        found.map(|bytes| records::decode(&bytes)).transpose()
    }

    fn put_record(&self, kind: RecordKind, key: &[u8], record: &Record) -> StoreResult<()> {
        let bytes = records::encode(record);
        self.check_space(bytes.len() as u64)?;
        self.committer
            .commit(&self.db, Some(Op::put(Family::Records(kind), key, bytes)))
    }

    fn put_records_lazily(&self, kind: RecordKind, records: Vec<(Vec<u8>, Record)>) -> StoreResult<()> {
        let ops: Vec<_> = records
            .iter()
            .map(|(key, record)| Op::put(Family::Records(kind), key, records::encode(record)))
            .collect();
        self.check_space(ops.iter().map(|op| op.size() as u64).sum())?;
        // Without the log: it would survive a crash that takes what the records name.
        self.write_unlogged(&ops, "writing records")
    }

    fn delete_record(&self, kind: RecordKind, key: &[u8]) -> StoreResult<()> {
        self.committer
            .commit(&self.db, Some(Op::delete(Family::Records(kind), key)))
    }

    fn delete_records_lazily(&self, kind: RecordKind, keys: &[Vec<u8>]) -> StoreResult<()> {
        let ops = keys.iter().map(|key| Op::delete(Family::Records(kind), key));
        self.write(ops.collect(), "deleting records")
    }

    fn records(&self, kind: RecordKind, prefix: &[u8]) -> StoreResult<Vec<(Vec<u8>, Record)>> {
        let family = self.family(Family::Records(kind))?;
        let mut records = Vec::new();
        for found in self
            .db
            .iterator_cf(family, IteratorMode::From(prefix, Direction::Forward))
        {
            let (key, bytes) = found.map_err(database("listing records"))?;
            if !key.starts_with(prefix) {
                break;
            }
            records.push((key.into(), records::decode(&bytes)?));
        }
        Ok(records)
    }
}
