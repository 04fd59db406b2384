//! Every way a request fails, and its one outward map: to a `Failure` with text, hints and exit status.

use std::path::PathBuf;

use silt_store::StoreError;

use crate::engine::outcome::{Failure, STATUS_ERROR, STATUS_INTERRUPTED};

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
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Ctrl-C, or the caller went away.
    #[error("interrupted")]
    Interrupted,
}

impl EngineError {
    /// Text, hints and exit status.
    pub fn failure(&self) -> Failure {
        let failure = Failure {
            status: self.status(),
            message: chain(self),
            detail: None,
            hints: Vec::new(),
        };
        match self {
            Self::Store(StoreError::NoSpace(_)) => {
                failure.hint("free some space; `silt prune` gives back what nothing names. Everything reported as done is intact")
            }
            Self::Store(StoreError::Format { .. }) => {
                failure.hint("use the silt that wrote this store, or another store with --store DIR")
            }
            _ => failure,
        }
    }

    fn status(&self) -> u8 {
        match self {
            Self::Interrupted => STATUS_INTERRUPTED,
            Self::Config { .. } | Self::Io { .. } | Self::Protocol { .. } | Self::Store(_) => STATUS_ERROR,
        }
    }
}

/// An error and its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
