//! A build's result as an image.
//!
//! In: the base, the pairs of trees its steps led through, the config. Out: an `Image`, not yet recorded. Effects: layer
//! records. Each step with a layer gives exactly one, empty or not, as `BuildKit` and Docker do, so that history and layers
//! stay one to one. Pairs are packed and digested on several threads, and only if they never were before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::channel;
use silt_store::{Store, TreeRef, root};

use super::error::ImageError;
use super::image::Image;
use crate::layer::{Layer, packed};
use crate::oci::config::{History, ImageConfig, RootFs, RunConfig};
use crate::oci::manifest::to_bytes;
use crate::oci::platform::Platform;

/// What an image is made of.
#[derive(Debug)]
pub struct Assembly<'a> {
    /// The image below; its layers and history come first. `None` from scratch.
    pub base: Option<&'a Image>,
    /// The trees before and after each step that makes a layer, lowest first.
    pub steps: Vec<(TreeRef, TreeRef)>,
    /// What containers run with.
    pub config: RunConfig,
    /// History after the base's; entries without `empty_layer` match `steps` one to one.
    pub history: Vec<History>,
    /// The platform of the result.
    pub platform: &'a Platform,
    /// From MAINTAINER.
    pub author: String,
    /// RFC 3339; `None` takes it from the last history entry that has one.
    pub created: Option<String>,
}

/// Makes the image.
///
/// # Errors
/// `History` when it does not match the steps; `Layer`, `Store`.
pub fn assemble(store: &Arc<dyn Store>, assembly: Assembly<'_>) -> Result<Image, ImageError> {
    let with_layer = assembly.history.iter().filter(|entry| !entry.empty_layer).count();
    if with_layer != assembly.steps.len() {
        return Err(ImageError::History {
            history: with_layer,
            layers: assembly.steps.len(),
        });
    }
    let mut layers = assembly.base.map_or(Vec::new(), |base| base.layers.clone());
    let below = layers.len();
    layers.extend(describe_all(store, &assembly.steps, below)?);
    let mut history = assembly.base.map_or(Vec::new(), base_history);
    history.extend(assembly.history);
    let created = assembly
        .created
        .or_else(|| history.iter().rev().find_map(|entry| entry.created.clone()));
    let config = ImageConfig {
        created,
        author: assembly.author,
        architecture: assembly.platform.architecture.clone(),
        os: assembly.platform.os.clone(),
        variant: assembly.platform.variant.clone(),
        config: assembly.config,
        rootfs: RootFs {
            kind: "layers".into(),
            diff_ids: layers.iter().map(|layer| layer.diff_id.to_string()).collect(),
        },
        history,
    };
    let root = match assembly.base {
        Some(base) => base.root,
        None => root::scratch(store.as_ref())?,
    };
    Image::new(to_bytes(&config), layers, root)
}

/// The base's history, made to fit its layers: foreign images may have too little of it or too much.
fn base_history(base: &Image) -> Vec<History> {
    let mut history = base.config.history.clone();
    let mut layers = history.iter().filter(|entry| !entry.empty_layer).count();
    while layers < base.layers.len() {
        history.push(History {
            comment: "a layer of the base image, which has no history for it".into(),
            ..History::default()
        });
        layers += 1;
    }
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer) {
        if layers == base.layers.len() {
            break;
        }
        entry.empty_layer = true;
        layers -= 1;
    }
    history
}

fn describe_all(
    store: &Arc<dyn Store>,
    steps: &[(TreeRef, TreeRef)],
    below: usize,
) -> Result<Vec<Layer>, ImageError> {
    let threads = std::thread::available_parallelism()
        .map_or(2, std::num::NonZero::get)
        .min(steps.len());
    let next = AtomicUsize::new(0);
    let (sender, described) = channel::unbounded();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (next, sender) = (&next, sender.clone());
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((lower, upper)) = steps.get(index) else {
                        break;
                    };
                    // The receiver lives as long as the scope.
                    drop(sender.send((index, packed::describe(store, *lower, *upper))));
                }
            });
        }
    });
    drop(sender);
    let mut layers: Vec<_> = described.into_iter().collect();
    layers.sort_by_key(|(index, _)| *index);
    let count = below + steps.len();
    layers
        .into_iter()
        .map(|(index, layer)| {
            layer.map_err(|source| ImageError::Layer {
                number: below + index + 1,
                count,
                source,
            })
        })
        .collect()
}
