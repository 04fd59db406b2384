//! The image store's requests: listed, told apart, named, removed.

use serde_json::{Value, json};

use crate::engine::Engine;
use crate::engine::build::parse_name;
use crate::engine::container::{ContainerRecord, ContainerState};
use crate::engine::error::EngineError;
use crate::engine::outcome::{HistoryLine, ImageSummary, Outcome, Removed};
use crate::images::{Image, ImageError, Listed};
use crate::oci::reference::Reference;

impl Engine {
    /// A line for each name, and one for each image without names; newest first.
    pub(super) fn list_images(&self, filter: Option<&str>) -> Result<Outcome, EngineError> {
        let mut lines = Vec::new();
        for listed in self.images.list()? {
            let summary = summary(&listed.image);
            if listed.names.is_empty() && filter.is_none() {
                lines.push(summary.clone());
            }
            for name in listed.names.iter().filter(|name| matches(name, filter)) {
                lines.push(ImageSummary {
                    repository: Some(name.familiar_repository()),
                    tag: name.tag().map(str::to_owned),
                    ..summary.clone()
                });
            }
        }
        Ok(Outcome::Images(lines))
    }

    /// An image's steps, newest first.
    pub(super) fn history(&self, name: &str) -> Result<Outcome, EngineError> {
        let image = self.images.find(name)?;
        let mut layers = image.layers.iter().enumerate();
        let mut lines: Vec<_> = image
            .config
            .history
            .iter()
            .map(|entry| {
                let layer = if entry.empty_layer { None } else { layers.next() };
                HistoryLine {
                    step: layer.map(|(index, _)| index + 1),
                    created: entry.created.clone(),
                    created_by: entry.created_by.clone(),
                    size: layer.map_or(0, |(_, layer)| layer.size),
                    comment: entry.comment.clone(),
                }
            })
            .collect();
        // Foreign images may have layers that no history tells of.
        lines.extend(layers.map(|(index, layer)| HistoryLine {
            step: Some(index + 1),
            created: None,
            created_by: String::new(),
            size: layer.size,
            comment: "a layer without history".to_owned(),
        }));
        lines.reverse();
        Ok(Outcome::History(lines))
    }

    /// Docker's inspect objects, in the order of the names.
    pub(super) fn inspect(&self, names: &[String]) -> Result<Outcome, EngineError> {
        let listed = self.images.list()?;
        let inspected: Result<Vec<_>, EngineError> =
            names.iter().map(|name| self.inspect_one(name, &listed)).collect();
        Ok(Outcome::Inspected(inspected?))
    }

    fn inspect_one(&self, name: &str, listed: &[Listed]) -> Result<Value, EngineError> {
        match self.containers.find(name) {
            Ok(container) => {
                return Ok(inspect_container(
                    &container.record(),
                    container.running().ok().map(|running| running.pid()),
                ));
            }
            Err(EngineError::NoContainer { .. }) => {}
            Err(error) => return Err(error),
        }
        match self.images.find(name) {
            Ok(image) => Ok(inspect_image(
                &image,
                listed.iter().find(|listed| listed.image.id == image.id),
            )),
            Err(ImageError::NotFound { .. }) => Err(EngineError::NoSuch {
                text: name.to_owned(),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives an image another name.
    pub(super) fn tag(&self, image: &str, name: &str) -> Result<Outcome, EngineError> {
        self.images.tag(image, &parse_name(name)?)?;
        Ok(Outcome::Done)
    }

    /// Removes names, and images that lose their last one.
    pub(super) fn remove_images(&self, names: &[String], force: bool) -> Result<Outcome, EngineError> {
        let mut removed = Vec::new();
        for name in names {
            let image = self.images.find(name)?;
            if !force {
                self.refuse_if_used(name, &image)?;
            }
            let done = self.images.remove(name, force)?;
            removed.extend(
                done.untagged
                    .iter()
                    .map(|name| Removed::Untagged(name.familiar())),
            );
            removed.extend(done.deleted.map(|id| Removed::Deleted(id.to_string())));
        }
        Ok(Outcome::Removed(removed))
    }

    /// An image whose last name is about to go stays while containers were made from it.
    fn refuse_if_used(&self, name: &str, image: &Image) -> Result<(), EngineError> {
        if self.images.names_of(&image.id)?.len() > 1 {
            return Ok(());
        }
        let id = image.id.to_string();
        let user = self
            .containers
            .list()
            .into_iter()
            .map(|container| container.record())
            .find(|record| record.image_id.as_ref() == Some(&id));
        match user {
            Some(record) => Err(EngineError::ImageInUse {
                image: name.to_owned(),
                container: record.name,
            }),
            None => Ok(()),
        }
    }
}

fn matches(name: &Reference, filter: Option<&str>) -> bool {
    filter.is_none_or(|filter| {
        name.familiar_repository() == filter || name.familiar() == filter || name.to_string() == filter
    })
}

fn summary(image: &Image) -> ImageSummary {
    ImageSummary {
        id: image.id.to_string(),
        repository: None,
        tag: None,
        created: image.created().map(str::to_owned),
        size: image.size(),
    }
}

fn inspect_image(image: &Image, listed: Option<&Listed>) -> Value {
    let config = &image.config;
    let familiar = |names: &[Reference]| names.iter().map(Reference::familiar).collect::<Vec<_>>();
    json!({
        "Id": image.id.to_string(),
        "RepoTags": listed.map(|listed| familiar(&listed.names)).unwrap_or_default(),
        "RepoDigests": listed.map(|listed| familiar(&listed.digests)).unwrap_or_default(),
        "Created": config.created,
        "Author": config.author,
        "Config": config.config,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": image.size(),
        "RootFS": { "Type": "layers", "Layers": config.rootfs.diff_ids },
        "Tree": image.root.tree.to_string(),
    })
}

fn inspect_container(record: &ContainerRecord, pid: Option<i32>) -> Value {
    let (status, exit_code, since, out_of_memory, error) = match &record.state {
        ContainerState::Running { since } => ("running", 0, since, false, None),
        ContainerState::Exited {
            status,
            since,
            out_of_memory,
            error,
        } => ("exited", *status, since, *out_of_memory, error.clone()),
    };
    let running = record.is_running();
    json!({
        "Id": record.id,
        "Created": record.created,
        "Path": record.argv.first(),
        "Args": record.argv.get(1..).unwrap_or_default(),
        "State": {
            "Status": status,
            "Running": running,
            "OOMKilled": out_of_memory,
            "Pid": pid.unwrap_or(0),
            "ExitCode": exit_code,
            "Error": error.unwrap_or_default(),
            "StartedAt": if running { since } else { &record.created },
            "FinishedAt": if running { "" } else { since },
        },
        "Image": record.image_id,
        "Name": record.name,
        "Config": record.config,
        "HostConfig": {
            "NetworkMode": record.host.network,
            "Binds": record.host.volumes.iter().map(|volume| {
                format!("{}:{}{}", volume.host, volume.guest, if volume.read_only { ":ro" } else { "" })
            }).collect::<Vec<_>>(),
            "AutoRemove": record.host.remove,
            "ReadonlyRootfs": record.host.read_only,
            "Privileged": record.host.privileged,
            "Init": record.host.init,
            "ExtraHosts": record.host.add_hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect::<Vec<_>>(),
        },
        "Hostname": record.host.hostname,
        "Tty": record.host.tty,
    })
}
