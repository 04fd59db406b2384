//! The list of a long file's chunks and holes, found by offset without decoding the rest.
//!
//! In: pieces in order. Out: the bytes of a list chunk, and views of it. No effects. Spec: `store/DESIGN.md`, "Lists".

use bytes::Bytes;

use crate::{ChunkId, StoreError, StoreResult};

const VERSION: [u8; 4] = [1, 0, 0, 0];
const HEADER: usize = 8;
const ITEM: usize = 40;
/// Stands for zeros in place of a chunk's id.
const ZEROS: [u8; 32] = [0; 32];

/// Gathers a list.
pub(super) struct Builder {
    bytes: Vec<u8>,
    end: u64,
}

impl Builder {
    pub(super) fn new() -> Self {
        let mut bytes = VERSION.to_vec();
        bytes.extend_from_slice(&[0; 4]);
        Self { bytes, end: 0 }
    }

    /// How long the content is so far.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Adds the next `len` bytes: a chunk, or a hole when there is none.
    pub(super) fn push(&mut self, len: u64, chunk: Option<ChunkId>) {
        self.end += len;
        self.bytes.extend_from_slice(&self.end.to_le_bytes());
        self.bytes
            .extend_from_slice(chunk.as_ref().map_or(&ZEROS, |id| id.as_bytes()));
    }

    /// The content's length and the list's bytes.
    pub(super) fn finish(mut self) -> (u64, Bytes) {
        let count = ((self.bytes.len() - HEADER) / ITEM) as u32;
        self.bytes[4..HEADER].copy_from_slice(&count.to_le_bytes());
        (self.end, self.bytes.into())
    }
}

/// One chunk or hole and where it lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) chunk: Option<ChunkId>,
}

/// A list chunk's bytes, read in place.
pub(crate) struct List(Bytes);

impl List {
    /// Checks the bytes' form; offsets are checked when they are used.
    pub(crate) fn open(bytes: Bytes) -> StoreResult<Self> {
        let count = match bytes.first_chunk::<HEADER>() {
            Some([1, 0, 0, 0, a, b, c, d]) => u32::from_le_bytes([*a, *b, *c, *d]) as usize,
            _ => return Err(malformed("it does not begin as a list does")),
        };
        if bytes.len() != HEADER + count * ITEM {
            return Err(malformed("its length does not fit its count"));
        }
        Ok(Self(bytes))
    }

    pub(crate) fn len(&self) -> usize {
        (self.0.len() - HEADER) / ITEM
    }

    fn end(&self, at: usize) -> u64 {
        let item = self
            .0
            .get(HEADER + at * ITEM..)
            .and_then(|bytes| bytes.first_chunk());
        item.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Extent `at`.
    pub(crate) fn extent(&self, at: usize) -> StoreResult<Extent> {
        let start = if at == 0 { 0 } else { self.end(at - 1) };
        let end = self.end(at);
        let id = self
            .0
            .get(HEADER + at * ITEM + 8..)
            .and_then(|bytes| bytes.first_chunk());
        match id {
            Some(id) if end > start => Ok(Extent {
                start,
                end,
                chunk: (*id != ZEROS).then(|| ChunkId::from_bytes(*id)),
            }),
            _ => Err(malformed("its offsets do not grow")),
        }
    }

    /// The number of the extent that holds `offset`; `len()` beyond the end.
    pub(crate) fn find(&self, offset: u64) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.end(middle) <= offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// All extents in order.
    pub(crate) fn extents(&self) -> impl Iterator<Item = StoreResult<Extent>> {
        (0..self.len()).map(|at| self.extent(at))
    }
}

fn malformed(detail: &'static str) -> StoreError {
    StoreError::Malformed {
        what: "list of chunks",
        detail,
    }
}
