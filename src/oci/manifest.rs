//! Descriptors, manifests, indexes, the layout file, and their media types, Docker's among them.
//!
//! In: JSON bytes. Out: values, and canonical bytes back (compact JSON, field order fixed by this file, since manifests are
//! digested). No effects. Spec: image-spec, "Content Descriptors", "Image Manifest", "Image Index", "Image Layout".
//! Own types rather than `oci-spec`'s: these cover Docker's schema 2 with the same structs and fix the bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::platform::Platform;

/// The media types this program reads or writes.
pub mod media {
    /// OCI manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI config.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, uncompressed.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

    /// Whether `media_type` names an index of manifests.
    pub fn is_index(media_type: &str) -> bool {
        matches!(media_type, INDEX | DOCKER_LIST)
    }

    /// Whether `media_type` names an image manifest.
    pub fn is_manifest(media_type: &str) -> bool {
        matches!(media_type, MANIFEST | DOCKER_MANIFEST)
    }
}

/// A document that is no manifest or index of an image.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// No JSON, or not of the schema.
    #[error("the manifest is malformed")]
    Json(#[source] serde_json::Error),
    /// Docker's schema 1, or an artifact.
    #[error("manifests of type `{media_type}` are not supported")]
    Unsupported {
        /// The type it says it has.
        media_type: String,
    },
    /// A layer that is no tar.
    #[error("layer {digest} has type `{media_type}`, which is no layer of a root filesystem")]
    NoLayer {
        /// The layer.
        digest: Digest,
        /// Its type.
        media_type: String,
    },
}

/// Names a blob: its type, digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// For manifests in an index.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub platform: Option<Platform>,
    /// Free pairs.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        default,
        deserialize_with = "super::or_default"
    )]
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Describes `bytes`.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
    }

    /// A descriptor without platform and annotations.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
        }
    }
}

/// An image for one platform: a config and layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// `media::MANIFEST` or `media::DOCKER_MANIFEST`; may be missing in OCI documents.
    #[serde(default)]
    pub media_type: String,
    /// The config.
    pub config: Descriptor,
    /// The layers.
    pub layers: Vec<Descriptor>,
    /// Free pairs.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        default,
        deserialize_with = "super::or_default"
    )]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// An OCI manifest.
    pub fn oci(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: media::MANIFEST.into(),
            config,
            layers,
            annotations: BTreeMap::new(),
        }
    }
}

/// Manifests by platform, or by name in a layout's `index.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// `media::INDEX` or `media::DOCKER_LIST`; may be missing in OCI documents.
    #[serde(default)]
    pub media_type: String,
    /// The manifests.
    #[serde(deserialize_with = "super::or_default")]
    pub manifests: Vec<Descriptor>,
    /// Free pairs.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        default,
        deserialize_with = "super::or_default"
    )]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// An OCI index.
    pub fn oci(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: media::INDEX.into(),
            manifests,
            annotations: BTreeMap::new(),
        }
    }

    /// Parses an index.
    ///
    /// # Errors
    /// `Json`.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, ManifestError> {
        serde_json::from_slice(bytes).map_err(ManifestError::Json)
    }

    /// The manifest for `wanted`: same system, architecture and variant, otherwise the first of the same system and
    /// architecture. Attestations (`unknown/unknown`) never match.
    pub fn choose(&self, wanted: &Platform) -> Option<&Descriptor> {
        let near = |found: &&Descriptor| {
            found
                .platform
                .as_ref()
                .is_some_and(|p| p.os == wanted.os && p.architecture == wanted.architecture)
        };
        let exact = |found: &&Descriptor| {
            found.platform.as_ref().is_some_and(|p| {
                p.variant == wanted.variant
                    || (p.architecture == "arm64" && p.variant == "v8" && wanted.variant.is_empty())
            })
        };
        let candidates = || self.manifests.iter().filter(near);
        candidates().find(exact).or_else(|| candidates().next())
    }
}

/// A manifest or an index, told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several.
    Index(Index),
}

