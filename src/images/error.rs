//! What can be wrong with an image.

use std::io;
use std::path::PathBuf;

use silt_store::StoreError;

use crate::layer::LayerError;
use crate::oci::config::ConfigError;
use crate::oci::digest::{Digest, ImageId};
use crate::oci::manifest::ManifestError;
use crate::oci::platform::Platform;
use crate::oci::reference::ReferenceError;

/// Why an image was not found, read, made or removed. Nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No image has this name or id.
    #[error("no image `{name}`")]
    NotFound {
        /// As given.
        name: String,
    },
    /// Several images have ids that begin so.
    #[error("`{prefix}` begins the ids of {count} images")]
    Ambiguous {
        /// As given.
        prefix: String,
        /// How many.
        count: usize,
    },
    /// Removing by id what has several names.
    #[error("image {} has several names: {}", id.0.short(), names.join(", "))]
    SeveralNames {
        /// The image.
        id: ImageId,
        /// Its names.
        names: Vec<String>,
    },
    /// A malformed name.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A malformed config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A malformed manifest or index.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// One of the layers failed.
    #[error("layer {number} of {count}")]
    Layer {
        /// Counted from 1.
        number: usize,
        /// Of how many.
        count: usize,
        /// What failed.
        source: LayerError,
    },
    /// The root filesystem tar failed.
    #[error("the root filesystem")]
    RootFilesystem(#[source] LayerError),
    /// Config and manifest contradict each other.
    #[error("the config has {diff_ids} layers, the manifest {layers}")]
    LayerCount {
        /// In the config.
        diff_ids: usize,
        /// In the manifest.
        layers: usize,
    },
    /// The history does not fit the layers: an error of ours.
    #[error("the history has {history} entries with layers, the image {layers} layers")]
    History {
        /// Entries without `empty_layer`.
        history: usize,
        /// Layers.
        layers: usize,
    },
    /// Neither a docker archive nor an OCI one.
    #[error("this is no image archive: it has neither manifest.json nor index.json")]
    NoArchive {
        /// Whether it looks like a root filesystem, for which `silt import` is right.
        root_filesystem: bool,
    },
    /// A member that an archive's manifest names is not there.
    #[error("the image archive has no `{name}`")]
    NoMember {
        /// The member.
        name: String,
    },
    /// A member that should be a short document is long.
    #[error("`{name}` in the image archive has {size} bytes, too many for a document")]
    TooLong {
        /// The member.
        name: String,
        /// Its size.
        size: u64,
    },
    /// A document that is not what its digest says.
    #[error("document content is {actual}, expected {expected}")]
    WrongDigest {
        /// By the descriptor.
        expected: Digest,
        /// By the bytes.
        actual: Digest,
    },
    /// The image has no manifest for the platform.
    #[error("the image is not available for {platform}; it has {}", list(available))]
    Platform {
        /// Asked for.
        platform: Platform,
        /// What there is.
        available: Vec<String>,
    },
    /// Reading the archive failed.
    #[error("reading {} failed", path.display())]
    Read {
        /// What was read.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A record in the store is malformed.
    #[error("the record of image {id} is malformed")]
    Record {
        /// Its key.
        id: String,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

fn list(available: &[String]) -> String {
    if available.is_empty() {
        "no platforms".into()
    } else {
        available.join(", ")
    }
}

impl ImageError {
    /// What to try next, if the error tells.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => {
                Some("`silt images` lists what there is; `silt pull` fetches from a registry".into())
            }
            Self::Ambiguous { .. } => Some("give more digits of the id".into()),
            Self::SeveralNames { .. } => Some("remove the names one by one, or use --force".into()),
            Self::NoArchive {
                root_filesystem: true,
            } => Some("it looks like a root filesystem: use `silt import` for that".into()),
            _ => None,
        }
    }
}
