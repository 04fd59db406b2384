//! Bytes into the store.
//!
//! In: a stream or bytes. Out: their `Content`. Effects: puts chunks, in batches of some MiB: a put for each small file
//! would cost more than its bytes.

use std::io::Read;

use bytes::Bytes;

use super::list::Builder;
use crate::chunker::{Chunker, Piece, SparseRead, WHOLE};
use crate::{ChunkId, Content, Data, Store, StoreError, StoreResult};

/// Content of at most so many bytes is kept in its entry. Part of the format.
const INLINE: usize = 128;
/// A batch is put when it has so many bytes or so many chunks.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
const BATCH_CHUNKS: usize = 4096;

/// Writes the content of many files, putting chunks in large batches. Each thread of an ingest has its own.
///
/// A `Content` is given out before its chunks are put: nothing may name it in the store until `flush` has returned.
/// Dropped without `flush`, the last batch is lost.
pub struct ChunkWriter<'a> {
    store: &'a dyn Store,
    batch: Vec<(ChunkId, Bytes)>,
    bytes: usize,
}

impl<'a> ChunkWriter<'a> {
    /// Begins with an empty batch.
    pub fn new(store: &'a dyn Store) -> Self {
        Self {
            store,
            batch: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes all of `reader`. `size_hint` is the expected length, which spares reallocation; 0 when unknown.
    ///
    /// # Errors
    /// `Io` from the reader; `NoSpace`, `Database`.
    pub fn write(&mut self, reader: &mut dyn Read, size_hint: u64) -> StoreResult<Content> {
        let mut head = Vec::with_capacity((size_hint as usize).min(WHOLE) + 1);
        let mut limited = reader.take(WHOLE as u64);
        limited.read_to_end(&mut head).map_err(reading)?;
        if head.len() < WHOLE {
            return self.short(head.into());
        }
        self.long(head, reader)
    }

    /// Takes all of `reader` without reading the holes it knows of; the content is that of `write`.
    ///
    /// # Errors
    /// `Io` from the reader; `NoSpace`, `Database`.
    pub fn write_sparse(&mut self, reader: &mut dyn SparseRead, size_hint: u64) -> StoreResult<Content> {
        let mut head = Vec::with_capacity((size_hint as usize).min(WHOLE) + 1);
        let mut limited = (&mut *reader).take(WHOLE as u64);
        limited.read_to_end(&mut head).map_err(reading)?;
        if head.len() < WHOLE {
            return self.short(head.into());
        }
        self.cut(Chunker::sparse(head, reader))
    }

    /// Takes `bytes` without copying them when they are short.
    ///
    /// # Errors
    /// `NoSpace`, `Database`.
    pub fn bytes(&mut self, bytes: impl Into<Bytes>) -> StoreResult<Content> {
        let bytes = bytes.into();
        if bytes.len() < WHOLE {
            self.short(bytes)
        } else {
            self.long(Vec::new(), &mut &*bytes)
        }
    }

    /// Puts what is batched. Not durable until `sync`.
    ///
    /// # Errors
    /// `NoSpace`, `Database`.
    pub fn flush(&mut self) -> StoreResult<()> {
        self.bytes = 0;
        if self.batch.is_empty() {
            return Ok(());
        }
        self.store.put_chunks(std::mem::take(&mut self.batch))
    }

    fn short(&mut self, bytes: Bytes) -> StoreResult<Content> {
        let len = bytes.len() as u64;
        if bytes.len() <= INLINE {
            // A slice of something larger would keep all of it in memory.
            let data = Data::Inline(Bytes::copy_from_slice(&bytes));
            return Ok(Content { len, data });
        }
        let id = self.put(bytes)?;
        Ok(Content {
            len,
            data: Data::Chunk(id),
        })
    }

    pub(super) fn long(&mut self, head: Vec<u8>, reader: &mut dyn Read) -> StoreResult<Content> {
        self.cut(Chunker::new(head, reader))
    }

    fn cut<R: Read>(&mut self, mut chunker: Chunker<R>) -> StoreResult<Content> {
        let mut list = Builder::new();
        while let Some(piece) = chunker.next().map_err(reading)? {
            match piece {
                Piece::Chunk(bytes) => {
                    let len = bytes.len() as u64;
                    let id = self.put(bytes)?;
                    list.push(len, Some(id));
                }
                Piece::Hole(len) => list.push(len, None),
            }
        }
        let (len, bytes) = list.finish();
        let id = self.put(bytes)?;
        Ok(Content {
            len,
            data: Data::List(id),
        })
    }

    pub(super) fn put(&mut self, bytes: Bytes) -> StoreResult<ChunkId> {
        let id = ChunkId::of(&bytes);
        self.bytes += bytes.len();
        self.batch.push((id, bytes));
        if self.bytes >= BATCH_BYTES || self.batch.len() >= BATCH_CHUNKS {
            self.flush()?;
        }
        Ok(id)
    }
}

pub(super) fn reading(source: std::io::Error) -> StoreError {
    StoreError::Io {
        doing: "reading a file's content",
        source,
    }
}

/// Puts all that `reader` gives. Not durable until `sync`.
///
/// # Errors
/// `Io` from the reader; `NoSpace`, `Database`.
pub fn write(store: &dyn Store, reader: &mut dyn Read) -> StoreResult<Content> {
    let mut writer = ChunkWriter::new(store);
    let content = writer.write(reader, 0)?;
    writer.flush()?;
    Ok(content)
}

/// Puts `bytes`. Not durable until `sync`.
///
/// # Errors
/// `NoSpace`, `Database`.
pub fn from_bytes(store: &dyn Store, bytes: &[u8]) -> StoreResult<Content> {
    if bytes.len() <= INLINE {
        let data = Data::Inline(Bytes::copy_from_slice(bytes));
        return Ok(Content {
            len: bytes.len() as u64,
            data,
        });
    }
    write(store, &mut &*bytes)
}
