//! Silt builds container images: a Dockerfile in, a tagged image out, every intermediate filesystem a copy-on-write tree.
//!
//! | module       | turns what into what                                            | effects            |
//! |--------------|-----------------------------------------------------------------|--------------------|
//! | `dockerfile` | Dockerfile text -> instructions with spans                      | none               |
//! | `oci`        | bytes <-> descriptors, manifests, configs, references, platforms | none              |
//! | `plan`       | instructions, arguments, base configs -> vertices               | none               |
//! | `progress`   | events -> lines, bars, JSON                                     | writes to a sink   |
//! | `solve`      | a plan -> what each vertex produced, by cache or by work        | cache records      |
//! | `layer`      | tar <-> tree                                                    | store              |
//! | `registry`   | a reference -> manifests and blobs, and back                    | network            |
//! | `images`     | names -> manifests, configs, roots                              | image records      |
//! | `source`     | contexts and images -> trees                                    | reads files        |
//! | `sandbox`    | a process specification -> a process, cut off                   | processes, mounts  |
//! | `snapshot`   | a tree -> a writable directory -> a tree                        | mounts, store      |
//! | `exec`       | one op and its inputs -> a snapshot                             | all of the above   |
//! | `export`     | a built image -> archive, layout, directory                     | writes files       |
//! | `engine`     | a request -> an outcome                                         | composition root   |
//! | `server`     | bytes on a socket <-> requests                                  | sockets            |
//! | `cli`        | arguments -> requests; outcomes -> text and an exit status      | the terminal       |
//!
//! Data flows down this table and nowhere up: a module uses only modules above it (`tests/layering.rs`).

pub mod cli;
pub mod dockerfile;
pub mod engine;
pub mod exec;
pub mod export;
pub mod images;
pub mod layer;
pub mod oci;
pub mod plan;
pub mod progress;
pub mod registry;
pub mod sandbox;
pub mod server;
pub mod snapshot;
pub mod solve;
pub mod source;
