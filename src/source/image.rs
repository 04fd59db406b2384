//! Images by name: from the local store, otherwise from a registry.
//!
//! In: a reference, a platform, whether to ask the registry. Out: an `Image`, recorded under its name and its manifest's digest.
//! Effects: network; store; unnamed temporary files for layers that arrive before their turn. Layers are fetched side by side
//! and unpacked in order, the first while it still arrives; those that a local image has are not fetched.

mod ahead;

use std::sync::Arc;

use self::ahead::Ahead;
use crate::images::{Blobs, Image, ImageError, ImageStore, Verified, install};
use crate::oci::config::ImageConfig;
use crate::oci::digest::{Digest, ImageId};
use crate::oci::manifest::{Descriptor, ManifestError};
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::progress::{Event, Sink};
use crate::registry::{Client, Pulled, RegistryError};

/// When the registry is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Pull {
    /// When there is no local image of this name and platform.
    #[default]
    Missing,
    /// Every time; what is up to date is not fetched again.
    Always,
    /// Not at all.
    Never,
}

/// Why there is no image of a name.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It is not here, and nobody may be asked.
    #[error("no local image `{}`{}", name.familiar(), for_platform(platform.as_deref()))]
    NotLocal {
        /// The name.
        name: Reference,
        /// Set when there is one for another platform.
        platform: Option<Box<Platform>>,
    },
    /// The registry failed.
    #[error("pulling {}", name.familiar())]
    Registry {
        /// The name.
        name: Reference,
        /// Why.
        source: Box<RegistryError>,
    },
    /// What came is no good image.
    #[error("pulling {}", name.familiar())]
    Image {
        /// The name.
        name: Reference,
        /// Why.
        source: Box<ImageError>,
    },
    /// Looking it up failed.
    #[error(transparent)]
    Local(Box<ImageError>),
    /// It was given up on request.
    #[error("pulling {} was cancelled", name.familiar())]
    Cancelled {
        /// The name.
        name: Reference,
    },
}

fn for_platform(platform: Option<&Platform>) -> String {
    platform
        .map(|platform| format!(" for {platform}"))
        .unwrap_or_default()
}

impl From<ImageError> for SourceError {
    fn from(error: ImageError) -> Self {
        Self::Local(Box::new(error))
    }
}

impl SourceError {
    /// What to try next, if the error tells.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotLocal { .. } => {
                Some("`silt images` lists what there is; without --pull=never it would be pulled".into())
            }
            Self::Registry { source, .. } => source.hint(),
            Self::Image { source, .. } | Self::Local(source) => source.hint(),
            Self::Cancelled { .. } => None,
        }
    }
}

