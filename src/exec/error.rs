//! Every way the work of a vertex fails, but for the command itself.

use std::path::PathBuf;

use silt_store::{GuestPath, NameError, StoreError};

use super::accounts::AccountError;
use crate::layer::LayerError;
use crate::sandbox::SandboxError;
use crate::snapshot::{MaterialiseError, SnapshotError};
use crate::source::context::ContextError;

/// Why COPY, ADD or WORKDIR failed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A source is not there.
    #[error("`{path}` not found")]
    Missing {
        /// As written.
        path: String,
    },
    /// A source is not there, and would be left out if it were.
    #[error("`{path}` is left out of the build context by its ignore file")]
    Ignored {
        /// As written.
        path: String,
    },
    /// A source is a link that leads nowhere in its tree.
    #[error("`{path}` is a symbolic link to nothing that can be copied")]
    Dangling {
        /// In the source's tree.
        path: String,
    },
    /// Several sources and one file to copy them to.
    #[error("{count} sources, but the destination `{destination}` is no directory: end it with a slash")]
    Several {
        /// How many.
        count: usize,
        /// As written.
        destination: String,
    },
    /// A file would replace a directory.
    #[error("cannot replace the directory `{path}` with a file")]
    Replaces {
        /// In the image.
        path: GuestPath,
    },
    /// Links in the destination lead round in circles, or are no paths.
    #[error("`{path}`: too many levels of symbolic links")]
    Links {
        /// In the image.
        path: GuestPath,
    },
    /// The destination is no path.
    #[error("destination `{path}`: {problem}")]
    Destination {
        /// As written.
        path: String,
        /// What is wrong with it.
        problem: NameError,
    },
    /// A malformed glob.
    #[error("{problem}")]
    Pattern {
        /// Which, and what is wrong.
        problem: String,
    },
    /// A name that no file can have.
    #[error("cannot name a file: {0}")]
    Name(NameError),
    /// The plan gave no source for what it copies.
    #[error("the plan names no source")]
    NoSource,
    /// `--chown` names nobody.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// An archive could not be read.
    #[error("cannot read the archive")]
    Read(#[source] std::io::Error),
    /// An archive could not be unpacked.
    #[error("cannot unpack the archive")]
    Layer(#[from] LayerError),
    /// The store failed, or an entry was in the way.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an ADD of a URL failed.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// Neither http nor https.
    #[error("cannot fetch `{url}`: only http and https URLs are supported")]
    Scheme {
        /// As written.
        url: String,
    },
    /// The URL's path ends in no name, and the destination gives none.
    #[error("cannot tell a file name from `{url}`: give the destination one, without a slash at its end")]
    Name {
        /// As written.
        url: String,
    },
    /// The request failed.
    #[error("cannot fetch `{url}`")]
    Request {
        /// As written.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The server sent more or less than it said.
    #[error("`{url}`: the server announced {announced} bytes and sent {sent}")]
    Length {
        /// As written.
        url: String,
        /// By its header.
        announced: u64,
        /// In fact.
        sent: u64,
    },
    /// Not what `--checksum` says.
    #[error("`{url}`: the checksum is {actual}, not {expected}")]
    Checksum {
        /// As written.
        url: String,
        /// As written.
        expected: String,
        /// Of what came.
        actual: String,
    },
    /// The bytes could not be read or stored.
    #[error("cannot store `{url}`")]
    Store {
        /// As written.
        url: String,
        /// Why.
        source: StoreError,
    },
}

/// Why a vertex could not be performed.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// COPY, ADD, WORKDIR.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// ADD of a URL.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The context.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// USER names nobody.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The step's filesystem.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The step's container.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// A mount's source could not be laid out.
    #[error("cannot prepare a mount")]
    Mount(#[from] MaterialiseError),
    /// A mount's source is not there.
    #[error("nothing to mount: `{path}` not found")]
    MountSource {
        /// As written.
        path: String,
    },
    /// A kind of mount that this version lacks.
    #[error("`RUN --mount=type={kind}` is not supported yet")]
    MountKind {
        /// Which.
        kind: &'static str,
    },
    /// The plan names a context that the build was not given.
    #[error("there is no build context{}", if .0.is_empty() { String::new() } else { format!(" `{}`", .0) })]
    NoContext(String),
    /// The plan names an image that was not resolved.
    #[error("the image `{0}` was not resolved")]
    NoImage(String),
    /// Pipes, scratch files.
    #[error("I/O error while {doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
