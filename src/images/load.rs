//! `docker save` archives, OCI archives and OCI layouts as images.
//!
//! In: an archive or a layout. Out: images with their names, recorded. Spec: image-spec, "Image Layout"; Docker's `manifest.json`.
//! An archive with both forms (Docker since 25) is read as Docker's: its names are whole.

use std::io::Read;

use serde::Deserialize;

use super::archive::Archive;
pub use super::archive::Input;
use super::error::ImageError;
use super::image::Image;
use super::install::{Blobs, Verified, install};
use super::store::ImageStore;
use crate::oci::digest::Digest;
use crate::oci::manifest::{Descriptor, Document, Index, Manifest, ManifestError, media};
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;

/// An image that was loaded, and the names it got.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The image.
    pub image: Image,
    /// Its names in the archive.
    pub names: Vec<Reference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// Loads every image of an archive; `platform` chooses where an index has several.
///
/// # Errors
/// `NoArchive`, `NoMember`, `Read`, `Manifest`, `Config`, `Layer`, `LayerCount`, `WrongDigest`, `Platform`, `Reference`, `Store`.
/// Images loaded before the one that failed are kept.
pub fn load(images: &ImageStore, input: Input, platform: &Platform) -> Result<Vec<Loaded>, ImageError> {
    let archive = Archive::open(input)?;
    if archive.has("manifest.json") {
        docker(images, &archive)
    } else if archive.has("index.json") {
        oci(images, &archive, platform)
    } else {
        Err(ImageError::NoArchive {
            root_filesystem: archive.is_root_filesystem(),
        })
    }
}

fn docker(images: &ImageStore, archive: &Archive) -> Result<Vec<Loaded>, ImageError> {
    let manifest = archive.document("manifest.json")?;
    let listed: Vec<DockerImage> = serde_json::from_slice(&manifest).map_err(ManifestError::Json)?;
    let mut loaded = Vec::new();
    for listed in listed {
        let config = archive.document(&listed.config)?;
        let names = listed.repo_tags.unwrap_or_default();
        let mut blobs = DockerBlobs {
            archive,
            layers: listed.layers.unwrap_or_default(),
        };
        check_count(&config, blobs.layers.len())?;
        let image = install(images, config, &mut blobs)?;
        loaded.push(record(images, image, &names)?);
    }
    Ok(loaded)
}

fn oci(images: &ImageStore, archive: &Archive, platform: &Platform) -> Result<Vec<Loaded>, ImageError> {
    let index = Index::from_slice(&archive.document("index.json")?)?;
    let mut manifests: Vec<(Descriptor, Vec<String>)> = Vec::new();
    for descriptor in index.manifests {
        let name = name(&descriptor);
        match manifests
            .iter_mut()
            .find(|(known, _)| known.digest == descriptor.digest)
        {
            Some((_, names)) => names.extend(name),
            None => manifests.push((descriptor, name.into_iter().collect())),
        }
    }
    let mut loaded = Vec::new();
    for (descriptor, names) in manifests {
        // "An encountered mediaType that is unknown MUST NOT generate an error."
        if !media::is_index(&descriptor.media_type) && !media::is_manifest(&descriptor.media_type) {
            continue;
        }
        let manifest = manifest(archive, &descriptor, platform)?;
        let config = document(archive, &manifest.config)?;
        check_count(&config, manifest.layers.len())?;
        let mut blobs = OciBlobs {
            archive,
            layers: manifest.layers,
        };
        let image = install(images, config, &mut blobs)?;
        loaded.push(record(images, image, &names)?);
    }
    Ok(loaded)
}

/// The name a layout's index gives a manifest: containerd's annotation has it whole, the spec's often is a mere tag, which
/// names nothing by itself.
fn name(descriptor: &Descriptor) -> Option<String> {
    let annotation = |key: &str| descriptor.annotations.get(key).cloned();
    annotation("io.containerd.image.name")
        .or_else(|| annotation("org.opencontainers.image.ref.name").filter(|name| name.contains([':', '/'])))
}

/// Follows indexes to the manifest for `platform`.
fn manifest(archive: &Archive, descriptor: &Descriptor, platform: &Platform) -> Result<Manifest, ImageError> {
    let mut descriptor = descriptor.clone();
    // Indexes in indexes are legal, endless ones are not.
    for _ in 0..4 {
        let bytes = document(archive, &descriptor)?;
        match Document::from_slice(&bytes, Some(&descriptor.media_type))? {
            Document::Manifest(manifest) => return Ok(manifest),
            Document::Index(index) => descriptor = choose(&index, platform)?.clone(),
        }
    }
    Err(ManifestError::Unsupported {
        media_type: descriptor.media_type,
    }
    .into())
}

/// The manifest of an index for `platform`; an index of one without platforms means that one.
///
/// # Errors
/// `Platform`.
pub(crate) fn choose<'i>(index: &'i Index, platform: &Platform) -> Result<&'i Descriptor, ImageError> {
    if let [only] = &*index.manifests
        && only.platform.is_none()
    {
        return Ok(only);
    }
    index.choose(platform).ok_or_else(|| ImageError::Platform {
        platform: platform.clone(),
        available: index
            .manifests
            .iter()
            .filter_map(|found| found.platform.as_ref())
            .map(ToString::to_string)
            .collect(),
    })
}

fn document(archive: &Archive, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
    let bytes = archive.document(&blob_name(&descriptor.digest))?;
    if descriptor.digest.matches(&bytes) {
        return Ok(bytes);
    }
    let mut hasher = descriptor.digest.hasher();
    hasher.update(&bytes);
    Err(ImageError::WrongDigest {
        expected: descriptor.digest.clone(),
        actual: hasher.finish(),
    })
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// Config and manifest must agree before anything is unpacked.
pub(crate) fn check_count(config: &[u8], layers: usize) -> Result<(), ImageError> {
    let diff_ids = crate::oci::config::ImageConfig::from_slice(config)?
        .diff_ids()?
        .len();
    if diff_ids == layers {
        Ok(())
    } else {
        Err(ImageError::LayerCount { diff_ids, layers })
    }
}

fn record(images: &ImageStore, image: Image, names: &[String]) -> Result<Loaded, ImageError> {
    let names: Vec<Reference> = names
        .iter()
        .map(|name| Reference::parse(name))
        .collect::<Result<_, _>>()?;
    images.put(&image, &names)?;
    Ok(Loaded { image, names })
}

struct DockerBlobs<'a> {
    archive: &'a Archive,
    layers: Vec<String>,
}

impl Blobs for DockerBlobs<'_> {
    fn open(&mut self, index: usize) -> Result<Box<dyn Read + Send + '_>, ImageError> {
        // `check_count` saw to it that there are as many as diff_ids.
        Ok(self.archive.member(&self.layers[index])?.0)
    }
}

struct OciBlobs<'a> {
    archive: &'a Archive,
    layers: Vec<Descriptor>,
}

impl Blobs for OciBlobs<'_> {
    fn open(&mut self, index: usize) -> Result<Box<dyn Read + Send + '_>, ImageError> {
        let descriptor = &self.layers[index];
        let (blob, _) = self.archive.member(&blob_name(&descriptor.digest))?;
        Ok(Box::new(Verified::new(blob, &descriptor.digest, descriptor.size)))
    }
}
