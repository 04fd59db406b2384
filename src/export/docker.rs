//! The docker archive that `docker load`, podman and skopeo read: configs, uncompressed layers, `manifest.json`.
//!
//! Spec: moby's image spec v1.2, "Combined Image JSON + Filesystem Changeset Format". Layers are named by their digests and
//! written once, however many images have them.

use serde::Serialize;

use super::archive::ArchiveWriter;
use super::destination::{Target, to_file};
use super::error::ExportError;
use super::{DEST, Exporter, Job, NAME};
use crate::layer::packed;
use crate::oci::manifest::to_bytes;

pub(super) static EXPORTER: Exporter = Exporter {
    name: "docker",
    summary: "an archive for docker load and podman load, as docker save writes it",
    keys: &[DEST, NAME],
    directory: false,
    write,
};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

fn write(job: &Job<'_>, target: Target<'_>) -> Result<(), ExportError> {
    to_file(target, |out| {
        let mut archive = ArchiveWriter::tar(out);
        let mut manifest = Vec::new();
        for item in job.items {
            let mut layers = Vec::new();
            for layer in &item.image.layers {
                let name = format!("{}.tar", layer.diff_id.0.hex());
                archive.member(&name, layer.size, |out| {
                    Ok(packed::write_tar(job.store, layer, out)?)
                })?;
                layers.push(name);
            }
            let config = format!("{}.json", item.image.id.0.hex());
            archive.bytes(&config, &item.image.config_bytes)?;
            let tagged = item.names.iter().filter(|name| name.tag().is_some());
            manifest.push(Listed {
                config,
                repo_tags: tagged.map(crate::oci::reference::Reference::familiar).collect(),
                layers,
            });
        }
        archive.bytes("manifest.json", &to_bytes(&manifest))?;
        archive.finish()
    })
}
