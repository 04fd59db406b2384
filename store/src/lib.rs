//! Bytes and trees: immutable Merkle directories over deduplicated chunks. Knows nothing of FUSE, images, Dockerfiles.
//!
//! | module   | turns what into what                                        | effects |
//! |----------|-------------------------------------------------------------|---------|
//! | `digest` | bytes -> `ChunkId`, `TreeId`, `ContentId`                   | none    |
//! | `name`   | bytes -> `Name`, `GuestPath` (parsed once, then proof)      | none    |
//! | `error`  | every way a store call fails                                | none    |
//! | `tree`   | entries <-> canonical bytes of directories and roots        | none    |
//! | `store`  | the seam: ids -> bytes, records; batches in                 | none    |
//! | `chunker`| content -> chunk boundaries, holes                          | none    |
//! | `blob`   | a byte stream <-> `Content` (inline, chunk, list of chunks) | store   |
//! | `directory` | a `TreeId` -> entries; entries -> a `TreeId`; rewriting  | store   |
//! | `root`   | a `Root` <-> its `TreeId`; the empty tree                    | store   |
//! | `walk`   | a root -> every path in order                               | store   |
//! | `diff`   | two roots -> what changed                                   | store   |
//! | `edit`   | a root + grafts, removals -> a root                         | store   |
//! | `memory` | a store in memory, the model of the other                   | memory  |
//! | `rocks`  | a store in RocksDB, one directory, one writer               | disk    |
//!
//! A module uses only modules above it (`tests/layering.rs` of the root package). The format is drawn in `store/DESIGN.md`.
//! Everything here is synchronous and free of `unsafe`.

pub mod blob;
mod chunker;
pub mod diff;
mod digest;
pub mod directory;
pub mod edit;
mod error;
mod memory;
mod name;
mod rocks;
pub mod root;
mod store;
mod tree;
pub mod walk;

pub use blob::ChunkWriter;
pub use diff::{Change, ChangeKind};
pub use digest::{ChunkId, ContentId, TreeId};
pub use directory::Directory;
pub use edit::Edit;
pub use error::{StoreError, StoreResult};
pub use memory::MemoryStore;
pub use name::{GuestPath, Name, NameError};
pub use rocks::{Damage, Lease, Options, RocksStore, Swept};
pub use store::{Record, RecordKind, Store};
pub use tree::{Content, Data, Device, Entry, Links, Meta, Node, Root, Time, TreeRef, Xattrs};
