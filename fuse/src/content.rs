//! Immutable file content: in the store, or staged by a step and not sealed yet.
//!
//! In: pieces that a step wrote. Out: bytes, and the store's `Content` once sealed. Effects: reads and writes the store. Sealing a
//! staged content frees its memory and disk at once; readers go on in the store.

mod pieces;

use std::io::{self, Read, Seek as _, SeekFrom};
use std::ops::Range as Span;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;
use parking_lot::{Mutex, RwLock};
use silt_store::blob::{self, ChunkWriter, SparseRead};
use silt_store::{ChunkId, Data, Store, StoreResult};

use crate::error::{Reply, store_errno};

pub(crate) use pieces::Pieces;

/// How many files keep their chunk, and their list of chunks, between reads.
const READERS: usize = 16;
/// What one thread digests before it puts the chunks and frees what they came from.
const SEAL_BATCH_BYTES: u64 = 8 << 20;
const SEAL_BATCH_FILES: usize = 1024;
/// A rewritten file's holes are read where they changed; with more of them than this it is written anew, which reads data only.
const REREAD_HOLES: u64 = 64 << 20;
/// Fewer files than this are not worth another thread.
const SEAL_FILES_PER_THREAD: usize = 64;

/// The store, and what reading it again and again should not repeat.
pub(crate) struct Contents {
    store: Arc<dyn Store>,
    readers: Mutex<Vec<(ChunkId, Arc<Mutex<blob::Reader>>)>>,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

impl Contents {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            readers: Mutex::default(),
        }
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The reader of a file, the last used first.
    fn reader(&self, id: ChunkId, content: &silt_store::Content) -> Arc<Mutex<blob::Reader>> {
        let mut readers = self.readers.lock();
        let entry = if let Some(position) = readers.iter().position(|(other, _)| *other == id) {
            readers.remove(position)
        } else {
            let reader = blob::Reader::new(Arc::clone(&self.store), content.clone());
            (id, Arc::new(Mutex::new(reader)))
        };
        let reader = Arc::clone(&entry.1);
        readers.insert(0, entry);
        readers.truncate(READERS);
        reader
    }

    fn read_stored(&self, content: &silt_store::Content, offset: u64, buffer: &mut [u8]) -> Reply<()> {
        // A file that takes several reads keeps its list and its chunk between them.
        if let Data::List(id) | Data::Chunk(id) = content.data
            && content.len > buffer.len() as u64
        {
            let reader = self.reader(id, content);
            let mut reader = reader.lock();
            return reader
                .seek(SeekFrom::Start(offset))
                .and_then(|_| reader.read_exact(buffer))
                .map_err(|error| {
                    tracing::error!(%error, %id, "a file could not be read");
                    Errno::EIO
                });
        }
        let mut done = 0;
        while done < buffer.len() {
            match blob::read_at(&*self.store, content, offset + done as u64, &mut buffer[done..])
                .map_err(store_errno)?
            {
                0 => return Err(Errno::EIO),
                count => done += count,
            }
        }
        Ok(())
    }
}

/// A file's bytes, never changed again.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Stored(silt_store::Content),
    Staged(Arc<Staged>),
}

impl Content {
    pub(crate) fn empty() -> Self {
        Self::Stored(silt_store::Content::empty())
    }

    /// Freezes pieces; content that is unchanged from end to end stays what it was.
    pub(crate) fn freeze(pieces: Pieces) -> Self {
        if pieces.len() == 0 {
            return Self::empty();
        }
        match pieces.whole() {
            Some(content) => content.clone(),
            None => Self::Staged(Arc::new(Staged {
                len: pieces.len(),
                state: RwLock::new(State::Pieces(pieces)),
            })),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Stored(content) => content.len,
            Self::Staged(staged) => staged.len,
        }
    }

    /// Bytes that take space, as far as that is known without reading.
    pub(crate) fn allocated(&self) -> u64 {
        match self {
            Self::Stored(content) => content.len,
            Self::Staged(staged) => match &*staged.state.read() {
                State::Pieces(pieces) => pieces.covered(),
                State::Sealed(content) => content.len,
            },
        }
    }

    /// Fills `buffer` from `offset` on; the content goes that far.
    pub(crate) fn read_exact_at(&self, contents: &Contents, offset: u64, buffer: &mut [u8]) -> Reply<()> {
        match self {
            Self::Stored(content) => contents.read_stored(content, offset, buffer),
            Self::Staged(staged) => match &*staged.state.read() {
                State::Sealed(content) => contents.read_stored(content, offset, buffer),
                State::Pieces(pieces) => match pieces.read_at(contents, offset, buffer)? {
                    count if count == buffer.len() => Ok(()),
                    _ => Err(Errno::EIO),
                },
            },
        }
    }

    /// Fills `buffer` from `offset` on as far as the content goes; how far that is.
    pub(crate) fn read_at(&self, contents: &Contents, offset: u64, buffer: &mut [u8]) -> Reply<usize> {
        let count = self.len().saturating_sub(offset).min(buffer.len() as u64) as usize;
        if count > 0 {
            self.read_exact_at(contents, offset, &mut buffer[..count])?;
        }
        Ok(count)
    }

