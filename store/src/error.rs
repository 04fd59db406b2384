//! Every way a store call fails, with what a caller needs to say so.

use std::path::PathBuf;

use crate::{ChunkId, TreeId};

/// The store's result.
pub type StoreResult<T> = Result<T, StoreError>;

/// Why a store call failed. Nothing durable changed unless a variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A chunk that something names is not in the store.
    #[error("chunk {0} is missing from the store")]
    MissingChunk(ChunkId),
    /// A tree node that something names is not in the store.
    #[error("tree {0} is missing from the store")]
    MissingTree(TreeId),
    /// A chunk's bytes do not digest to its id: the disk or the store's files were damaged.
    #[error("chunk {expected} is corrupt: its bytes digest to {actual}")]
    CorruptChunk {
        /// The id the chunk was stored under.
        expected: ChunkId,
        /// What its bytes digest to.
        actual: ChunkId,
    },
    /// A chunk's bytes cannot be read: the database noticed damage before they could be digested.
    #[error("chunk {id} cannot be read")]
    UnreadableChunk {
        /// The chunk.
        id: ChunkId,
        /// The database's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A tree node's bytes cannot be read.
    #[error("tree {id} cannot be read")]
    UnreadableTree {
        /// The node.
        id: TreeId,
        /// The database's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A tree node's bytes do not digest to its id.
    #[error("tree {expected} is corrupt: its bytes digest to {actual}")]
    CorruptTree {
        /// The id the node was stored under.
        expected: TreeId,
        /// What its bytes digest to.
        actual: TreeId,
    },
    /// Bytes with the right digest that are no canonical encoding: a bug or a foreign writer.
    #[error("malformed {what}: {detail}")]
    Malformed {
        /// The kind of record.
        what: &'static str,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// Another process has the store open.
    #[error("store {} is in use by another process", path.display())]
    Locked {
        /// The store's directory.
        path: PathBuf,
    },
    /// The store was written by another version of the format.
    #[error("store {} has format {found}, this silt reads format {supported}", path.display())]
    Format {
        /// The store's directory.
        path: PathBuf,
        /// The number it carries.
        found: u32,
        /// The number this build reads and writes.
        supported: u32,
    },
    /// The disk is full; what was acknowledged before is intact.
    #[error("no space left for the store")]
    NoSpace(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database refused: an I/O error, damaged files.
    #[error("the store's database failed while {doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// The database's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Reading input, or the store's directory itself, failed.
    #[error("I/O error while {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// A path that an operation on trees needs is not there, or is of the wrong kind.
    #[error("{path}: {problem}")]
    Path {
        /// The path inside the tree.
        path: crate::GuestPath,
        /// `not found`, `not a directory`, ...
        problem: &'static str,
    },
}
