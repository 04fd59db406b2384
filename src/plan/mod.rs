//! Meaning: instructions, build arguments and the bases' configs become vertices in topological order and an image config.
//!
//! Pure. One file for each instruction in `instruction/`, listed in `instruction::ALL`. Vertices are of BuildKit LLB's kinds
//! (source, exec, file), so that an LLB client can be served by the same solver one day.

mod chmod;
mod error;
mod history;
pub mod instruction;
pub mod lint;
mod op;
mod outline;
mod planner;
mod stages;
mod state;
#[cfg(test)]
mod tests;
mod undeclared;
mod variables;

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

pub use self::chmod::{Chmod, ChmodError};
pub use self::error::{PlanError, PlanErrorKind};
pub use self::op::{
    CacheSharing, CopyItem, CopyOp, CopySource, Edge, ImageOp, Lines, MakeDirectoryOp, MountOwner,
    MountSource, Network, Op, RunMount, RunMountKind, RunOp, Security, Vertex, VertexId,
};
pub use self::outline::{Outline, OutlineArg, OutlineMount, Target, outline, targets};
pub use self::planner::{base_images, plan};
pub use self::undeclared::undeclared_args;
use crate::oci::config::{ImageConfig, RunConfig};
use crate::oci::platform::Platform;

/// What a plan is made of besides the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanInput {
    /// `--build-arg`; a name without a value (and without one in the client's environment) is as if not given.
    pub build_args: BTreeMap<String, Option<String>>,
    /// `--target`: a stage's name; `None` is the last stage.
    pub target: Option<String>,
    /// Platform of the result.
    pub platform: Platform,
    /// Platform of this machine.
    pub build_platform: Platform,
    /// `--no-cache`.
    pub no_cache: bool,
    /// `--no-cache-filter`: names of stages that no cache answers for.
    pub no_cache_filter: Vec<String>,
    /// `--label`, over those of the Dockerfile.
    pub labels: BTreeMap<String, String>,
    /// `--network`, for steps that don't say.
    pub network: Network,
    /// `--add-host`: (name, address).
    pub add_hosts: Vec<(String, String)>,
    /// `--build-context`, by name.
    pub contexts: BTreeMap<String, NamedContext>,
    /// The images that [`base_images`] asked for.
    pub bases: HashMap<ImageOp, BaseImage>,
}

/// Predefined ARGs that need no declaration: reference, "Predefined ARGs".
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

impl PlanInput {
    /// The inputs of a plain `silt build` for a platform.
    pub fn new(platform: Platform) -> Self {
        Self {
            build_args: BTreeMap::new(),
            target: None,
            build_platform: Platform::host(),
            platform,
            no_cache: false,
            no_cache_filter: Vec::new(),
            labels: BTreeMap::new(),
            network: Network::default(),
            add_hosts: Vec::new(),
            contexts: BTreeMap::new(),
            bases: HashMap::new(),
        }
    }

    /// The value given for a build argument.
    fn build_arg(&self, name: &str) -> Option<&str> {
        self.build_args.get(name)?.as_deref()
    }

    /// The proxies given, in both cases, since programs look for either.
    fn proxy(&self) -> Vec<String> {
        let mut proxy = Vec::new();
        for upper in PROXIES {
            let lower = upper.to_lowercase();
            let (in_upper, in_lower) = (self.build_arg(upper), self.build_arg(&lower));
            proxy.extend(in_upper.or(in_lower).map(|value| format!("{upper}={value}")));
            proxy.extend(in_lower.or(in_upper).map(|value| format!("{lower}={value}")));
        }
        proxy
    }
}

/// What a plan needs to know of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// Its config.
    pub config: ImageConfig,
}

/// A `--build-context`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// `docker-image://reference`.
    Image(String),
    /// A directory or whatever else the source room fetches by the context's name.
    Files,
}

/// One line of the resulting image's history, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedHistory {
    /// `RUN /bin/sh -c make # buildkit` and the like.
    pub created_by: String,
    /// The vertex whose layer this is; `None` for an empty layer (ENV, CMD, ...).
    pub vertex: Option<VertexId>,
}

/// A whole build, ready to solve: only what the target needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Topological order: inputs come first.
    pub vertices: Vec<Vertex>,
    /// The result's root filesystem.
    pub result: VertexId,
    /// The base image whose layers, history and platform the result continues; `None` from scratch.
    pub base: Option<VertexId>,
    /// The steps from `base` to `result` that make layers, lowest first.
    pub chain: Vec<VertexId>,
    /// Config of the resulting image.
    pub config: RunConfig,
    /// Author, from MAINTAINER or the base.
    pub author: String,
    /// History after the base's.
    pub history: Vec<PlannedHistory>,
    /// Platform of the result.
    pub platform: Platform,
    /// Predefined proxy arguments (`NAME=value`), for every RUN whose `env` doesn't have the name. In no key and no history.
    pub proxy: Vec<String>,
    /// `BUILDKIT_SANDBOX_HOSTNAME`, for every RUN. In no key.
    pub hostname: Option<String>,
    /// `SOURCE_DATE_EPOCH`, seconds: the created time of image and history, and the upper limit of layers' times.
    pub source_date_epoch: Option<i64>,
}
