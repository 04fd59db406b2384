//! Whole-program tests, one binary. This is the table of contents.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set up its scene has failed"
)]

// The engine process: start, race, idle, takeover, death.
mod engine;
// Help texts and wrong arguments.
mod help;
// Containers, as root and as a plain user.
// Rules about where code may stand: the modules' order, `async`, `unsafe`, sizes.
mod layering;
// A process cut off: namespaces, mounts, capabilities, seccomp, as root and as an ordinary user.
mod sandbox;

// A store of its own for a test.
mod scratch;
