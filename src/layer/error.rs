//! What can be wrong with a layer, with the member it is wrong at.

use std::io;

use silt_store::{GuestPath, NameError, StoreError};

use crate::oci::digest::{DiffId, Digest};

/// Why a tar was not unpacked or a tree not packed. Nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The stream ended inside a member, or before the end mark where one is required.
    #[error("the archive is truncated {place}")]
    Truncated {
        /// `in usr/bin/x`, `before its end mark`.
        place: String,
    },
    /// The bytes are no tar: a header's checksum is wrong.
    #[error("not a tar archive, or a damaged one: bad header checksum at byte {offset}")]
    NotTar {
        /// Where the header begins.
        offset: u64,
    },
    /// One member is unacceptable.
    #[error("archive member `{member}`")]
    Member {
        /// Its name as the archive has it.
        member: String,
        /// What is wrong.
        source: MemberError,
    },
    /// Reading the stream failed: network, disk, decompression.
    #[error("reading the archive failed")]
    Read(#[source] io::Error),
    /// Writing the packed layer failed.
    #[error("writing the layer failed")]
    Write(#[source] io::Error),
    /// An entry of the tree has no form in a layer.
    #[error("{path} cannot be put into an image layer: {problem}")]
    Unpackable {
        /// The path in the tree.
        path: GuestPath,
        /// Why.
        problem: &'static str,
    },
    /// A layer's uncompressed bytes are not what the config says.
    #[error("layer content is {actual}, expected {expected}")]
    WrongDiffId {
        /// By the config.
        expected: DiffId,
        /// By the bytes.
        actual: DiffId,
    },
    /// A blob is not what its descriptor says.
    #[error("blob content is {actual}, expected {expected}")]
    WrongDigest {
        /// By the descriptor.
        expected: Digest,
        /// By the bytes.
        actual: Digest,
    },
    /// What is kept about a layer's original form is damaged.
    #[error("the record of a layer's original tar is malformed")]
    Recipe,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// What is wrong with one member of a tar.
#[derive(Debug, thiserror::Error)]
pub enum MemberError {
    /// `..` climbs above the root.
    #[error("the name points outside of the root directory")]
    Escapes,
    /// The name cannot be one.
    #[error("bad name")]
    Name(#[source] NameError),
    /// A number in the header is none, or out of range.
    #[error("the header's {field} is no valid number")]
    Number {
        /// Which.
        field: &'static str,
    },
    /// A PAX extension is malformed.
    #[error("malformed extended header")]
    Pax,
    /// A PAX or GNU extension is absurdly large.
    #[error("its extended header has {size} bytes, the limit is 1 MiB")]
    ExtensionSize {
        /// Declared size.
        size: u64,
    },
    /// No type that a filesystem can hold.
    #[error("unknown member type {flag:?}")]
    Type {
        /// The type byte.
        flag: char,
    },
    /// A sparse map that contradicts itself.
    #[error("malformed sparse map")]
    Sparse,
    /// A sparse file beyond all use.
    #[error("its sparse file has {size} bytes, the limit is 64 GiB")]
    SparseSize {
        /// Declared size.
        size: u64,
    },
    /// A parent is something else than a directory.
    #[error("{0} is not a directory")]
    Parent(GuestPath),
    /// Symbolic links in the name lead round in a circle.
    #[error("too many symbolic links in the name")]
    Loop,
    /// A hard link to nothing.
    #[error("hard link to `{target}`, which does not exist")]
    LinkTarget {
        /// As the archive has it.
        target: String,
    },
    /// A hard link to a directory.
    #[error("hard link to the directory `{target}`")]
    LinkDirectory {
        /// As the archive has it.
        target: String,
    },
    /// `.wh.` names are markers; this one marks nothing.
    #[error("names that begin with .wh. are whiteouts, and this is no valid one")]
    Whiteout,
    /// The entry for the root directory is no directory.
    #[error("the root must be a directory")]
    Root,
}

impl MemberError {
    pub(super) fn at(self, member: &[u8]) -> LayerError {
        LayerError::Member {
            member: String::from_utf8_lossy(member).into_owned(),
            source: self,
        }
    }
}
