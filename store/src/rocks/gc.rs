//! Garbage collection: mark from the records, sweep the rest.
//!
//! In: all records and leases. Out: what was deleted. Effects: deletes chunks and nodes that nothing names and nobody pinned;
//! builds may go on meanwhile. Spec: `store/DESIGN.md`, "Garbage". Mark and sweep costs builds nothing, which reference counts
//! do.

use std::collections::HashSet;
use std::sync::PoisonError;

use rocksdb::IteratorMode;

use super::RocksStore;
use super::commit::Op;
use super::failure::database;
use super::pins::{Kind, ShortIds, short};
use super::schema::Family;
use crate::tree::encode::{Named, visit_named};
use crate::{Content, Data, Record, RecordKind, Store, StoreError, StoreResult, TreeId, blob, directory};

/// So many keys are deleted under one lock.
const BATCH: usize = 512;

/// What a sweep took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Chunks that stay and that went.
    pub chunks_kept: u64,
    /// Chunks deleted.
    pub chunks: u64,
    /// Tree nodes that stay.
    pub nodes_kept: u64,
    /// Tree nodes deleted.
    pub nodes: u64,
}

#[derive(Default)]
struct Marks {
    nodes: HashSet<TreeId>,
    /// A collision keeps garbage and loses nothing.
    chunks: ShortIds,
    /// Nodes yet to be read.
    ahead: Vec<TreeId>,
}

impl RocksStore {
    /// Deletes every chunk and node that no record and no lease reaches. Records themselves are the caller's to delete, before.
    /// Builds may run meanwhile, each under a lease. The disk's space comes back as the database compacts, which this waits for
    /// when much was deleted.
    ///
    /// # Errors
    /// `MissingTree`, `CorruptTree` and their like when a record names what cannot be read: then nothing is deleted, for what
    /// lies below is unknown. `NoSpace`, `Database`.
    pub fn gc(&self) -> StoreResult<Swept> {
        let _one = self.sweeping.lock().unwrap_or_else(PoisonError::into_inner);
        self.sync()?;
        let marks = self.mark()?;
        let mut swept = Swept::default();
        let chunk = |key: &[u8; 32]| marks.chunks.contains(&short(key));
        (swept.chunks_kept, swept.chunks) = self.sweep(Kind::Chunk, &chunk)?;
        let node = |key: &[u8; 32]| marks.nodes.contains(&TreeId::from_bytes(*key));
        (swept.nodes_kept, swept.nodes) = self.sweep(Kind::Node, &node)?;
        if swept.chunks > swept.chunks_kept / 4 {
            self.compact()?;
        }
        Ok(swept)
    }

    fn mark(&self) -> StoreResult<Marks> {
        let mut marks = Marks::default();
        marks.ahead.push(directory::empty().tree);
        marks.ahead.extend(self.pins.roots().iter().map(|root| root.tree));
        self.mark_ahead(&mut marks)?;
        for kind in RecordKind::ALL {
            for (key, record) in self.records(kind, b"")? {
                self.mark_record(&record, &mut marks).inspect_err(|error| {
                    let key = String::from_utf8_lossy(&key);
                    tracing::error!(?kind, %key, %error, "nothing is swept: a record names what cannot be read");
                })?;
            }
        }
        Ok(marks)
    }

    fn mark_record(&self, record: &Record, marks: &mut Marks) -> StoreResult<()> {
        for content in &record.contents {
            self.mark_content(content, marks)?;
        }
        marks.ahead.extend(record.roots.iter().map(|root| root.tree));
        self.mark_ahead(marks)
    }

    fn mark_ahead(&self, marks: &mut Marks) -> StoreResult<()> {
        while let Some(id) = marks.ahead.pop() {
            if !marks.nodes.insert(id) {
                continue;
            }
            visit_named(self.read_node(id)?, &mut |named| match named {
                Named::Node(id) => {
                    marks.ahead.push(id);
                    Ok(())
                }
                Named::Content(content) => self.mark_content(&content, marks),
            })?;
        }
        Ok(())
    }

    fn mark_content(&self, content: &Content, marks: &mut Marks) -> StoreResult<()> {
        match &content.data {
            Data::Inline(_) => {}
            Data::Chunk(id) => drop(marks.chunks.insert(short(id.as_bytes()))),
            Data::List(id) => {
                marks.chunks.insert(short(id.as_bytes()));
                let chunks = blob::chunks(self, content)?;
                marks.chunks.extend(chunks.iter().map(|id| short(id.as_bytes())));
            }
        }
        Ok(())
    }

    /// Deletes what of a kind is neither marked nor pinned; how many stayed and went.
    fn sweep(&self, kind: Kind, marked: &dyn Fn(&[u8; 32]) -> bool) -> StoreResult<(u64, u64)> {
        let (mut kept, mut deleted) = (0, 0);
        let mut batch = Vec::with_capacity(BATCH);
        let family = self.family(match kind {
            Kind::Chunk => Family::Presence,
            Kind::Node => Family::Trees,
        })?;
        for found in self.db.iterator_cf(family, IteratorMode::Start) {
            let (key, _) = found.map_err(database("listing what is stored"))?;
            let key: [u8; 32] = (*key).try_into().map_err(|_| StoreError::Malformed {
                what: "key",
                detail: "it is no id",
            })?;
            if marked(&key) {
                kept += 1;
                continue;
            }
            batch.push(key);
            if batch.len() == BATCH {
                let gone = self.delete_unpinned(&batch, kind)?;
                (kept, deleted) = (kept + batch.len() as u64 - gone, deleted + gone);
                batch.clear();
            }
        }
        let gone = self.delete_unpinned(&batch, kind)?;
        Ok((kept + batch.len() as u64 - gone, deleted + gone))
    }

    /// Under the pins' lock: whoever pins a key later finds it gone and writes it anew.
    fn delete_unpinned(&self, keys: &[[u8; 32]], kind: Kind) -> StoreResult<u64> {
        let mut deleted = 0;
        let mut pins = self.pins.lock();
        let mut ops = Vec::new();
        for key in keys {
            if pins.contains(key) {
                continue;
            }
            pins.forget(kind, key);
            self.nodes.remove(&TreeId::from_bytes(*key));
            let families = match kind {
                Kind::Chunk => &[Family::Presence, Family::Chunks][..],
                Kind::Node => &[Family::Trees],
            };
            ops.extend(families.iter().map(|family| Op::delete(*family, key)));
            deleted += 1;
        }
        self.write(ops, "sweeping")?;
        Ok(deleted)
    }

    /// Has the database drop what was deleted, blob files included.
    fn compact(&self) -> StoreResult<()> {
        let failed = database("compacting");
        let chunks = self.family(Family::Chunks)?;
        self.sync()?;
        let set = |collect, age| {
            let options = [
                ("enable_blob_garbage_collection", collect),
                ("blob_garbage_collection_age_cutoff", age),
            ];
            self.db.set_options_cf(chunks, &options).map_err(&failed)
        };
        set("true", "1.0")?;
        self.db.compact_range_cf(chunks, None::<&[u8]>, None::<&[u8]>);
        set("false", "0.25")?;
        for family in [Family::Presence, Family::Trees] {
            self.db
                .compact_range_cf(self.family(family)?, None::<&[u8]>, None::<&[u8]>);
        }
        Ok(())
    }
}
