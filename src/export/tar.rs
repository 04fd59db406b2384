//! The whole root filesystem as one tar, in the canonical form of layers.

use super::destination::{Target, to_file};
use super::error::ExportError;
use super::{DEST, Exporter, Job};
use crate::layer::pack;

pub(super) static EXPORTER: Exporter = Exporter {
    name: "tar",
    summary: "the root filesystem as a tar",
    keys: &[DEST],
    directory: false,
    write,
};

fn write(job: &Job<'_>, target: Target<'_>) -> Result<(), ExportError> {
    let root = job.single()?.image.root;
    let scratch = silt_store::root::scratch(job.store.as_ref())?;
    to_file(target, |out| Ok(pack(job.store, scratch, root, out)?))
}
