//! A client of registries: a reference to manifests and blobs.
//!
//! | module        | turns what into what                                        | effects                 |
//! |---------------|-------------------------------------------------------------|-------------------------|
//! | `error`       | what can go wrong on the way                                | none                    |
//! | `endpoint`    | a registry's name -> its URL                                | none                    |
//! | `challenge`   | a `WWW-Authenticate` header -> what it asks for             | none                    |
//! | `credentials` | Docker's config and helpers -> a user's secrets             | reads files, processes  |
//! | `client`      | a URL -> a response, authorised, redirected, retried        | network                 |
//! | `blob`        | a descriptor -> its bytes, resumed where they broke off     | network                 |
//! | `pull`        | a reference -> the manifest and config for a platform       | network                 |
//!
//! Blocking, on few threads (architecture, decision 8). Plain http only to this machine itself. Spec: distribution-spec, "Pull";
//! Docker's token authentication. Secrets are sent to the registry they are for and to the token server it names over https,
//! never along a redirect to another host.

mod blob;
mod challenge;
mod client;
mod credentials;
mod endpoint;
mod error;
mod pull;

pub use blob::BlobReader;
pub use client::Client;
pub use credentials::{Credentials, Secret};
pub use error::RegistryError;
pub use pull::Pulled;
