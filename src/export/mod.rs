//! The exporters: an image to an archive, a layout, a directory, a tar.
//!
//! In: images with names, a parsed `--output`, a destination. Out: files or a stream. Effects: writes there; files come into
//! being whole, under a temporary name first. One exporter is one file here and one line in `EXPORTERS`, which feeds parsing,
//! help, the README's table and the tests.

mod archive;
mod destination;
mod docker;
mod error;
mod local;
mod oci;
mod output;
mod tar;

use std::sync::Arc;

use silt_store::Store;

pub use destination::Target;
pub use error::{ExportError, OutputError};
pub use output::Output;

use crate::images::Image;
use crate::oci::reference::Reference;

/// A way to give an image out.
#[derive(Debug)]
pub struct Exporter {
    /// As in `--output type=<name>`.
    pub name: &'static str,
    /// One line for the help and the README.
    pub summary: &'static str,
    /// The keys it takes besides `type`.
    pub keys: &'static [Key],
    /// Whether it writes a directory, never a stream.
    pub directory: bool,
    write: fn(&Job<'_>, Target<'_>) -> Result<(), ExportError>,
}

/// A key of `--output`.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it takes, for the help.
    pub value: &'static str,
    /// The values that are accepted; none means any.
    pub choices: &'static [&'static str],
}

/// Every exporter.
pub static EXPORTERS: &[&Exporter] = &[
    &docker::EXPORTER,
    &oci::EXPORTER,
    &local::EXPORTER,
    &tar::EXPORTER,
];

const DEST: Key = Key {
    name: "dest",
    value: "a path, or - for standard output",
    choices: &[],
};

const NAME: Key = Key {
    name: "name",
    value: "names in the archive, several in quotes",
    choices: &[],
};

/// An image and the names it goes by in an archive.
#[derive(Debug, Clone)]
pub struct Item {
    /// The image.
    pub image: Image,
    /// Its names; digests are left out of archives.
    pub names: Vec<Reference>,
}

struct Job<'a> {
    store: &'a Arc<dyn Store>,
    items: &'a [Item],
    output: &'a Output,
}

impl Job<'_> {
    /// The only image, for exporters of one root filesystem.
    fn single(&self) -> Result<&Item, ExportError> {
        match self.items {
            [item] => Ok(item),
            items => Err(ExportError::Single {
                exporter: self.output.exporter().name,
                count: items.len(),
            }),
        }
    }
}

/// Exports `items` as `output` says to `target`. A `name` key replaces the items' names.
///
/// # Errors
/// `Single`, `Names`, `Destination`, `Write`, `Layer`, `Store`. No file of the destination's name comes into being then, unless the
/// exporter writes a directory.
pub fn export(
    store: &Arc<dyn Store>,
    items: &[Item],
    output: &Output,
    target: Target<'_>,
) -> Result<(), ExportError> {
    let exporter = output.exporter();
    if exporter.directory && matches!(target, Target::Stream(_)) {
        return Err(ExportError::NoStream {
            exporter: exporter.name,
        });
    }
    let named;
    let items = match (output.names()?, items) {
        (Some(given), [item]) => {
            named = [Item {
                image: item.image.clone(),
                names: given,
            }];
            &named
        }
        (Some(_), _) => return Err(ExportError::Names),
        (None, items) => items,
    };
    (exporter.write)(&Job { store, items, output }, target)
}

#[cfg(test)]
mod tests;
