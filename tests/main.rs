//! Whole-program tests, one binary. This is the table of contents.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set up its scene has failed"
)]

// Rules about where code may stand: the modules' order, `async`, `unsafe`, sizes.
mod layering;
// A process cut off: namespaces, mounts, capabilities, seccomp, as root and as an ordinary user.
mod sandbox;
// Archives, layouts and trees that are exported, judged by the schemas and by real clients; archives loaded.
mod export;