    /// The first range of data that ends after `offset`.
    pub(crate) fn next_data(&self, contents: &Contents, offset: u64) -> Reply<Option<Span<u64>>> {
        match self {
            Self::Stored(content) => stored_data(contents, content, offset),
            Self::Staged(staged) => match &*staged.state.read() {
                State::Sealed(content) => stored_data(contents, content, offset),
                State::Pieces(pieces) => pieces.next_data(contents, offset),
            },
        }
    }

    /// The store's name for these bytes, where they have one.
    pub(crate) fn sealed(&self) -> Option<silt_store::Content> {
        match self {
            Self::Stored(content) => Some(content.clone()),
            Self::Staged(staged) => match &*staged.state.read() {
                State::Sealed(content) => Some(content.clone()),
                State::Pieces(_) => None,
            },
        }
    }
}

fn stored_data(contents: &Contents, content: &silt_store::Content, offset: u64) -> Reply<Option<Span<u64>>> {
    let segments = blob::segments(&**contents.store(), content).map_err(store_errno)?;
    Ok(segments
        .into_iter()
        .filter(|segment| segment.data)
        .map(|segment| segment.offset..segment.offset + segment.len)
        .find(|data| data.end > offset))
}

/// Content that a step wrote.
#[derive(Debug)]
pub(crate) struct Staged {
    len: u64,
    state: RwLock<State>,
}

#[derive(Debug)]
enum State {
    Pieces(Pieces),
    Sealed(silt_store::Content),
}

impl Staged {
    /// Hands the bytes to `writer`. Its chunks must be flushed before anything names them: see `mark_sealed`.
    fn digest(&self, contents: &Contents, writer: &mut ChunkWriter<'_>) -> StoreResult<silt_store::Content> {
        match &*self.state.read() {
            State::Sealed(content) => Ok(content.clone()),
            State::Pieces(pieces) => {
                if let Some((base, dirty)) = pieces.edition()
                    && holes(contents, &base)? <= REREAD_HOLES
                {
                    let mut read_at =
                        |offset, buffer: &mut [u8]| Ok(pieces.read_at(contents, offset, buffer)?);
                    return blob::rewrite(&**contents.store(), &base, self.len, &dirty, &mut read_at);
                }
                let mut reader = PiecesReader {
                    pieces,
                    contents,
                    position: 0,
                };
                writer.write_sparse(&mut reader, self.len)
            }
        }
    }

    fn mark_sealed(&self, content: silt_store::Content) {
        *self.state.write() = State::Sealed(content);
    }
}

/// How much of a file is holes.
fn holes(contents: &Contents, content: &silt_store::Content) -> StoreResult<u64> {
    let segments = blob::segments(&**contents.store(), content)?;
    Ok(segments
        .iter()
        .filter(|segment| !segment.data)
        .map(|segment| segment.len)
        .sum())
}

/// Digests staged content on several threads and frees it as it goes. Whether it was sealed in the meantime by another does not matter.
pub(crate) fn seal_all(contents: &Contents, files: &[Arc<Staged>]) -> StoreResult<()> {
    let next = AtomicUsize::new(0);
    let work = || -> StoreResult<()> {
        let mut writer = ChunkWriter::new(&**contents.store());
        let mut batch: Vec<(&Staged, silt_store::Content)> = Vec::new();
        let mut bytes = 0;
        loop {
            let file = files.get(next.fetch_add(1, Ordering::Relaxed));
            if let Some(file) = file {
                batch.push((file, file.digest(contents, &mut writer)?));
                bytes += file.len;
            }
            if file.is_none() || bytes >= SEAL_BATCH_BYTES || batch.len() >= SEAL_BATCH_FILES {
                writer.flush()?;
                batch
                    .drain(..)
                    .for_each(|(file, content)| file.mark_sealed(content));
                bytes = 0;
            }
            if file.is_none() {
                return Ok(());
            }
        }
    };
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(files.len().div_ceil(SEAL_FILES_PER_THREAD));
    if threads <= 1 {
        return work();
    }
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mine = work();
        others
            .into_iter()
            .fold(mine, |result, thread| match thread.join() {
                Ok(theirs) => result.and(theirs),
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })
}

/// Streams a file's merged bytes to the chunker.
struct PiecesReader<'a> {
    pieces: &'a Pieces,
    contents: &'a Contents,
    position: u64,
}

impl Read for PiecesReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.pieces.read_at(self.contents, self.position, buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl SparseRead for PiecesReader<'_> {
    fn skip_zeros(&mut self, unit: u64) -> io::Result<u64> {
        let data = self.pieces.next_data(self.contents, self.position)?;
        let end = data.map_or(self.pieces.len(), |data| data.start);
        let skipped = end.saturating_sub(self.position) / unit * unit;
        self.position += skipped;
        Ok(skipped)
    }
}
