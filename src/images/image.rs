//! An image as a value, and its record: JSON with the config verbatim, layers by digest and trees.

use serde::{Deserialize, Serialize};
use silt_store::{ContentId, Record, TreeId, TreeRef};

use super::error::ImageError;
use crate::layer::Layer;
use crate::oci::config::ImageConfig;
use crate::oci::digest::{DiffId, Digest, ImageId};

/// An image whose layers are trees in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of `config_bytes`.
    pub id: ImageId,
    /// The config, parsed.
    pub config: ImageConfig,
    /// The config as it was written; nobody may write it differently, since its digest is the id.
    pub config_bytes: Vec<u8>,
    /// Lowest first. A layer's `lower` has the content of the root before, but may differ from it in times.
    pub layers: Vec<Layer>,
    /// The root filesystem: the last layer's root.
    pub root: TreeRef,
}

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    config: String,
    root: [String; 2],
    layers: Vec<StoredLayer>,
}

#[derive(Serialize, Deserialize)]
struct StoredLayer {
    diff_id: DiffId,
    size: u64,
    lower: [String; 2],
    root: [String; 2],
}

impl Image {
    /// Puts an image together; `scratch` is the root of one without layers.
    ///
    /// # Errors
    /// `Config`; `LayerCount` when layers and the config's `diff_ids` differ.
    pub fn new(config_bytes: Vec<u8>, layers: Vec<Layer>, scratch: TreeRef) -> Result<Self, ImageError> {
        let config = ImageConfig::from_slice(&config_bytes)?;
        let diff_ids = config.diff_ids()?;
        if diff_ids.len() != layers.len()
            || diff_ids
                .iter()
                .zip(&layers)
                .any(|(id, layer)| *id != layer.diff_id)
        {
            return Err(ImageError::LayerCount {
                diff_ids: diff_ids.len(),
                layers: layers.len(),
            });
        }
        Ok(Self {
            id: ImageId(Digest::sha256(&config_bytes)),
            root: layers.last().map_or(scratch, |layer| layer.root),
            config,
            config_bytes,
            layers,
        })
    }

    /// RFC 3339 time of the newest step, if the image says so.
    pub fn created(&self) -> Option<&str> {
        self.config.created.as_deref()
    }

    /// The bytes of all uncompressed layers.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }

    pub(super) fn to_record(&self) -> Record {
        let stored = Stored {
            version: VERSION,
            config: String::from_utf8_lossy(&self.config_bytes).into_owned(),
            root: ids(self.root),
            layers: self.layers.iter().map(stored_layer).collect(),
        };
        let mut roots: Vec<TreeRef> = self
            .layers
            .iter()
            .flat_map(|layer| [layer.lower, layer.root])
            .collect();
        roots.push(self.root);
        roots.sort();
        roots.dedup();
        Record {
            roots,
            contents: Vec::new(),
            value: crate::oci::manifest::to_bytes(&stored),
        }
    }

    pub(super) fn from_record(key: &[u8], record: &Record) -> Result<Self, ImageError> {
        let malformed = || ImageError::Record {
            id: String::from_utf8_lossy(key).into_owned(),
        };
        let stored: Stored = serde_json::from_slice(&record.value).map_err(|_| malformed())?;
        if stored.version != VERSION {
            return Err(malformed());
        }
        let layers = stored
            .layers
            .into_iter()
            .map(layer)
            .collect::<Option<_>>()
            .ok_or_else(malformed)?;
        let root = tree(&stored.root).ok_or_else(malformed)?;
        Self::new(stored.config.into_bytes(), layers, root)
    }
}

fn stored_layer(layer: &Layer) -> StoredLayer {
    StoredLayer {
        diff_id: layer.diff_id.clone(),
        size: layer.size,
        lower: ids(layer.lower),
        root: ids(layer.root),
    }
}

fn layer(stored: StoredLayer) -> Option<Layer> {
    Some(Layer {
        lower: tree(&stored.lower)?,
        root: tree(&stored.root)?,
        diff_id: stored.diff_id,
        size: stored.size,
    })
}

fn ids(tree: TreeRef) -> [String; 2] {
    [tree.tree.to_string(), tree.content.to_string()]
}

fn tree([tree, content]: &[String; 2]) -> Option<TreeRef> {
    Some(TreeRef {
        tree: TreeId::from_hex(tree)?,
        content: ContentId::from_hex(content)?,
    })
}
