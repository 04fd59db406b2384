//! The filesystem through the kernel. Every test here mounts: it needs root (or `CAP_SYS_ADMIN`) and /dev/fuse, says so in its
//! name, and fails with a hint where they are missing. Mounts are made in a mount namespace of the test's own thread, so none is
//! left even when a test is killed; a watchdog aborts the connection of one that hangs.
//!
//! | module         | what it shows                                                                      |
//! |----------------|------------------------------------------------------------------------------------|
//! | `scene`        | a store, a base, a mount; walks of host directories and of sealed trees            |
//! | `program`      | random operations and how to do them on a directory                                |
//! | `differential` | the same random operations here and on tmpfs, compared after each, then sealed     |
//! | `semantics`    | the paragraphs of `SEMANTICS.md`, one test each                                    |
//! | `bases`        | mounts on stored trees, on unsealed ones, on chains of them; checkpoints           |
//! | `rootless`     | all of that in a user namespace                                                    |
//! | `stress`       | many names, many threads, little memory                                            |

#![allow(
    clippy::unwrap_used,
    clippy::pedantic,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod bases;
mod differential;
mod program;
mod rootless;
mod scene;
mod semantics;
mod stress;
