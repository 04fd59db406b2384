//! Starting an engine process: its own session, a clean environment, no inherited descriptors, its log in the store.
//!
//! In: a place, and the start lock held. Out: an engine that listens, or why there is none. Effects: a process. The new engine
//! says on its standard output when it listens or why it could not; then it closes it.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::server::local::Place;

/// What an engine keeps of its starter's environment: where the user's things are, and how the network is reached.
const KEPT_ENVIRONMENT: &[&str] = &[
    "HOME",
    "USER",
    "LOGNAME",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "DOCKER_CONFIG",
    "SILT_LOG",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "TMPDIR",
];

/// Blocks from this size on are the system's own: they go back when freed, and come zeroed without being written. The library's
/// own limit grows with what is freed; then each mount's message buffers (16 MiB for each thread) are cleared by hand.
const MALLOC_THRESHOLD: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "262144");

/// The one line that a new engine writes to its standard output.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Announcement {
    /// It waits for another engine to leave.
    Waiting {
        /// The other's process, if it could be read.
        pid: Option<u32>,
    },
    /// It listens.
    Ready,
    /// It could not start.
    Failed {
        /// Why.
        message: String,
        /// What to try.
        hints: Vec<String>,
    },
}

/// Why no engine was started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The process could not be made.
    #[error("the engine could not be started")]
    Spawn(#[from] io::Error),
    /// The engine itself said why.
    #[error("the engine could not start: {message}")]
    Refused {
        /// Why.
        message: String,
        /// What to try.
        hints: Vec<String>,
    },
    /// The engine ended without a word.
    #[error("the engine ended while it started")]
    Died,
}

/// Starts an engine and waits until it listens. The caller holds the start lock.
///
/// # Errors
/// See `LaunchError`.
pub(crate) fn launch(
    place: &Place,
    idle: Option<Duration>,
    on_wait: &mut dyn FnMut(Option<u32>),
) -> Result<(), LaunchError> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(place.log())?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg("--store")
        .arg(place.store())
        .args(["engine", "serve"]);
    if let Some(idle) = idle {
        command.arg("--idle").arg(idle.as_secs().to_string());
    }
    command.current_dir("/").env_clear().env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    command.env(MALLOC_THRESHOLD.0, MALLOC_THRESHOLD.1);
    for name in KEPT_ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut child = command.spawn()?;
    let Some(stdout) = child.stdout.take() else {
        return Err(LaunchError::Died);
    };
    for line in BufReader::new(stdout).lines() {
        match serde_json::from_str(&line?) {
            Ok(Announcement::Ready) => return Ok(()),
            Ok(Announcement::Waiting { pid }) => on_wait(pid),
            Ok(Announcement::Failed { message, hints }) => {
                // It is about to end: take its exit status, so that it leaves no zombie in a client that lives on.
                child.wait()?;
                return Err(LaunchError::Refused { message, hints });
            }
            Err(error) => return Err(LaunchError::Spawn(error.into())),
        }
    }
    child.wait()?;
    Err(LaunchError::Died)
}
