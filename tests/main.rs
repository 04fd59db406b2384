//! Tests.
mod sandbox;
