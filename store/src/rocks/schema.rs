//! The database's column families and how each is laid out; opening; the format number.
//!
//! In: a directory. Out: an open database of the format this build reads. Effects: disk. Spec: `store/DESIGN.md`, "Database".

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, LogLevel,
    WriteBatch, WriteOptions,
};

use super::Options;
use super::failure::{database, opening};
use crate::{RecordKind, StoreError, StoreResult, directory};

/// The number of the format: of trees, content, keys and values. `store/DESIGN.md`, "Versions", says when it grows.
const FORMAT: u32 = 1;
const FORMAT_KEY: &[u8] = b"format";

/// A column family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// The format number.
    Meta,
    /// `ChunkId` -> bytes.
    Chunks,
    /// `ChunkId` -> nothing.
    Presence,
    /// `TreeId` -> encoding.
    Trees,
    /// A key of the kind -> record.
    Records(RecordKind),
}

impl Family {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let records = RecordKind::ALL.into_iter().map(Self::Records);
        [Self::Meta, Self::Chunks, Self::Presence, Self::Trees]
            .into_iter()
            .chain(records)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Chunks => "chunks",
            Self::Presence => "presence",
            Self::Trees => "trees",
            Self::Records(RecordKind::Cache) => "cache",
            Self::Records(RecordKind::Image) => "image",
            Self::Records(RecordKind::Snapshot) => "snapshot",
            Self::Records(RecordKind::Layer) => "layer",
            Self::Records(RecordKind::Stat) => "stat",
            Self::Records(RecordKind::Build) => "build",
        }
    }

    fn descriptor(self, options: &Options, cache: &Cache) -> ColumnFamilyDescriptor {
        let mut family = rocksdb::Options::default();
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(cache);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks.set_format_version(6);
        if let Self::Chunks | Self::Presence | Self::Trees = self {
            blocks.set_bloom_filter(10.0, false);
            blocks.set_optimize_filters_for_memory(true);
        }
        family.set_write_buffer_size(4 << 20);
        family.set_level_compaction_dynamic_level_bytes(true);
        match self {
            Self::Chunks => {
                family.set_write_buffer_size(options.write_buffer);
                family.set_max_write_buffer_number(3);
                family.set_enable_blob_files(true);
                family.set_min_blob_size(512);
                family.set_blob_compression_type(DBCompressionType::Lz4);
                // Chunks are never replaced: only a sweep makes garbage, and it turns this on for its own compaction.
                family.set_enable_blob_gc(false);
                family.set_compression_type(DBCompressionType::Lz4);
            }
            Self::Presence => {
                family.set_write_buffer_size(options.write_buffer / 2);
                family.set_compression_type(DBCompressionType::None);
            }
            Self::Trees => {
                family.set_write_buffer_size(options.write_buffer / 2);
                family.set_compression_type(DBCompressionType::Zstd);
                blocks.set_block_size(16 << 10);
            }
            Self::Meta | Self::Records(_) => family.set_compression_type(DBCompressionType::Zstd),
        }
        family.set_block_based_table_factory(&blocks);
        ColumnFamilyDescriptor::new(self.name(), family)
    }
}

/// The open family's handle.
pub(super) fn handle(db: &DB, family: Family) -> StoreResult<&ColumnFamily> {
    db.cf_handle(family.name()).ok_or(StoreError::Malformed {
        what: "database",
        detail: "a column family is missing",
    })
}

/// Opens or makes the database in `dir`.
pub(super) fn open(dir: &Path, options: &Options) -> StoreResult<DB> {
    let mut builder = std::fs::DirBuilder::new();
    // It holds whatever was ever built, whoever may read it inside.
    builder
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| StoreError::Io {
            doing: "making the store's directory",
            source,
        })?;
    let settings = settings();
    let cache = Cache::new_lru_cache(options.block_cache);
    let families = Family::all().map(|family| family.descriptor(options, &cache));
    match DB::open_cf_descriptors(&settings, dir, families) {
        Ok(db) => {
            check_format(dir, &db)?;
            Ok(db)
        }
        // A newer format may have families that this build does not know; its number says so.
        Err(error) => match DB::open_cf_for_read_only(&settings, dir, ["meta"], false) {
            Ok(db) => match read_format(&db)? {
                Some(found) if found > FORMAT => Err(wrong_format(dir, found)),
                _ => Err(opening(dir, error)),
            },
            Err(_) => Err(opening(dir, error)),
        },
    }
}

fn settings() -> rocksdb::Options {
    let mut settings = rocksdb::Options::default();
    settings.create_if_missing(true);
    settings.create_missing_column_families(true);
    // Chunks, presence and trees become durable together or not at all.
    settings.set_atomic_flush(true);
    settings.set_max_background_jobs(3);
    settings.set_max_open_files(1024);
    // The log's file takes so much of the disk as soon as something is written to it.
    settings.set_max_total_wal_size(8 << 20);
    settings.set_manifest_preallocation_size(64 << 10);
    // The disk works while data comes in, and a sync at the end finds little left.
    settings.set_bytes_per_sync(1 << 20);
    settings.set_wal_bytes_per_sync(1 << 20);
    settings.set_keep_log_file_num(2);
    settings.set_max_log_file_size(4 << 20);
    settings.set_log_level(LogLevel::Warn);
    settings.set_stats_dump_period_sec(0);
    settings.set_stats_persist_period_sec(0);
    settings.set_skip_stats_update_on_db_open(true);
    settings
}

fn wrong_format(dir: &Path, found: u32) -> StoreError {
    StoreError::Format {
        path: dir.to_owned(),
        found,
        supported: FORMAT,
    }
}

fn read_format(db: &DB) -> StoreResult<Option<u32>> {
    let failed = database("reading its format number");
    let Some(bytes) = db.get_cf(handle(db, Family::Meta)?, FORMAT_KEY).map_err(failed)? else {
        return Ok(None);
    };
    match bytes.first_chunk() {
        Some(number) if bytes.len() == 4 => Ok(Some(u32::from_le_bytes(*number))),
        _ => Err(StoreError::Malformed {
            what: "format number",
            detail: "it is not 4 bytes long",
        }),
    }
}

fn check_format(dir: &Path, db: &DB) -> StoreResult<()> {
    match read_format(db)? {
        Some(FORMAT) => Ok(()),
        Some(found) => Err(wrong_format(dir, found)),
        None => {
            let mut batch = WriteBatch::default();
            let (empty, bytes) = directory::empty_node();
            batch.put_cf(handle(db, Family::Trees)?, empty.tree.as_bytes(), bytes);
            batch.put_cf(handle(db, Family::Meta)?, FORMAT_KEY, FORMAT.to_le_bytes());
            let mut durable = WriteOptions::default();
            durable.set_sync(true);
            db.write_opt(batch, &durable)
                .map_err(database("writing its format number"))
        }
    }
}
