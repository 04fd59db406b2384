//! Bytes out of the store.
//!
//! In: a `Content`. Out: its bytes, all, in part or as a stream; where its holes are. Effects: reads chunks, each verified.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;

use super::list::{Extent, List};
use crate::chunker::{HOLE, is_zero};
use crate::{ChunkId, Content, Data, Store, StoreError, StoreResult};

/// Copies bytes from `offset` on into `buf`; how many, 0 at the end. Less than `buf.len()` only at the end.
///
/// # Errors
/// `MissingChunk`, `CorruptChunk`, `Malformed`, `Database`.
pub fn read_at(store: &dyn Store, content: &Content, offset: u64, buf: &mut [u8]) -> StoreResult<usize> {
    if offset >= content.len {
        return Ok(0);
    }
    let wanted = (content.len - offset).min(buf.len() as u64) as usize;
    let buf = &mut buf[..wanted];
    match &content.data {
        Data::Inline(bytes) => copy(bytes, content.len, offset, buf)?,
        Data::Chunk(id) => copy(&store.chunk(*id)?, content.len, offset, buf)?,
        Data::List(id) => {
            let list = List::open(store.chunk(*id)?)?;
            let mut done = 0;
            while done < buf.len() {
                let position = offset + done as u64;
                let extent = list.extent(list.find(position))?;
                let len = (extent.end - position).min((buf.len() - done) as u64) as usize;
                let part = &mut buf[done..done + len];
                match extent.chunk {
                    Some(id) => {
                        copy(
                            &store.chunk(id)?,
                            extent.end - extent.start,
                            position - extent.start,
                            part,
                        )?;
                    }
                    None => part.fill(0),
                }
                done += len;
            }
        }
    }
    Ok(wanted)
}

/// Copies `buf.len()` bytes of a chunk that ought to have `len` bytes.
fn copy(bytes: &[u8], len: u64, offset: u64, buf: &mut [u8]) -> StoreResult<()> {
    match bytes.get(offset as usize..) {
        Some(rest) if bytes.len() as u64 == len && rest.len() >= buf.len() => {
            buf.copy_from_slice(&rest[..buf.len()]);
            Ok(())
        }
        _ => Err(wrong_length()),
    }
}

fn wrong_length() -> StoreError {
    StoreError::Malformed {
        what: "content",
        detail: "a chunk's length is not what the entry says",
    }
}

/// All bytes. For content known to be short.
///
/// # Errors
/// `MissingChunk`, `CorruptChunk`, `Malformed`, `Database`.
pub fn read_all(store: &dyn Store, content: &Content) -> StoreResult<Vec<u8>> {
    if let Data::Chunk(id) = content.data {
        return Ok(store.chunk(id)?.into());
    }
    let mut bytes = vec![0; content.len as usize];
    let mut done = 0;
    while done < bytes.len() {
        match read_at(store, content, done as u64, &mut bytes[done..])? {
            0 => return Err(wrong_length()),
            read => done += read,
        }
    }
    Ok(bytes)
}

/// A stretch of a file: data, or a hole that reads as zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins.
    pub offset: u64,
    /// How long it is; never 0.
    pub len: u64,
    /// Whether it holds data.
    pub data: bool,
}

/// How many bytes [`fill`] copies at a time.
const FILL: u64 = 256 * 1024;

/// The file's data and holes in order, neighbours of one kind joined; a function of its bytes, whatever form they have.
///
/// # Errors
/// `MissingChunk`, `CorruptChunk`, `Malformed`, `Database`.
pub fn segments(store: &dyn Store, content: &Content) -> StoreResult<Vec<Segment>> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut add = |offset: u64, len: u64, data: bool| match segments.last_mut() {
        Some(last) if last.data == data => last.len += len,
        _ => segments.push(Segment { offset, len, data }),
    };
    let mut scan = |bytes: &[u8]| {
        for (block, bytes) in bytes.chunks(HOLE).enumerate() {
            add((block * HOLE) as u64, bytes.len() as u64, !is_zero(bytes));
        }
    };
    match &content.data {
        Data::Inline(bytes) => scan(bytes),
        Data::Chunk(id) => scan(&store.chunk(*id)?),
        Data::List(id) => {
            for extent in List::open(store.chunk(*id)?)?.extents() {
                let Extent { start, end, chunk } = extent?;
                add(start, end - start, chunk.is_some());
            }
        }
    }
    Ok(segments)
}

