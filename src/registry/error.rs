//! What can go wrong between here and a registry.

use std::io;
use std::path::PathBuf;

use crate::oci::digest::Digest;
use crate::oci::manifest::ManifestError;
use crate::oci::platform::Platform;

/// Why nothing came from a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No connection: no such host, refused, no route, TLS.
    #[error("cannot reach the registry {registry}")]
    Unreachable {
        /// Host and port.
        registry: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("the registry {registry} did not answer in time")]
    Timeout {
        /// Host and port.
        registry: String,
    },
    /// The registry has no such image.
    #[error("the registry {registry} has no {what}")]
    NotFound {
        /// Host and port.
        registry: String,
        /// `library/debian:13`, a digest.
        what: String,
    },
    /// Credentials are needed, or were not accepted.
    #[error("the registry {registry} refuses access to {repository}: {detail}")]
    Unauthorized {
        /// Host and port.
        registry: String,
        /// The repository.
        repository: String,
        /// What it said.
        detail: String,
        /// Whether we had credentials.
        with_credentials: bool,
    },
    /// Too many requests, after some patience.
    #[error("the registry {registry} asks for fewer requests: {detail}")]
    RateLimited {
        /// Host and port.
        registry: String,
        /// What it said.
        detail: String,
    },
    /// An answer that no registry should give.
    #[error("the registry {registry} answered {status}: {detail}")]
    Status {
        /// Host and port.
        registry: String,
        /// HTTP status.
        status: u16,
        /// What it said.
        detail: String,
    },
    /// A redirect that must not be followed.
    #[error("the registry {registry} redirects to `{location}`, which will not be followed: {reason}")]
    Redirect {
        /// Host and port.
        registry: String,
        /// Where to.
        location: String,
        /// Why not.
        reason: &'static str,
    },
    /// A document that is not what its digest says.
    #[error("the registry {registry} sent content with digest {actual}, expected {expected}")]
    WrongDigest {
        /// Host and port.
        registry: String,
        /// As asked for.
        expected: Digest,
        /// By the bytes.
        actual: Digest,
    },
    /// A document beyond all reason.
    #[error("the registry {registry} sent a document of over {limit} bytes")]
    TooLong {
        /// Host and port.
        registry: String,
        /// The limit.
        limit: u64,
    },
    /// A malformed document.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The image has no manifest for the platform.
    #[error("the image is not available for {platform}; it has {}", available.join(", "))]
    Platform {
        /// Asked for.
        platform: Platform,
        /// What there is.
        available: Vec<String>,
    },
    /// The connection broke too often.
    #[error("the transfer from {registry} broke off after {received} of {size} bytes")]
    Broken {
        /// Host and port.
        registry: String,
        /// What arrived.
        received: u64,
        /// What should have.
        size: u64,
        /// The last failure.
        source: io::Error,
    },
    /// A malformed `config.json`.
    #[error("{} is malformed", path.display())]
    DockerConfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A credential helper failed.
    #[error("the credential helper docker-credential-{helper} failed: {detail}")]
    Helper {
        /// Its name in `config.json`.
        helper: String,
        /// What it said.
        detail: String,
    },
}

impl RegistryError {
    /// What to try next, if the error tells.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => {
                Some("check the name and the network; `silt import` makes an image of a root filesystem tar without one".into())
            }
            Self::Unauthorized { registry, with_credentials: false, .. } => {
                Some(format!("the image may not exist, or needs `docker login {registry}`"))
            }
            Self::Unauthorized { registry, .. } => {
                Some(format!("the credentials for {registry} were not accepted: `docker login {registry}` renews them"))
            }
            Self::RateLimited { registry, .. } => Some(format!("wait, or `docker login {registry}`")),
            _ => None,
        }
    }
}
