//! The image formats as values: pure, no I/O. Spec: OCI image-spec, OCI distribution-spec, Docker's extensions of the config.

pub mod config;
pub mod digest;
pub mod manifest;
pub mod platform;
pub mod reference;

use serde::{Deserialize, Deserializer};

/// Reads `null` as the default: Go programs write it for empty lists and maps (image-spec: "null is equivalent to being absent").
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
