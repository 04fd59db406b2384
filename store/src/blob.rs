//! File content: from a byte stream to a `Content`, and back.
//!
//! In: bytes. Out: inline bytes, one chunk or a list of chunks and holes: a function of the bytes alone. Effects: puts and
//! reads chunks. Spec: `store/DESIGN.md`, "Content". Memory is bounded: a batch of chunks and a buffer, whatever the length.

mod list;
mod read;
mod rewrite;
mod write;

pub use read::{Reader, Segment, chunks, fill, present, read_all, read_at, segments};
pub use rewrite::rewrite;
pub use write::{ChunkWriter, from_bytes, write};

pub use crate::chunker::SparseRead;
