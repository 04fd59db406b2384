//! The documents of an image: the manifest for a platform, through an index if need be, and the config.

use std::sync::Arc;

use super::blob::BlobReader;
use super::client::{Client, Request, read_all};
use super::endpoint::Endpoint;
use super::error::RegistryError;
use crate::oci::digest::Digest;
use crate::oci::manifest::{Descriptor, Document, Manifest, ManifestError};
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;

const MAX_MANIFEST: u64 = 4 << 20;
const MAX_CONFIG: u64 = 8 << 20;
const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// What a registry says of an image.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The digest of what the reference names: an index or a manifest.
    pub digest: Digest,
    /// The manifest for the platform.
    pub manifest: Manifest,
    /// The config's bytes, verified.
    pub config: Vec<u8>,
}

impl Client {
    /// Fetches the manifest of `reference` for `platform` and its config, each verified against its digest.
    ///
    /// # Errors
    /// Each `RegistryError`.
    pub fn pull(&self, reference: &Reference, platform: &Platform) -> Result<Pulled, RegistryError> {
        let (mut document, digest) = self.document(reference, reference.identifier(), reference.digest())?;
        // An index may lead to another.
        for _ in 0..4 {
            match document {
                Document::Manifest(manifest) => {
                    let config = self.config(reference, &manifest.config)?;
                    return Ok(Pulled {
                        digest,
                        manifest,
                        config,
                    });
                }
                Document::Index(index) => {
                    let chosen = index.choose(platform).or(match &*index.manifests {
                        [only] if only.platform.is_none() => Some(only),
                        _ => None,
                    });
                    let Some(chosen) = chosen else {
                        let platforms = index.manifests.iter().filter_map(|found| found.platform.as_ref());
                        return Err(RegistryError::Platform {
                            platform: platform.clone(),
                            available: platforms.map(ToString::to_string).collect(),
                        });
                    };
                    (document, _) = self.document(reference, chosen.digest.as_str(), Some(&chosen.digest))?;
                }
            }
        }
        Err(ManifestError::Unsupported {
            media_type: "an index of indexes of indexes".into(),
        }
        .into())
    }

    /// The digest that `reference` has in the registry now.
    ///
    /// # Errors
    /// Each `RegistryError`.
    pub fn digest(&self, reference: &Reference) -> Result<Digest, RegistryError> {
        self.document(reference, reference.identifier(), reference.digest())
            .map(|(_, digest)| digest)
    }

    /// Reads the blob of one of the image's layers.
    pub fn blob(self: &Arc<Self>, reference: &Reference, layer: &Descriptor) -> BlobReader {
        BlobReader::new(self, reference, layer)
    }

    fn document(
        &self,
        reference: &Reference,
        identifier: &str,
        expected: Option<&Digest>,
    ) -> Result<(Document, Digest), RegistryError> {
        let what = format!("manifests/{identifier}");
        let (bytes, content_type) = self.whole(reference, what, MANIFEST_TYPES, MAX_MANIFEST, expected)?;
        let document = Document::from_slice(&bytes, content_type.as_deref())?;
        let digest = expected.cloned().unwrap_or_else(|| Digest::sha256(&bytes));
        Ok((document, digest))
    }

    fn config(&self, reference: &Reference, config: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        let what = format!("blobs/{}", config.digest);
        self.whole(reference, what, "*/*", MAX_CONFIG, Some(&config.digest))
            .map(|(bytes, _)| bytes)
    }

    /// A whole document and the type it came with.
    fn whole(
        &self,
        reference: &Reference,
        what: String,
        accept: &'static str,
        limit: u64,
        expected: Option<&Digest>,
    ) -> Result<(Vec<u8>, Option<String>), RegistryError> {
        let endpoint = Endpoint::of(reference.domain());
        let request = Request {
            endpoint: &endpoint,
            domain: reference.domain(),
            repository: reference.path(),
            what,
            accept,
            from: 0,
        };
        let mut response = self.get(&request)?;
        let registry = endpoint.host.clone();
        let content_type = response
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok());
        let content_type = content_type
            .and_then(|value| value.split(';').next())
            .map(|value| value.trim().to_owned());
        let bytes = read_all(response.body_mut(), limit).map_err(|source| {
            let registry = registry.clone();
            if source.kind() == std::io::ErrorKind::FileTooLarge {
                return RegistryError::TooLong { registry, limit };
            }
            // The body's reader wraps the client's own errors.
            match ureq::Error::from(source) {
                ureq::Error::Timeout(_) => RegistryError::Timeout { registry },
                other => RegistryError::Unreachable {
                    registry,
                    source: Box::new(other),
                },
            }
        })?;
        if let Some(expected) = expected
            && !expected.matches(&bytes)
        {
            let mut hasher = expected.hasher();
            hasher.update(&bytes);
            return Err(RegistryError::WrongDigest {
                registry,
                expected: expected.clone(),
                actual: hasher.finish(),
            });
        }
        Ok((bytes, content_type))
    }
}
