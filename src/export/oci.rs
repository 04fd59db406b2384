//! An OCI image layout, as a tar or as a directory.
//!
//! Spec: image-spec, "Image Layout". `index.json` names each image once for each of its names: the tag in the spec's
//! annotation, the whole name in containerd's, as `BuildKit` writes them.

use std::fs;
use std::sync::Arc;

use silt_store::Store;

use super::archive::ArchiveWriter;
use super::destination::{Target, to_file};
use super::error::ExportError;
use super::{DEST, Exporter, Item, Job, Key, NAME};
use crate::layer::packed;
use crate::oci::digest::Digest;
use crate::oci::manifest::{Compression, Descriptor, Index, Manifest, media, to_bytes};
use crate::oci::reference::Reference;

pub(super) static EXPORTER: Exporter = Exporter {
    name: "oci",
    summary: "an OCI image layout, as a tar or a directory",
    keys: &[
        DEST,
        NAME,
        Key {
            name: "compression",
            value: "of the layers: gzip (default), zstd, uncompressed",
            choices: &["gzip", "zstd", "uncompressed"],
        },
        Key {
            name: "tar",
            value: "true (default), or false for a directory",
            choices: &["true", "false"],
        },
    ],
    directory: false,
    write,
};

fn write(job: &Job<'_>, target: Target<'_>) -> Result<(), ExportError> {
    if job.output.option("tar") != Some("false") {
        return to_file(target, |out| layout(job, ArchiveWriter::tar(out)));
    }
    let Target::Path(path) = target else {
        return Err(ExportError::NoStream { exporter: "oci" });
    };
    fs::create_dir_all(&path).map_err(|source| ExportError::Destination {
        path: path.clone(),
        source,
    })?;
    layout(job, ArchiveWriter::directory(&path))
}

fn layout(job: &Job<'_>, mut archive: ArchiveWriter<'_>) -> Result<(), ExportError> {
    archive.bytes("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let mut manifests = Vec::new();
    for item in job.items {
        let manifest = image(job.store, item, job.output.compression(), &mut archive)?;
        let tagged: Vec<&Reference> = item.names.iter().filter(|name| name.tag().is_some()).collect();
        if tagged.is_empty() {
            manifests.push(manifest);
        } else {
            manifests.extend(tagged.into_iter().map(|name| named(&manifest, name)));
        }
    }
    archive.bytes("index.json", &to_bytes(&Index::oci(manifests)))?;
    archive.finish()
}

fn image(
    store: &Arc<dyn Store>,
    item: &Item,
    compression: Compression,
    archive: &mut ArchiveWriter<'_>,
) -> Result<Descriptor, ExportError> {
    let mut layers = Vec::new();
    for layer in &item.image.layers {
        let blob = packed::blob(store, layer, compression)?;
        let descriptor = blob.descriptor.clone();
        archive.member(&blob_name(&descriptor.digest), descriptor.size, |out| {
            Ok(blob.write(store, layer, out)?)
        })?;
        layers.push(descriptor);
    }
    let config = Descriptor::of(media::CONFIG, &item.image.config_bytes);
    archive.bytes(&blob_name(&config.digest), &item.image.config_bytes)?;
    let manifest = to_bytes(&Manifest::oci(config, layers));
    let descriptor = Descriptor {
        platform: Some(item.image.config.platform()),
        ..Descriptor::of(media::MANIFEST, &manifest)
    };
    archive.bytes(&blob_name(&descriptor.digest), &manifest)?;
    Ok(descriptor)
}

fn named(manifest: &Descriptor, name: &Reference) -> Descriptor {
    let mut descriptor = manifest.clone();
    let annotations = &mut descriptor.annotations;
    annotations.insert("io.containerd.image.name".into(), name.to_string());
    let tag = name.tag().unwrap_or_default();
    annotations.insert("org.opencontainers.image.ref.name".into(), tag.into());
    descriptor
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}
