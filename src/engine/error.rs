//! Every way a request fails, and its one outward map: to a `Failure` with text, hints and exit status.

use std::path::PathBuf;

use silt_store::StoreError;

use crate::dockerfile::diagnostic::did_you_mean;
use crate::engine::outcome::{Failure, STATUS_ERROR, STATUS_FAILED, STATUS_INTERRUPTED};
use crate::export::{ExportError, OutputError};
use crate::images::ImageError;
use crate::oci::platform::PlatformError;
use crate::oci::reference::ReferenceError;
use crate::registry::RegistryError;
use crate::sandbox::SandboxError;
use crate::snapshot::SnapshotError;
use crate::solve::SolveError;
use crate::source::image::SourceError;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The config file.
    #[error("config file {}: {problem}", path.display())]
    Config {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The system refused.
    #[error("I/O error while {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// A caller that does not keep to the protocol.
    #[error("malformed request: {problem}")]
    Protocol {
        /// What is wrong.
        problem: &'static str,
    },
    /// Ctrl-C, or the caller went away.
    #[error("interrupted")]
    Interrupted,
    /// The store.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// An image's name.
    #[error("{0}")]
    Reference(#[from] ReferenceError),
    /// A platform's name.
    #[error("{0}")]
    Platform(#[from] PlatformError),
    /// The image store.
    #[error("{0}")]
    Image(#[from] ImageError),
    /// An `--output`.
    #[error("{0}")]
    Output(#[from] OutputError),
    /// An export.
    #[error("the export failed")]
    Export(#[from] ExportError),
    /// The sandbox.
    #[error("the container could not be started")]
    Sandbox(#[from] SandboxError),
    /// A snapshot.
    #[error("{0}")]
    Snapshot(#[from] SnapshotError),
    /// A digest where a name is given.
    #[error("`{name}` has a digest: only content has digests, give a name with a tag")]
    DigestAsName {
        /// As given.
        name: String,
    },
    /// A snapshot strategy that is none.
    #[error("there is no snapshotter `{name}`")]
    NoStrategy {
        /// As given.
        name: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// A Dockerfile with an error; the text shows the line.
    #[error("{rendered}")]
    Dockerfile {
        /// Message, line, caret, hint.
        rendered: String,
    },
    /// An instruction of `--change`.
    #[error("{problem}")]
    Change {
        /// What is wrong with it.
        problem: String,
    },
    /// An ignore file.
    #[error(".dockerignore")]
    Ignore(#[from] crate::dockerfile::ignore::IgnoreError),
    /// A step's process failed.
    #[error("step {name} failed: {reason}")]
    Command {
        /// `[build 2/5] RUN make`
        name: String,
        /// `exit status 2`
        reason: String,
        /// The Dockerfile's lines, the end of what it wrote.
        detail: String,
        /// Where its filesystem can be looked at.
        address: Option<String>,
    },
    /// A step failed otherwise.
    #[error("step {name} failed")]
    Step {
        /// `[build 2/5] COPY a b`
        name: String,
        /// The Dockerfile's lines.
        excerpt: String,
        /// Why.
        #[source]
        failure: crate::solve::Failure,
    },
    /// The solver itself.
    #[error("the build could not be solved")]
    Solve(#[source] SolveError),
    /// A base image, or one to run or pull.
    #[error("{0}")]
    Source(#[from] SourceError),
    /// The user's credentials.
    #[error("{0}")]
    Registry(#[from] RegistryError),
    /// Neither an image nor a container.
    #[error("there is no image and no container `{text}`")]
    NoSuch {
        /// As given.
        text: String,
    },
    /// A step that an image does not have.
    #[error("`{image}` has no step {step}: its last one is {count}")]
    NoStep {
        /// The image.
        image: String,
        /// As given.
        step: usize,
        /// Its layers.
        count: usize,
    },
    /// No failed build is remembered.
    #[error("no failed step is kept{}", if name.is_empty() { String::new() } else { format!(" for `{name}`") })]
    NoFailed {
        /// The name, empty for the newest of all.
        name: String,
    },
    /// No such container.
    #[error("there is no container `{text}`")]
    NoContainer {
        /// As given.
        text: String,
    },
    /// An id's beginning that several have.
    #[error("`{text}` begins the ids of several containers")]
    Ambiguous {
        /// As given.
        text: String,
    },
    /// A container's name that another has.
    #[error("the name `{name}` is taken by another container")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// A container's name that is none.
    #[error("`{name}` cannot name a container: letters, digits, `_`, `.`, `-`, the first a letter or digit")]
    ContainerName {
        /// The name.
        name: String,
    },
    /// A container that has ended.
    #[error("container `{container}` is not running")]
    NotRunning {
        /// Its name.
        container: String,
    },
    /// A container that has not ended.
    #[error("container `{container}` is running")]
    StillRunning {
        /// Its name.
        container: String,
    },
    /// An image without a command, and none was given.
    #[error("`{image}` has no command")]
    NoCommand {
        /// The image.
        image: String,
    },
    /// A user that the image does not have, a working directory that cannot be.
    #[error("{0}")]
    Exec(#[from] crate::exec::ExecError),
    /// An image that containers were made from.
    #[error("`{image}` is used by container `{container}`")]
    ImageInUse {
        /// The image.
        image: String,
        /// One of them.
        container: String,
    },
}

impl EngineError {
    /// Text, hints and exit status.
    pub fn failure(&self) -> Failure {
        let failure = Failure {
            status: self.status(),
            message: chain(self),
            detail: self.detail(),
            hints: Vec::new(),
        };
        match self.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Command { detail, .. } => Some(detail.clone()),
            Self::Step { excerpt, .. } => Some(excerpt.clone()).filter(|excerpt| !excerpt.is_empty()),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        if is_full(self) {
            return Some("free some space; `silt prune` gives back what nothing names. What was reported as done is intact".to_owned());
        }
        match self {
            Self::Store(StoreError::Format { .. }) => {
                Some("use the silt that wrote this store, or another store with --store DIR".to_owned())
            }
            Self::Image(error) => error.hint(),
            Self::Source(error) => error.hint(),
            Self::Registry(error) => error.hint(),
            Self::NoStrategy { name, known } => did_you_mean(name, known.iter().copied())
                .or_else(|| Some(format!("there are {}", known.join(", ")))),
            Self::Command { address, .. } => address
                .as_ref()
                .map(|address| format!("`silt shell {address}` opens the failed step's filesystem")),
            Self::NoSuch { .. } => Some("`silt images` and `silt ps -a` list what there is".to_owned()),
            Self::NoContainer { .. } => Some("`silt ps -a` lists what there is".to_owned()),
            Self::Ambiguous { .. } => Some("give more digits of the id".to_owned()),
            Self::NameTaken { name } => {
                Some(format!("remove it with `silt rm {name}`, or choose another name"))
            }
            Self::StillRunning { container } => {
                Some(format!("`silt stop {container}` first, or use --force"))
            }
            Self::NoCommand { image } => Some(format!("give one: `silt run {image} COMMAND`")),
            Self::ImageInUse { container, .. } => Some(format!(
                "remove the container with `silt rm {container}`, or use --force"
            )),
            Self::NoStep { image, .. } => Some(format!("`silt history {image}` lists its steps")),
            _ => None,
        }
    }

    fn status(&self) -> u8 {
        match self {
            Self::Interrupted => STATUS_INTERRUPTED,
            Self::Config { .. } | Self::Io { .. } | Self::Protocol { .. } | Self::Solve(_) => STATUS_ERROR,
            _ if is_ours(self) => STATUS_ERROR,
            _ => STATUS_FAILED,
        }
    }
}

/// Whether the machine, the store or silt itself is at fault, not what was asked for.
fn is_ours(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).any(|cause| {
        cause.is::<SandboxError>()
            || cause.is::<silt_fuse::FsError>()
            || cause
                .downcast_ref::<StoreError>()
                .is_some_and(|error| !matches!(error, StoreError::Path { .. }))
    })
}

fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).any(|cause| {
        matches!(cause.downcast_ref::<StoreError>(), Some(StoreError::NoSpace(_)))
            || cause
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == std::io::ErrorKind::StorageFull)
    })
}

/// The error and what caused it, outermost first.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        match error.downcast_ref::<crate::solve::Failure>() {
            // It speaks with the voice of what it wraps, so its own source is one further.
            Some(crate::solve::Failure::Other(wrapped)) => {
                Some(&**wrapped as &(dyn std::error::Error + 'static))
            }
            _ => error.source(),
        }
    })
}

/// An error and its causes, on one line; a cause that says the same as what it caused is left out.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}
