//! The image config (`application/vnd.oci.image.config.v1+json`) with Docker's extensions, field order fixed by this file.
//!
//! Spec: image-spec, "Image Configuration"; Docker's `Healthcheck`, `OnBuild`, `Shell`.
#![expect(
    clippy::zero_sized_map_values,
    reason = "the spec writes sets as maps to empty objects"
)]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::digest::{DiffId, DigestError};
use super::platform::Platform;

/// What a container started from an image runs with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// User, `uid`, `name`, each with `:group` or not; empty is root.
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "super::or_default"
    )]
    pub user: String,
    /// `80/tcp` and the like; a set, in the spec's map form.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "super::or_default"
    )]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// `NAME=value`, in order of first appearance.
    #[serde(deserialize_with = "super::or_default")]
    pub env: Vec<String>,
    /// Arguments before the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Default command or arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// How to see whether the container is healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Paths that are volumes; a set, in the spec's map form.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "super::or_default"
    )]
    pub volumes: BTreeMap<String, Empty>,
    /// Directory the command starts in.
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "super::or_default"
    )]
    pub working_dir: String,
    /// Instructions for builds on top of this image.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "super::or_default")]
    pub on_build: Vec<String>,
    /// Labels.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "super::or_default"
    )]
    pub labels: BTreeMap<String, String>,
    /// Signal that stops the container.
    #[serde(
        skip_serializing_if = "String::is_empty",
        deserialize_with = "super::or_default"
    )]
    pub stop_signal: String,
    /// Shell of the shell forms, when not the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// The value of the spec's sets: `{}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Empty {}

/// Docker's health check. Durations are nanoseconds, 0 means the default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", ...]` or `["CMD-SHELL", command]`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "super::or_default")]
    pub test: Vec<String>,
    /// Time between checks.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "super::or_default")]
    pub interval: u64,
    /// Time one check may take.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "super::or_default")]
    pub timeout: u64,
    /// Time before failures count.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "super::or_default")]
    pub start_period: u64,
    /// Time between checks during the start period.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "super::or_default")]
    pub start_interval: u64,
    /// Failures in a row that mean unhealthy.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "super::or_default")]
    pub retries: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// One line of an image's history.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// RFC 3339 time of the step.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created: Option<String>,
    /// The step as the Dockerfile's reader would write it.
    #[serde(
        skip_serializing_if = "String::is_empty",
        default,
        deserialize_with = "super::or_default"
    )]
    pub created_by: String,
    /// Author, from MAINTAINER.
    #[serde(
        skip_serializing_if = "String::is_empty",
        default,
        deserialize_with = "super::or_default"
    )]
    pub author: String,
    /// `buildkit.dockerfile.v0` in BuildKit's images; free text.
    #[serde(
        skip_serializing_if = "String::is_empty",
        default,
        deserialize_with = "super::or_default"
    )]
    pub comment: String,
    /// Whether the step has no layer.
    #[serde(
        skip_serializing_if = "std::ops::Not::not",
        default,
        deserialize_with = "super::or_default"
    )]
    pub empty_layer: bool,
}

/// The root filesystem by its layers' uncompressed digests, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `sha256:...` of each uncompressed layer tar.
    #[serde(deserialize_with = "super::or_default")]
    pub diff_ids: Vec<String>,
}

/// An image's config; its digest is the image's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// RFC 3339 time of the newest step.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created: Option<String>,
    /// Author, from MAINTAINER.
    #[serde(
        skip_serializing_if = "String::is_empty",
        default,
        deserialize_with = "super::or_default"
    )]
    pub author: String,
    /// GOARCH.
    pub architecture: String,
    /// GOOS.
    pub os: String,
    /// Architecture variant.
    #[serde(
        skip_serializing_if = "String::is_empty",
        default,
        deserialize_with = "super::or_default"
    )]
    pub variant: String,
    /// What containers run with.
    #[serde(default, deserialize_with = "super::or_default")]
    pub config: RunConfig,
    /// Layers.
    pub rootfs: RootFs,
    /// Steps, oldest first; those without `empty_layer` match `rootfs.diff_ids` one to one.
    #[serde(default, deserialize_with = "super::or_default")]
    pub history: Vec<History>,
}

/// A config that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No JSON, or not of the schema.
    #[error("the image config is malformed")]
    Json(#[source] serde_json::Error),
    /// A root filesystem of another kind than layers.
    #[error("the image's root filesystem has type `{kind}`; only `layers` is known")]
    RootFs {
        /// What `rootfs.type` says.
        kind: String,
    },
    /// A diff id that is no digest.
    #[error("the image config lists a bad layer id")]
    DiffId(#[source] DigestError),
}

impl ImageConfig {
    /// Parses and checks a config.
    ///
    /// # Errors
    /// Each `ConfigError`.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_slice(bytes).map_err(ConfigError::Json)?;
        if config.rootfs.kind != "layers" {
            return Err(ConfigError::RootFs {
                kind: config.rootfs.kind,
            });
        }
        config.diff_ids()?;
        Ok(config)
    }

    /// The layers, lowest first.
    ///
    /// # Errors
    /// `DiffId`.
    pub fn diff_ids(&self) -> Result<Vec<DiffId>, ConfigError> {
        let parse = |text: &String| text.parse().map_err(ConfigError::DiffId);
        self.rootfs.diff_ids.iter().map(parse).collect()
    }

    /// The platform the image runs on.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configs_of_go_programs_with_nulls_are_read() {
        let text = br#"{"architecture":"amd64","os":"linux","author":null,"container":"x",
            "config":{"Hostname":"","Env":null,"Cmd":null,"Volumes":null,"OnBuild":null,"Labels":null,"ArgsEscaped":true},
            "history":null,"rootfs":{"type":"layers","diff_ids":null}}"#;
        let config = ImageConfig::from_slice(text).unwrap();
        assert_eq!(config.config, RunConfig::default());
        assert!(config.diff_ids().unwrap().is_empty());
        let foreign = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"squash","diff_ids":[]}}"#;
        assert!(matches!(
            ImageConfig::from_slice(foreign),
            Err(ConfigError::RootFs { .. })
        ));
        let bad = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["x"]}}"#;
        assert!(matches!(
            ImageConfig::from_slice(bad),
            Err(ConfigError::DiffId(_))
        ));
    }
}
