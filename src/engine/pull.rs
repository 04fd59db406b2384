//! `pull`, and the images that builds and containers stand on: from the store, otherwise from a registry.

use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::build::{cancelled_by_caller, platform};
use crate::engine::call::Call;
use crate::engine::error::EngineError;
use crate::engine::outcome::{BuiltImage, Outcome};
use crate::images::Image;
use crate::oci::reference::Reference;
use crate::plan::ImageOp;
use crate::progress::Sink;
use crate::registry::{Client, Credentials};
use crate::solve::Cancel;
use crate::source::image::{Images, Pull};

impl Engine {
    /// Gets an image from its registry, also when it is here.
    pub(super) fn pull(
        &self,
        name: &str,
        platform: Option<&str>,
        call: &Call,
    ) -> Result<Outcome, EngineError> {
        let image = self.pull_image(name, platform, call)?;
        Ok(Outcome::Built(BuiltImage {
            id: image.id.to_string(),
            names: vec![Reference::parse(name)?.familiar()],
        }))
    }

    /// The same, for the rest of the engine.
    pub(super) fn pull_image(
        &self,
        name: &str,
        wanted: Option<&str>,
        call: &Call,
    ) -> Result<Image, EngineError> {
        let name = Reference::parse(name)?;
        let wanted = platform(wanted)?;
        let cancel = Cancel::new();
        let sink = call.sink();
        let _lease = self.rocks.lease();
        cancelled_by_caller(call, &cancel, || {
            self.with_registry(&sink, &cancel, |images| Ok(images.pull(&name, &wanted)?))
        })
    }

    /// The base image of a build.
    pub(super) fn base_image(
        &self,
        op: &ImageOp,
        always: bool,
        sink: &Arc<dyn Sink>,
        cancel: &Cancel,
    ) -> Result<Image, EngineError> {
        let name = Reference::parse(&op.reference)?;
        let pull = if always { Pull::Always } else { Pull::Missing };
        self.with_registry(sink, cancel, |images| {
            Ok(images.resolve(&name, &op.platform, pull)?)
        })
    }

    /// Credentials are read anew each time: a login in the meantime counts.
    fn with_registry<T>(
        &self,
        sink: &Arc<dyn Sink>,
        cancel: &Cancel,
        work: impl FnOnce(&Images<'_>) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let client = Arc::new(Client::new(Credentials::of_user()?));
        work(&Images {
            images: &self.images,
            client: &client,
            sink: &**sink,
            cancelled: &|| cancel.is_cancelled(),
        })
    }
}
