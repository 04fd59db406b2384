//! What can go wrong while exporting, and with asking for it.

use std::io;
use std::path::PathBuf;

use silt_store::{GuestPath, StoreError};

use super::EXPORTERS;
use crate::layer::LayerError;
use crate::oci::reference::ReferenceError;

/// A malformed `--output`.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Nothing says which exporter.
    #[error("--output `{text}` has no type: use type={}", names().join(", type="))]
    NoType {
        /// As given.
        text: String,
    },
    /// No such exporter.
    #[error("there is no exporter `{name}`; there are {}", names().join(", "))]
    Type {
        /// As given.
        name: String,
    },
    /// The exporter takes no such key.
    #[error("the exporter {exporter} takes no `{key}`; it takes {}", keys(exporter).join(", "))]
    Key {
        /// The exporter.
        exporter: &'static str,
        /// As given.
        key: String,
    },
    /// The key takes no such value.
    #[error("`{key}` takes no `{value}`; it takes {}", choices.join(", "))]
    Value {
        /// The key.
        key: &'static str,
        /// As given.
        value: String,
        /// What it takes.
        choices: &'static [&'static str],
    },
    /// A part without `=`.
    #[error("`{part}` in --output is no key=value")]
    Pair {
        /// The part.
        part: String,
    },
    /// A key twice.
    #[error("`{key}` stands twice in --output")]
    Twice {
        /// The key.
        key: String,
    },
    /// A quote that is not closed.
    #[error("--output has a quote that does not end")]
    Quote,
    /// No destination.
    #[error("--output type={exporter} needs dest=PATH{}", if *stream { " or dest=-" } else { "" })]
    NoDestination {
        /// The exporter.
        exporter: &'static str,
        /// Whether standard output will do.
        stream: bool,
    },
}

impl OutputError {
    /// `did you mean ...?`, when something near exists.
    pub fn hint(&self) -> Option<String> {
        let (given, known) = match self {
            Self::Type { name } => (name, names()),
            Self::Key { exporter, key } => (key, keys(exporter)),
            Self::Value { value, choices, .. } => (value, choices.to_vec()),
            _ => return None,
        };
        let near = known
            .into_iter()
            .max_by(|a, b| strsim::jaro_winkler(given, a).total_cmp(&strsim::jaro_winkler(given, b)))?;
        (strsim::jaro_winkler(given, near) > 0.7).then(|| format!("did you mean {near}?"))
    }
}

fn names() -> Vec<&'static str> {
    EXPORTERS.iter().map(|exporter| exporter.name).collect()
}

fn keys(exporter: &str) -> Vec<&'static str> {
    let found = EXPORTERS.iter().find(|known| known.name == exporter);
    found.map_or(Vec::new(), |exporter| {
        exporter.keys.iter().map(|key| key.name).collect()
    })
}

/// Why an image was not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The exporter writes one root filesystem.
    #[error("the exporter {exporter} takes one image, not {count}")]
    Single {
        /// The exporter.
        exporter: &'static str,
        /// How many there were.
        count: usize,
    },
    /// One `name` for several images.
    #[error("`name` in --output needs exactly one image")]
    Names,
    /// A name in `--output` that is none.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A directory cannot be a stream.
    #[error("the exporter {exporter} writes a directory and cannot write to standard output")]
    NoStream {
        /// The exporter.
        exporter: &'static str,
    },
    /// The destination cannot be used.
    #[error("cannot write {}", path.display())]
    Destination {
        /// The destination.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Writing failed halfway.
    #[error("writing the export failed")]
    Write(#[source] io::Error),
    /// One entry of a root filesystem could not be made.
    #[error("cannot create {path} in {}", directory.display())]
    Entry {
        /// In the image.
        path: GuestPath,
        /// The destination.
        directory: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A layer could not be packed.
    #[error("a layer could not be packed")]
    Layer(#[from] LayerError),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}
