//! What names a filesystem: an image, a step of one, a failed step, a container.
//!
//! | address       | means                                                                          |
//! |---------------|--------------------------------------------------------------------------------|
//! | `NAME`        | an image by name or id, otherwise a container by name or id                     |
//! | `NAME@3`      | what an image's third layer left (`silt history NAME` numbers them)             |
//! | `NAME@failed` | what the failed step of the newest build of `NAME` left                         |
//! | `@failed`     | the same of the newest failed build                                             |

use silt_store::TreeRef;

use crate::engine::Engine;
use crate::engine::call::Call;
use crate::engine::error::EngineError;
use crate::engine::kept;
use crate::engine::request::{PullPolicy, RunRequest};
use crate::images::{Image, ImageError};
use crate::oci::config::RunConfig;
use crate::oci::reference::Reference;

/// A filesystem and how processes in it run.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) tree: TreeRef,
    /// What it was made from: the base image of an image, the step before a step.
    pub(crate) below: TreeRef,
    pub(crate) config: RunConfig,
    /// As the user named it.
    pub(crate) name: String,
    /// If it is a whole image.
    pub(crate) image_id: Option<String>,
}

impl Engine {
    /// What `text` names.
    pub(super) fn origin(&self, text: &str) -> Result<Origin, EngineError> {
        if let Some(name) = text.strip_suffix("@failed") {
            return self.failed_origin(text, name);
        }
        if let Some((name, step)) = text.rsplit_once('@')
            && let Ok(step) = step.parse::<usize>()
        {
            return self.step_origin(text, name, step);
        }
        match self.images.find(text) {
            Ok(image) => return self.image_origin(text, &image),
            Err(ImageError::NotFound { .. } | ImageError::Reference(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match self.containers.find(text) {
            Ok(container) => Ok(Origin {
                tree: container.filesystem(&self.store)?,
                below: container.base(),
                config: container.record().config,
                name: text.to_owned(),
                image_id: None,
            }),
            Err(EngineError::NoContainer { .. }) => Err(EngineError::NoSuch {
                text: text.to_owned(),
            }),
            Err(error) => Err(error),
        }
    }

    /// What a container is made from: as `origin`, but an image that is not here is asked of its registry.
    pub(super) fn origin_for_run(&self, request: &RunRequest, call: &Call) -> Result<Origin, EngineError> {
        let text = &request.image;
        let local = match (request.pull, self.origin(text)) {
            (PullPolicy::Always, _) | (PullPolicy::Missing, Err(EngineError::NoSuch { .. })) => None,
            (_, Ok(origin)) => Some(origin),
            (_, Err(error)) => return Err(error),
        };
        match local {
            Some(origin) => Ok(origin),
            None => self.image_origin(text, &self.pull_image(text, None, call)?),
        }
    }

    fn image_origin(&self, text: &str, image: &Image) -> Result<Origin, EngineError> {
        let own = kept::settings_of(&*self.store, &image.id.to_string())?
            .map_or(image.layers.len(), |steps| steps.len());
        let below = match image.layers.len().checked_sub(own) {
            Some(0) | None => self.images.scratch()?,
            Some(base) => image.layers[base - 1].root,
        };
        Ok(Origin {
            tree: image.root,
            below,
            config: image.config.config.clone(),
            name: text.to_owned(),
            image_id: Some(image.id.to_string()),
        })
    }

    fn step_origin(&self, text: &str, name: &str, step: usize) -> Result<Origin, EngineError> {
        let image = self.images.find(name)?;
        let Some(layer) = step.checked_sub(1).and_then(|index| image.layers.get(index)) else {
            return Err(EngineError::NoStep {
                image: name.to_owned(),
                step,
                count: image.layers.len(),
            });
        };
        let own = kept::settings_of(&*self.store, &image.id.to_string())?.unwrap_or_default();
        let setting = (step + own.len())
            .checked_sub(image.layers.len() + 1)
            .and_then(|index| own.get(index).cloned());
        let config = match setting {
            Some(setting) => setting.apply(&image.config.config),
            None => image.config.config.clone(),
        };
        Ok(Origin {
            tree: layer.root,
            below: layer.lower,
            config,
            name: text.to_owned(),
            image_id: None,
        })
    }

    fn failed_origin(&self, text: &str, name: &str) -> Result<Origin, EngineError> {
        let name = if name.is_empty() {
            String::new()
        } else {
            Reference::parse(name)?.familiar()
        };
        let Some((step, tree, below)) = kept::failed(&*self.store, &name)? else {
            return Err(EngineError::NoFailed { name });
        };
        Ok(Origin {
            tree,
            below,
            config: step.setting.apply(&RunConfig::default()),
            name: text.to_owned(),
            image_id: None,
        })
    }
}