/// Finds and fetches images.
pub struct Images<'a> {
    /// Where they are kept.
    pub images: &'a ImageStore,
    /// How they are fetched.
    pub client: &'a Arc<Client>,
    /// Who is told.
    pub sink: &'a dyn Sink,
    /// Whether to give up; asked often.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl Images<'_> {
    /// The image called `name` for `platform`.
    ///
    /// # Errors
    /// `NotLocal`, `Registry`, `Image`, `Local`, `Cancelled`.
    pub fn resolve(&self, name: &Reference, platform: &Platform, pull: Pull) -> Result<Image, SourceError> {
        let mut other_platform = None;
        if pull != Pull::Always {
            match self.images.get(name)? {
                Some(image) if fits(&image, platform) => return Ok(image),
                Some(_) => other_platform = Some(Box::new(platform.clone())),
                None => {}
            }
        }
        if pull == Pull::Never {
            return Err(SourceError::NotLocal {
                name: name.clone(),
                platform: other_platform,
            });
        }
        self.pull(name, platform)
    }

    /// Fetches the image that the registry has under `name` now.
    ///
    /// # Errors
    /// `Registry`, `Image`, `Cancelled`.
    pub fn pull(&self, name: &Reference, platform: &Platform) -> Result<Image, SourceError> {
        let what = format!("pulling {}", name.familiar());
        self.report(&what, 0, None, false);
        let result = self.fetch(name, platform, &what);
        if result.is_err() && (self.cancelled)() {
            return Err(SourceError::Cancelled { name: name.clone() });
        }
        result
    }

    fn fetch(&self, name: &Reference, platform: &Platform, what: &str) -> Result<Image, SourceError> {
        let registry = |source| SourceError::Registry {
            name: name.clone(),
            source: Box::new(source),
        };
        let bad = |source| SourceError::Image {
            name: name.clone(),
            source: Box::new(source),
        };
        let pulled = self.client.pull(name, platform).map_err(registry)?;
        let id = ImageId(Digest::sha256(&pulled.config));
        let image = match self.images.by_id(&id)? {
            Some(image) => image,
            None => self.layers(name, &pulled, what).map_err(bad)?,
        };
        let mut names = vec![name.with_digest(pulled.digest)];
        if name.digest().is_none() {
            names.push(name.clone());
        }
        self.images.put(&image, &names).map_err(bad)?;
        let size = pulled.manifest.layers.iter().map(|layer| layer.size).sum();
        self.report(what, size, Some(size), true);
        Ok(image)
    }

    fn layers(&self, name: &Reference, pulled: &Pulled, what: &str) -> Result<Image, ImageError> {
        let layers = &pulled.manifest.layers;
        let diff_ids = ImageConfig::from_slice(&pulled.config)?.diff_ids()?;
        if diff_ids.len() != layers.len() {
            return Err(ImageError::LayerCount {
                diff_ids: diff_ids.len(),
                layers: layers.len(),
            });
        }
        layers.iter().try_for_each(check_type)?;
        let here = self.images.common_layers(&diff_ids)?.len();
        let ahead = Ahead::new(self.client, name, &layers[here..])?;
        let total: u64 = layers[here..].iter().map(|layer| layer.size).sum();
        let report = |received| self.report(what, received, Some(total), false);
        std::thread::scope(|scope| {
            ahead.start(scope, &report, self.cancelled);
            let mut blobs = Fetched {
                ahead: &ahead,
                layers,
                here,
            };
            let image = install(self.images, pulled.config.clone(), &mut blobs);
            // Whatever is still on its way is not needed any more.
            ahead.stop();
            image
        })
    }

    fn report(&self, what: &str, done: u64, total: Option<u64>, finished: bool) {
        self.sink.event(Event::Work {
            what: what.into(),
            done,
            total,
            unit: "bytes".into(),
            finished,
        });
    }
}

/// Whether an image runs on a platform; a variant that either leaves open fits.
fn fits(image: &Image, wanted: &Platform) -> bool {
    let found = image.config.platform();
    found.os == wanted.os
        && found.architecture == wanted.architecture
        && (found.variant == wanted.variant || found.variant.is_empty() || wanted.variant.is_empty())
}

fn check_type(layer: &Descriptor) -> Result<(), ImageError> {
    let media_type = &layer.media_type;
    let known = [
        "application/vnd.oci.image.layer.",
        "application/vnd.docker.image.rootfs.",
    ];
    if known.iter().any(|prefix| media_type.starts_with(prefix)) && !media_type.ends_with("encrypted") {
        return Ok(());
    }
    Err(ManifestError::NoLayer {
        digest: layer.digest.clone(),
        media_type: media_type.clone(),
    }
    .into())
}

struct Fetched<'a> {
    ahead: &'a Ahead,
    layers: &'a [Descriptor],
    here: usize,
}

impl Blobs for Fetched<'_> {
    fn open(&mut self, index: usize) -> Result<Box<dyn std::io::Read + Send + '_>, ImageError> {
        let layer = &self.layers[index];
        let reader = self.ahead.reader(index.saturating_sub(self.here));
        Ok(Box::new(Verified::new(reader, &layer.digest, layer.size)))
    }
}
