//! The image formats as values: pure, no I/O. Spec: OCI image-spec, OCI distribution-spec, Docker's extensions of the config.

pub mod config;
pub mod platform;