/// Writes `content` into the empty `file`. Its holes stay holes, and memory is bounded, whatever the length.
///
/// # Errors
/// What the store says, as [`Reader`] does, and what writing says.
pub fn fill(store: &Arc<dyn Store>, content: &Content, file: &File) -> io::Result<()> {
    if let Data::Inline(bytes) = &content.data {
        return file.write_all_at(bytes, 0);
    }
    let mut reader = Reader::new(Arc::clone(store), content.clone());
    let mut buffer = vec![0; content.len.min(FILL) as usize];
    for segment in segments(&**store, content).map_err(io::Error::other)? {
        if !segment.data {
            continue;
        }
        reader.seek(SeekFrom::Start(segment.offset))?;
        let end = segment.offset + segment.len;
        let mut at = segment.offset;
        while at < end {
            let wanted = (end - at).min(FILL) as usize;
            reader.read_exact(&mut buffer[..wanted])?;
            file.write_all_at(&buffer[..wanted], at)?;
            at += wanted as u64;
        }
    }
    file.set_len(content.len)
}

/// Every chunk that holds some of `content`, its list included.
///
/// # Errors
/// `MissingChunk`, `CorruptChunk`, `Malformed`, `Database`.
pub fn chunks(store: &dyn Store, content: &Content) -> StoreResult<Vec<ChunkId>> {
    match &content.data {
        Data::Inline(_) => Ok(Vec::new()),
        Data::Chunk(id) => Ok(vec![*id]),
        Data::List(id) => {
            let mut chunks = vec![*id];
            for extent in List::open(store.chunk(*id)?)?.extents() {
                chunks.extend(extent?.chunk);
            }
            Ok(chunks)
        }
    }
}

/// Whether the store has all chunks of `content`; if so, they are pinned as by `Store::has_chunks`.
///
/// # Errors
/// `CorruptChunk`, `Malformed`, `Database`.
pub fn present(store: &dyn Store, content: &Content) -> StoreResult<bool> {
    match &content.data {
        Data::Inline(_) => return Ok(true),
        // A list is read below: only then it must be known to be there.
        Data::Chunk(id) | Data::List(id) => {
            if !store.has_chunks(&[*id])?.iter().all(|here| *here) {
                return Ok(false);
            }
        }
    }
    if matches!(content.data, Data::Chunk(_)) {
        return Ok(true);
    }
    let chunks = chunks(store, content)?;
    Ok(store.has_chunks(&chunks)?.iter().all(|here| *here))
}

/// Reads a file as a stream; keeps one chunk in memory.
pub struct Reader {
    store: Arc<dyn Store>,
    content: Content,
    list: Option<List>,
    position: u64,
    /// The bytes at hand and where they begin.
    current: (u64, Bytes),
}

impl Reader {
    /// Begins at offset 0. Reads nothing yet.
    pub fn new(store: Arc<dyn Store>, content: Content) -> Self {
        let current = match &content.data {
            Data::Inline(bytes) => (0, bytes.clone()),
            _ => (0, Bytes::new()),
        };
        Self {
            store,
            content,
            list: None,
            position: 0,
            current,
        }
    }

    /// Bytes from the position on: at least one, unless the end is reached; `Err` is a count of zeros.
    fn available(&mut self) -> StoreResult<Result<&[u8], u64>> {
        let (begin, bytes) = &self.current;
        let within = self
            .position
            .checked_sub(*begin)
            .filter(|at| *at < bytes.len() as u64);
        if let Some(at) = within {
            return Ok(Ok(&self.current.1[at as usize..]));
        }
        if self.position >= self.content.len {
            return Ok(Ok(&[]));
        }
        let extent = match self.content.data {
            Data::Inline(_) => return Err(wrong_length()),
            Data::Chunk(id) => Extent {
                start: 0,
                end: self.content.len,
                chunk: Some(id),
            },
            Data::List(id) => {
                let list = match &mut self.list {
                    Some(list) => list,
                    none => none.insert(List::open(self.store.chunk(id)?)?),
                };
                list.extent(list.find(self.position))?
            }
        };
        let Some(id) = extent.chunk else {
            return Ok(Err(extent.end - self.position));
        };
        let bytes = self.store.chunk(id)?;
        if bytes.len() as u64 != extent.end - extent.start {
            return Err(wrong_length());
        }
        self.current = (extent.start, bytes);
        Ok(Ok(&self.current.1[(self.position - extent.start) as usize..]))
    }
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = match self.available().map_err(io::Error::other)? {
            Ok(bytes) => {
                let len = bytes.len().min(buf.len());
                buf[..len].copy_from_slice(&bytes[..len]);
                len
            }
            Err(zeros) => {
                let len = zeros.min(buf.len() as u64) as usize;
                buf[..len].fill(0);
                len
            }
        };
        self.position += len as u64;
        Ok(len)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.content.len.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
