//! A long file of which little changed, without reading the rest.
//!
//! In: the old content and which ranges are new. Out: exactly what `write` would give for the whole. Effects: reads the new
//! bytes and some around them, puts chunks. Pieces of the old list stay where nothing that decides them changed; between them
//! the content is cut anew until a cut falls on an old one.

use std::io::{self, Read};
use std::ops::Range;

use super::list::{Builder, Extent, List};
use super::write::{ChunkWriter, reading};
use crate::chunker::{Chunker, HOLE, Piece, WHOLE};
use crate::{Content, Data, Store, StoreResult};

/// Puts the content of `len` bytes that `read_at` gives (at an offset, as many as it likes, 0 at the end). It equals `base` but for
/// the ranges of `dirty`, which are sorted and apart; a changed length need not be said there. Not durable until `sync`.
///
/// # Errors
/// `Io` from `read_at`; `MissingChunk`, `CorruptChunk`, `Malformed`, `NoSpace`, `Database`.
pub fn rewrite(
    store: &dyn Store,
    base: &Content,
    len: u64,
    dirty: &[Range<u64>],
    read_at: &mut dyn FnMut(u64, &mut [u8]) -> io::Result<usize>,
) -> StoreResult<Content> {
    let mut writer = ChunkWriter::new(store);
    let content = match base.data {
        Data::List(id) if len >= WHOLE as u64 => {
            let old = Old {
                list: List::open(store.chunk(id)?)?,
                end: (base.len == len).then_some(len),
                shared: base.len.min(len),
                dirty,
            };
            old.join(&mut writer, len, read_at)?
        }
        _ => writer.write(&mut From { offset: 0, read_at }, len)?,
    };
    writer.flush()?;
    Ok(content)
}

struct Old<'a> {
    list: List,
    /// The end, if it is where it was.
    end: Option<u64>,
    /// Bytes from here on are new.
    shared: u64,
    dirty: &'a [Range<u64>],
}

impl Old<'_> {
    /// Whether a piece that begins where `extent` does ends where it does. That is decided by its bytes, and by whether a hole
    /// begins at its end or in its last block.
    fn stays(&self, extent: &Extent) -> bool {
        if self.end == Some(extent.end) {
            return self.clean(extent.start, extent.end);
        }
        let decided = extent.end + HOLE as u64;
        match self.end {
            Some(end) => self.clean(extent.start, decided.min(end)),
            None => decided <= self.shared && self.clean(extent.start, decided),
        }
    }

    fn clean(&self, from: u64, to: u64) -> bool {
        let next = self.dirty.partition_point(|range| range.end <= from);
        self.dirty.get(next).is_none_or(|range| range.start >= to)
    }

    fn join(
        &self,
        writer: &mut ChunkWriter<'_>,
        len: u64,
        read_at: &mut dyn FnMut(u64, &mut [u8]) -> io::Result<usize>,
    ) -> StoreResult<Content> {
        let mut new = Builder::new();
        let mut at = 0;
        while new.end() < len {
            if at < self.list.len() {
                let extent = self.list.extent(at)?;
                if extent.start == new.end() && self.stays(&extent) {
                    new.push(extent.end - extent.start, extent.chunk);
                    at += 1;
                    continue;
                }
            }
            at = self.cut(&mut new, writer, len, read_at)?;
        }
        let (len, bytes) = new.finish();
        let id = writer.put(bytes)?;
        Ok(Content {
            len,
            data: Data::List(id),
        })
    }

    /// Cuts from the end of `new` on until an old piece that stays begins there; its number, or that after the last.
    fn cut(
        &self,
        new: &mut Builder,
        writer: &mut ChunkWriter<'_>,
        len: u64,
        read_at: &mut dyn FnMut(u64, &mut [u8]) -> io::Result<usize>,
    ) -> StoreResult<usize> {
        let reader = From {
            offset: new.end(),
            read_at,
        };
        let rest = len - new.end();
        let mut chunker = Chunker::from_offset(new.end(), reader.take(rest));
        while let Some(piece) = chunker.next().map_err(reading)? {
            match piece {
                Piece::Chunk(bytes) => {
                    let len = bytes.len() as u64;
                    new.push(len, Some(writer.put(bytes)?));
                }
                Piece::Hole(len) => new.push(len, None),
            }
            let at = self.list.find(new.end());
            if at < self.list.len() {
                let extent = self.list.extent(at)?;
                if extent.start == new.end() && self.stays(&extent) {
                    return Ok(at);
                }
            }
        }
        if new.end() < len {
            return Err(reading(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(self.list.len())
    }
}

/// Reads on from an offset.
struct From<'a> {
    offset: u64,
    read_at: &'a mut dyn FnMut(u64, &mut [u8]) -> io::Result<usize>,
}

impl Read for From<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = (self.read_at)(self.offset, buf)?;
        self.offset += read as u64;
        Ok(read)
    }
}
