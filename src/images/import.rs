//! A root filesystem tar as an image of one layer.

use std::io::Read;

use super::assemble::{Assembly, assemble};
use super::error::ImageError;
use super::image::Image;
use super::store::ImageStore;
use crate::layer::{Whiteouts, decompress, unpack};
use crate::oci::config::{History, RunConfig};
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;

/// Makes the root filesystem in `input`, a tar compressed in any known way, an image called `name`, and records it.
///
/// The layer is the canonical tar of the tree, not the bytes of `input`. Importing what `name` already is changes nothing,
/// so that builds on top stay cached.
///
/// # Errors
/// `RootFilesystem` for what a tar can be, `Layer` for names that no layer can hold, `Store`.
pub fn import(
    images: &ImageStore,
    input: impl Read + Send,
    name: &Reference,
    config: RunConfig,
    platform: &Platform,
    source: &str,
) -> Result<Image, ImageError> {
    let store = images.store();
    let scratch = images.scratch()?;
    let mut plain = decompress(input)
        .map_err(|error| ImageError::RootFilesystem(crate::layer::LayerError::Read(error)))?;
    let tree = unpack(store, scratch, &mut plain, Whiteouts::Literal).map_err(ImageError::RootFilesystem)?;
    if let Some(there) = images.get(name)?
        && there.root == tree
        && there.layers.len() == 1
        && there.config.config == config
        && there.config.platform() == *platform
    {
        return Ok(there);
    }
    let created = jiff::Timestamp::now().to_string();
    let history = History {
        created: Some(created.clone()),
        comment: format!("imported from {source}"),
        ..History::default()
    };
    let assembly = Assembly {
        base: None,
        steps: vec![(scratch, tree)],
        config,
        history: vec![history],
        platform,
        author: String::new(),
        created: Some(created),
    };
    let image = assemble(store, assembly)?;
    images.put(&image, std::slice::from_ref(name))?;
    Ok(image)
}
