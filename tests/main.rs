//! Whole-program tests, one binary. This is the table of contents.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set up its scene has failed"
)]

// Not tests: a store, a Debian base, rivals and archives to compare with.
mod scene;
// Not tests: a store in a temporary directory, for tests of the engine's process alone.
mod scratch;

// Rules about where code may stand: the modules' order, `async`, `unsafe`, sizes.
mod layering;
// The tables of README.md, generated from those of the code.
mod readme;
// The same Dockerfile through Docker and through Silt.
mod parity;
// The whole way: build, cache, run, containers, several builds at once, Ctrl-C.
mod build;
// A container's output, and readers that leave, stall or have no space.
mod output;
// Debian's packages in RUN steps, and their special bits in the exported image.
mod packages;
// skopeo, umoci, podman and Docker judge what is exported.
mod clients;
// Dockerfiles, flags, contexts, registries and tars that are wrong or hostile.
mod bad_input;
// Terminals, signals, logs, exec; clients and engines that die under containers.
mod containers;
// A full disk, an engine killed in a RUN and in commits.
mod faults;
// Plans performed in one process: steps, copies, the cache, failures, strategies.
mod solve;
// A process cut off: namespaces, mounts, capabilities, seccomp, as root and as an ordinary user.
mod sandbox;
// The engine process: start, race, idle, takeover, death.
mod engine;
// Help texts and wrong arguments.
mod help;
// Archives, layouts and trees that are exported, judged by the schemas and by real clients; archives loaded.
mod export;
// Pulling, from Debian's docker-registry and from servers that misbehave.
mod registry;
