//! What the engine answers: data, never text for a terminal, except for failures, whose text needs what only the engine has.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done; nothing to say.
    Done,
    /// A build's, commit's or import's image.
    Built(BuiltImage),
    /// A container's or exec's process ended with this status (128 + signal when killed).
    Exited(i32),
    /// A detached container runs.
    Started {
        /// Its id.
        container: String,
    },
    /// Names or ids that were acted on, in the order of the request.
    Names(Vec<String>),
    /// Images, newest first.
    Images(Vec<ImageSummary>),
    /// Containers, newest first.
    Containers(Vec<ContainerSummary>),
    /// An image's steps, newest first.
    History(Vec<HistoryLine>),
    /// Docker's inspect objects.
    Inspected(Vec<serde_json::Value>),
    /// Removed names and ids, as `docker rmi` prints them.
    Removed(Vec<Removed>),
    /// What pruning freed.
    Pruned(Pruned),
    /// What the store holds.
    DiskUsage(DiskUsage),
    /// What the engine is doing.
    Status(Status),
    /// It failed.
    Failed(Failure),
}

/// Why a request failed, ready to be shown: text and exit status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The command's exit status.
    pub status: u8,
    /// One line, its causes after colons.
    pub message: String,
    /// Source excerpt and the tail of a step's output, ready-made lines.
    pub detail: Option<String>,
    /// What to try next.
    pub hints: Vec<String>,
}

/// The build, or what a user asked for, failed.
pub const STATUS_FAILED: u8 = 1;
/// Arguments that make no request.
pub const STATUS_USAGE: u8 = 2;
/// An error of ours or of the machine.
pub const STATUS_ERROR: u8 = 125;
/// Interrupted.
pub const STATUS_INTERRUPTED: u8 = 130;

/// A new image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltImage {
    /// `sha256:...`
    pub id: String,
    /// Names it was given, as the user knows them.
    pub names: Vec<String>,
}

/// A line of `silt images`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ImageSummary {
    /// `sha256:...`
    #[serde(rename = "ID")]
    pub id: String,
    /// `redis`; `None` for an image without names.
    pub repository: Option<String>,
    /// `latest`
    pub tag: Option<String>,
    /// RFC 3339.
    pub created: Option<String>,
    /// Bytes of all files.
    pub size: u64,
}

/// A line of `silt ps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerSummary {
    /// 64 hexadecimal digits.
    #[serde(rename = "ID")]
    pub id: String,
    /// Name.
    pub name: String,
    /// The image as it was named.
    pub image: String,
    /// Arguments of its process.
    pub command: Vec<String>,
    /// RFC 3339.
    pub created: String,
    /// `created`, `running`, `exited`.
    pub state: String,
    /// Exit status, if ended.
    pub exit_code: Option<i32>,
    /// RFC 3339, of the newest change of state.
    pub since: String,
    /// Published ports and exposed ones.
    pub ports: Vec<String>,
}

/// A line of `silt history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HistoryLine {
    /// The step's number in addresses (`NAME@3`); `None` when it made no layer.
    pub step: Option<usize>,
    /// RFC 3339.
    pub created: Option<String>,
    /// The instruction.
    pub created_by: String,
    /// Bytes that the step added or changed.
    pub size: u64,
    /// Comment.
    pub comment: String,
}

/// A line of `silt rmi`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Removed {
    /// A name is gone.
    Untagged(String),
    /// An image is gone.
    Deleted(String),
}

/// A line of `silt diff`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// Absolute path; bytes that are no UTF-8 are replaced.
    pub path: String,
}

/// See `Change::kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeKind {
    /// Only in the newer.
    #[serde(rename = "A")]
    Added,
    /// In both, not the same.
    #[serde(rename = "C")]
    Changed,
    /// Only in the older.
    #[serde(rename = "D")]
    Deleted,
}

/// See `Outcome::Pruned`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pruned {
    /// Containers removed.
    pub containers: Vec<String>,
    /// Images removed.
    pub images: Vec<String>,
    /// Cache records removed.
    pub cache_records: u64,
    /// Bytes that the store no longer holds.
    pub bytes: u64,
}

/// See `Outcome::DiskUsage`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiskUsage {
    /// Images.
    pub images: u64,
    /// Containers.
    pub containers: u64,
    /// Cached steps.
    pub cache_records: u64,
    /// Bytes of the store's files on disk.
    pub disk: u64,
}

/// See `Outcome::Status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Status {
    /// The engine's process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// The store's directory.
    pub store: String,
    /// Seconds since its start.
    pub uptime: u64,
    /// Seconds after which it leaves when idle; 0 stays.
    pub idle: u64,
    /// Requests under way by kind, this one left out.
    pub requests: BTreeMap<String, u64>,
    /// Containers running.
    pub containers: u64,
    /// Resident memory in bytes.
    pub memory: u64,
}

impl Failure {
    /// What the user asked for failed or is not there.
    pub fn refused(message: String) -> Self {
        Self::new(STATUS_FAILED, message)
    }

    /// An error of ours, or of the machine.
    pub fn error(message: String) -> Self {
        Self::new(STATUS_ERROR, message)
    }

    /// Arguments that don't make a request.
    pub fn usage(message: String) -> Self {
        Self::new(STATUS_USAGE, message)
    }

    fn new(status: u8, message: String) -> Self {
        Self {
            status,
            message,
            detail: None,
            hints: Vec::new(),
        }
    }

    /// Begins the message with what it is about.
    #[must_use]
    pub fn about(self, what: &str) -> Self {
        Self {
            message: format!("{what}: {}", self.message),
            ..self
        }
    }

    /// Adds what to try next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}
