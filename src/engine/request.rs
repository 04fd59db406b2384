//! What the engine can be asked, as serde values: they cross the local socket and are made in-process by tests and benches.
//!
//! Descriptors that belong to a request are named by `FileSlot`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::call::FileSlot;
use crate::plan::Network;

/// One request; its outcome is an `Outcome`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Builds an image.
    Build(Box<BuildRequest>),
    /// Creates and starts a container.
    Run(Box<RunRequest>),
    /// Runs a further process in a running container.
    Exec(ExecRequest),
    /// Lists containers.
    Containers {
        /// Those that ended, too.
        all: bool,
    },
    /// Copies a container's output to the caller's descriptors.
    Logs(LogsRequest),
    /// Ends containers: their stop signal, then SIGKILL.
    Stop {
        /// Names or ids.
        containers: Vec<String>,
        /// Seconds between the two; `None` is 10.
        timeout: Option<u64>,
    },
    /// Sends a signal to containers.
    Kill {
        /// Names or ids.
        containers: Vec<String>,
        /// Its number.
        signal: i32,
    },
    /// Waits until containers ended.
    Wait {
        /// Names or ids.
        containers: Vec<String>,
    },
    /// Removes containers.
    RemoveContainers {
        /// Names or ids.
        containers: Vec<String>,
        /// Running ones are killed first.
        force: bool,
    },
    /// Makes an image of a container's filesystem.
    Commit(CommitRequest),
    /// Lists images.
    Images {
        /// Only this repository or reference.
        name: Option<String>,
    },
    /// An image's steps.
    History {
        /// The image.
        image: String,
    },
    /// Everything known about images and containers.
    Inspect {
        /// Names or ids.
        names: Vec<String>,
    },
    /// Gives an image another name.
    Tag {
        /// An image.
        image: String,
        /// The new name.
        name: String,
    },
    /// Removes names, and images that lose their last one.
    RemoveImages {
        /// Names or ids.
        images: Vec<String>,
        /// Removes an image with all its names.
        force: bool,
    },
    /// Writes images as a docker archive.
    Save {
        /// Names or ids.
        images: Vec<String>,
        /// Where to.
        output: FileSlot,
        /// `docker` or `oci`.
        format: String,
    },
    /// Reads images from a docker archive, an OCI archive or an OCI layout.
    Load {
        /// A file, pipe or directory.
        input: FileSlot,
    },
    /// Makes an image of a root filesystem's tar.
    Import(ImportRequest),
    /// Gets an image from a registry.
    Pull {
        /// Its name.
        image: String,
        /// `os/arch[/variant]`; `None` is the host's.
        platform: Option<String>,
    },
    /// Compares two filesystems; one alone is compared with what it was made from.
    Diff {
        /// The older, or the only one.
        old: String,
        /// The newer.
        new: Option<String>,
    },
    /// Removes what nothing names.
    Prune(PruneRequest),
    /// What the store holds, by kind.
    DiskUsage,
    /// What the engine is doing.
    Status,
    /// Ends the engine: containers are stopped, other work is cancelled.
    Shutdown,
}

/// See `Request::Build`.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct BuildRequest {
    /// The Dockerfile's text.
    pub dockerfile: String,
    /// Its name in errors.
    pub dockerfile_name: String,
    /// An `O_PATH` directory descriptor; `None`: an empty context.
    pub context: Option<FileSlot>,
    /// The ignore file's text.
    pub ignore: Option<String>,
    /// Names for the result.
    pub tags: Vec<String>,
    /// Build arguments.
    pub build_args: BTreeMap<String, String>,
    /// Labels of the result.
    pub labels: BTreeMap<String, String>,
    /// The stage to build; `None` is the last.
    pub target: Option<String>,
    /// `os/arch[/variant]`; `None` is the host's.
    pub platform: Option<String>,
    /// Runs every step anew.
    pub no_cache: bool,
    /// Asks the registry for newer base images.
    pub pull: bool,
    /// Network of RUN steps.
    pub network: Network,
    /// Extra lines of /etc/hosts: (name, address).
    pub add_hosts: Vec<(String, String)>,
    /// Exports besides the image store.
    pub outputs: Vec<OutputRequest>,
    /// A snapshot strategy's name; `None` is the configured one.
    pub snapshotter: Option<String>,
    /// Fixes the times of the result (`SOURCE_DATE_EPOCH`): seconds.
    pub source_date_epoch: Option<i64>,
}

/// One `--output`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OutputRequest {
    /// As written: `type=oci,dest=app.tar`.
    pub output: String,
    /// An open file or directory, as the exporter wants it.
    pub destination: FileSlot,
}

