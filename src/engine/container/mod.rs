//! Containers: a tree and a specification become a process that the engine watches, and in the end a tree again.
//!
//! | file      | does                                                             |
//! |-----------|------------------------------------------------------------------|
//! | `log`     | what a container wrote, kept exactly                             |
//! | `names`   | names for those whose user gave none                             |
//! | `record`  | what the store keeps of a container                              |
//! | `streams` | pipes and terminals, copied to the log and to the caller         |
//! | `one`     | one container: start, watch, signal, stop, wait, what it left    |
//! | `all`     | the store's containers: found by name or id, kept over restarts  |
//! | `spec`    | an image's config and a command line -> a sandbox specification  |
//!
//! A container that runs is watched by one thread; when its processes are gone that thread commits the filesystem, seals it and
//! writes the record, and only then is the container over for whoever waits. The engine's end is the containers' end.

mod all;
mod log;
mod names;
mod one;
mod record;
mod spec;
mod streams;

pub(crate) use all::Containers;
pub(crate) use log::Copier;
pub(crate) use one::{Container, Ended, Start, now, unwritten};
pub(crate) use record::{ContainerRecord, ContainerState, HostConfig};
pub(crate) use spec::{Environment, compose};
pub(crate) use streams::{Abandon, Copiers, Streams};
