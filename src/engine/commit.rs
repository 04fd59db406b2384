//! `commit`: a container's filesystem becomes an image on top of the one it was made from.

use silt_store::TreeRef;

use crate::engine::Engine;
use crate::engine::build::parse_name;
use crate::engine::changes;
use crate::engine::container::{ContainerRecord, now};
use crate::engine::error::EngineError;
use crate::engine::outcome::{BuiltImage, Outcome};
use crate::engine::request::CommitRequest;
use crate::images::{Assembly, Image, assemble};
use crate::oci::config::{History, RunConfig};
use crate::oci::digest::ImageId;
use crate::oci::platform::Platform;

impl Engine {
    /// Makes an image of a container, running or not.
    pub(super) fn commit(&self, request: &CommitRequest) -> Result<Outcome, EngineError> {
        let name = request.name.as_deref().map(parse_name).transpose()?;
        let container = self.containers.find(&request.container)?;
        let record = container.record();
        let base = self.image_of(&record)?;
        let config = changes::apply(image_config(&record, base.as_ref()), &request.changes)?;
        let _lease = self.rocks.lease();
        let image = self.assemble_commit(
            request,
            &record,
            base.as_ref(),
            config,
            (container.base(), container.filesystem(&self.store)?),
        )?;
        self.images.put(&image, name.as_slice())?;
        Ok(Outcome::Built(BuiltImage {
            id: image.id.to_string(),
            names: name
                .iter()
                .map(crate::oci::reference::Reference::familiar)
                .collect(),
        }))
    }

    fn assemble_commit(
        &self,
        request: &CommitRequest,
        record: &ContainerRecord,
        base: Option<&Image>,
        config: RunConfig,
        (lower, upper): (TreeRef, TreeRef),
    ) -> Result<Image, EngineError> {
        let created = now();
        // Made from a step or a container's filesystem, it has no image below it: one layer holds everything.
        let lower = if base.is_some() {
            lower
        } else {
            self.images.scratch()?
        };
        let history = History {
            created: Some(created.clone()),
            created_by: record.argv.join(" "),
            author: request.author.clone().unwrap_or_default(),
            comment: request.message.clone().unwrap_or_default(),
            empty_layer: false,
        };
        let host = Platform::host();
        let platform = base.map(|base| base.config.platform());
        let assembly = Assembly {
            base,
            steps: vec![(lower, upper)],
            config,
            history: vec![history],
            platform: platform.as_ref().unwrap_or(&host),
            author: request.author.clone().unwrap_or_default(),
            created: Some(created),
        };
        Ok(assemble(&self.store, assembly)?)
    }

    /// The image that a container was made from, if it is still here.
    fn image_of(&self, record: &ContainerRecord) -> Result<Option<Image>, EngineError> {
        let id: Option<ImageId> = record.image_id.as_ref().and_then(|id| id.parse().ok());
        match id {
            Some(id) => Ok(self.images.by_id(&id)?),
            None => Ok(None),
        }
    }
}

/// The container's config, without what only a container has: the default PATH stays, volumes of the command line go.
fn image_config(record: &ContainerRecord, base: Option<&Image>) -> RunConfig {
    let volumes = base
        .map(|base| base.config.config.volumes.clone())
        .unwrap_or_default();
    RunConfig {
        volumes,
        ..record.config.clone()
    }
}