/// See `Request::Run`.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct RunRequest {
    /// An image, or any address (`NAME@step`, a container).
    pub image: String,
    /// Replaces the image's command.
    pub command: Vec<String>,
    /// Replaces the image's entrypoint; an empty list clears it.
    pub entrypoint: Option<Vec<String>>,
    /// The container's name; `None` makes one up.
    pub name: Option<String>,
    /// `NAME=value`, on top of the image's.
    pub env: Vec<String>,
    /// Working directory.
    pub workdir: Option<String>,
    /// User, as in a Dockerfile.
    pub user: Option<String>,
    /// Binds.
    pub volumes: Vec<Volume>,
    /// `(path, bytes)`; 0 bytes is no limit.
    pub tmpfs: Vec<(String, u64)>,
    /// Network.
    pub network: Network,
    /// Hostname; `None` is the short id.
    pub hostname: Option<String>,
    /// Extra lines of /etc/hosts: (name, address).
    pub add_hosts: Vec<(String, String)>,
    /// Labels of the container.
    pub labels: BTreeMap<String, String>,
    /// Whether the root filesystem refuses writes.
    pub read_only: bool,
    /// Whether capabilities and seccomp are lifted.
    pub privileged: bool,
    /// Whether a minimal init reaps and forwards signals.
    pub init: bool,
    /// Whether a terminal is allocated.
    pub tty: bool,
    /// Signal of `stop`; `None` is the image's or SIGTERM.
    pub stop_signal: Option<String>,
    /// Whether the container vanishes when it ends.
    pub remove: bool,
    /// Whether the engine keeps it running without its caller.
    pub detach: bool,
    /// Whether a registry is asked when the image is missing, always, never: `missing`, `always`, `never`.
    pub pull: PullPolicy,
    /// The caller's stdin; `None` is /dev/null.
    pub stdin: Option<FileSlot>,
    /// The caller's stdout and stderr, unless detached.
    pub output: Option<(FileSlot, FileSlot)>,
}

/// When a registry is asked for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// When it is not in the store.
    #[default]
    Missing,
    /// Every time.
    Always,
    /// Not at all.
    Never,
}

/// A host path seen in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// On the host, absolute.
    pub host: String,
    /// In the container, absolute.
    pub guest: String,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// See `Request::Exec`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Name or id.
    pub container: String,
    /// Arguments.
    pub command: Vec<String>,
    /// `NAME=value`, on top of the container's.
    pub env: Vec<String>,
    /// Working directory; `None` is the container's.
    pub workdir: Option<String>,
    /// User; `None` is the container's.
    pub user: Option<String>,
    /// Whether a terminal is allocated.
    pub tty: bool,
    /// The caller's stdin; `None` is /dev/null.
    pub stdin: Option<FileSlot>,
    /// The caller's stdout and stderr; `None` when detached.
    pub output: Option<(FileSlot, FileSlot)>,
}

/// See `Request::Logs`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogsRequest {
    /// Name or id.
    pub container: String,
    /// Goes on until the container ends.
    pub follow: bool,
    /// Only the last lines.
    pub tail: Option<usize>,
    /// Begins each line with its time.
    pub timestamps: bool,
    /// The caller's stdout.
    pub stdout: FileSlot,
    /// The caller's stderr.
    pub stderr: FileSlot,
}

/// See `Request::Commit`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CommitRequest {
    /// Name or id.
    pub container: String,
    /// The new image's name, if any.
    pub name: Option<String>,
    /// Dockerfile instructions that change the config: `CMD ["x"]`.
    pub changes: Vec<String>,
    /// Author.
    pub author: Option<String>,
    /// The history entry's comment.
    pub message: Option<String>,
}

/// See `Request::Import`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImportRequest {
    /// The tar, compressed or not.
    pub input: FileSlot,
    /// What the tar is called, for the history.
    pub source: String,
    /// The new image's name.
    pub name: String,
    /// Dockerfile instructions that set the config.
    pub changes: Vec<String>,
    /// `os/arch[/variant]`; `None` is the host's.
    pub platform: Option<String>,
}

/// See `Request::Prune`.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct PruneRequest {
    /// Forget cached build steps, too.
    pub cache: bool,
    /// Remove images that have no name.
    pub dangling: bool,
    /// Remove images that no container uses.
    pub all_images: bool,
    /// Remove containers that ended.
    pub containers: bool,
}

impl Request {
    /// The request's name, as the command line has it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Build(_) => "build",
            Self::Run(_) => "run",
            Self::Exec(_) => "exec",
            Self::Containers { .. } => "ps",
            Self::Logs(_) => "logs",
            Self::Stop { .. } => "stop",
            Self::Kill { .. } => "kill",
            Self::Wait { .. } => "wait",
            Self::RemoveContainers { .. } => "rm",
            Self::Commit(_) => "commit",
            Self::Images { .. } => "images",
            Self::History { .. } => "history",
            Self::Inspect { .. } => "inspect",
            Self::Tag { .. } => "tag",
            Self::RemoveImages { .. } => "rmi",
            Self::Save { .. } => "save",
            Self::Load { .. } => "load",
            Self::Import(_) => "import",
            Self::Pull { .. } => "pull",
            Self::Diff { .. } => "diff",
            Self::Prune(_) => "prune",
            Self::DiskUsage => "du",
            Self::Status => "status",
            Self::Shutdown => "shutdown",
        }
    }
}