impl Document {
    /// Parses `bytes`; `content_type` is what the transport said, used when the document does not say it itself.
    ///
    /// # Errors
    /// `Json`, `Unsupported`.
    pub fn from_slice(bytes: &[u8], content_type: Option<&str>) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Probe {
            #[serde(default)]
            schema_version: u32,
            #[serde(default)]
            media_type: String,
            manifests: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
        }
        let probe: Probe = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
        let said = if probe.media_type.is_empty() {
            content_type.unwrap_or_default()
        } else {
            &probe.media_type
        };
        let unsupported = |media_type: String| Err(ManifestError::Unsupported { media_type });
        if probe.schema_version != 2 {
            return unsupported(format!("schema version {}", probe.schema_version));
        }
        if media::is_index(said) || (!media::is_manifest(said) && probe.manifests.is_some()) {
            Index::from_slice(bytes).map(Self::Index)
        } else if media::is_manifest(said) || probe.layers.is_some() {
            serde_json::from_slice(bytes)
                .map(Self::Manifest)
                .map_err(ManifestError::Json)
        } else {
            unsupported(said.into())
        }
    }
}

/// A layer's media type as this program writes it, and how its bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum Compression {
    /// A bare tar.
    None,
    /// gzip, of several members.
    #[default]
    Gzip,
    /// zstd, of several frames.
    Zstd,
}

impl Compression {
    /// Every form, in the order messages list them.
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Zstd, Self::None];

    /// The name options use.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The OCI media type of a layer in this form.
    pub fn layer_type(self) -> &'static str {
        match self {
            Self::None => media::LAYER,
            Self::Gzip => media::LAYER_GZIP,
            Self::Zstd => media::LAYER_ZSTD,
        }
    }
}

/// Bytes of a document as they are written and digested: compact JSON.
///
/// # Panics
/// Never: the types here have string keys and no failing serialisers.
pub fn to_bytes<T: Serialize>(document: &T) -> Vec<u8> {
    #[expect(clippy::unwrap_used, reason = "structs with string keys always serialise")]
    serde_json::to_vec(document).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(os: &str, architecture: &str, variant: &str) -> Platform {
        Platform {
            os: os.into(),
            architecture: architecture.into(),
            variant: variant.into(),
        }
    }

    fn described(platform: Platform, byte: u8) -> Descriptor {
        Descriptor {
            platform: Some(platform),
            ..Descriptor::of(media::MANIFEST, &[byte])
        }
    }

    #[test]
    fn an_index_answers_for_a_platform() {
        let index = Index::oci(vec![
            described(platform("unknown", "unknown", ""), 0),
            described(platform("linux", "arm", "v5"), 1),
            described(platform("linux", "arm", "v7"), 2),
            described(platform("linux", "arm64", "v8"), 3),
            described(platform("linux", "amd64", ""), 4),
        ]);
        let chosen = |wanted| index.choose(&wanted).map(|found| found.digest.clone());
        assert_eq!(chosen(platform("linux", "amd64", "")), Some(Digest::sha256(&[4])));
        assert_eq!(chosen(platform("linux", "arm64", "")), Some(Digest::sha256(&[3])));
        assert_eq!(chosen(platform("linux", "arm", "v7")), Some(Digest::sha256(&[2])));
        assert_eq!(chosen(platform("linux", "arm", "v6")), Some(Digest::sha256(&[1])));
        assert_eq!(chosen(platform("linux", "s390x", "")), None);
    }

    #[test]
    fn documents_are_told_apart() {
        let config = Descriptor::of(media::CONFIG, b"{}");
        let manifest = Manifest::oci(config, vec![]);
        let bytes = to_bytes(&manifest);
        assert_eq!(
            Document::from_slice(&bytes, None).unwrap(),
            Document::Manifest(manifest)
        );
        let index = Index::oci(vec![]);
        assert_eq!(
            Document::from_slice(&to_bytes(&index), None).unwrap(),
            Document::Index(index)
        );
        let untyped = br#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(matches!(
            Document::from_slice(untyped, None),
            Ok(Document::Index(_))
        ));
        let old = br#"{"schemaVersion":1,"name":"x"}"#;
        assert!(matches!(
            Document::from_slice(old, None),
            Err(ManifestError::Unsupported { .. })
        ));
        assert!(matches!(
            Document::from_slice(b"<html>", None),
            Err(ManifestError::Json(_))
        ));
    }
}
