//! A writable filesystem over one immutable tree: what a step's processes see as their root.
//!
//! | module     | turns what into what                                              | effects            |
//! |------------|-------------------------------------------------------------------|--------------------|
//! | `error`    | every way it fails, towards the engine and the kernel             | log                |
//! | `protocol` | what the kernel asks and is told, in our own words                | none               |
//! | `acl`      | POSIX ACLs: modes, inheritance                                    | none               |
//! | `staging`  | written bytes -> memory, then disk, until sealed                  | memory, disk       |
//! | `content`  | writes over immutable content -> bytes; sealing what was staged   | staging, store     |
//! | `lower`    | immutable directories, stored or frozen; sealing them             | store              |
//! | `links`    | the base's hard-link table, by directory                          | none               |
//! | `inode`    | inodes by number, clean, changed or nameless                      | none               |
//! | `upper`    | what this mount changed over its base                             | reads the store    |
//! | `commit`   | the upper -> an immutable tree, in O(changed)                     | none               |
//! | `frozen`   | an immutable tree -> a base for the next mount, a `TreeRef`       | store              |
//! | `trace`    | what a step asked for, counted                                    | none               |
//! | `fs`       | each message's meaning                                            | upper, staging     |
//! | `stubs`    | mount points that were made for the sandbox -> gone               | upper              |
//! | `adapter`  | fuser's calls <-> `fs`; fuser's types stop here                   | none               |
//! | `mount`    | the device, and mounting it from a helper's child                 | mount              |
//! | `session`  | threads that serve one mount from its first message to its last   | threads            |
//!
//! What of POSIX holds is in `SEMANTICS.md`.

mod acl;
mod adapter;
mod commit;
mod content;
mod error;
mod frozen;
mod fs;
mod inode;
mod links;
mod lower;
mod mount;
mod protocol;
mod session;
mod staging;
mod stubs;
mod trace;
mod upper;

pub use commit::Stats;
pub use error::FsError;
pub use frozen::{Base, Found, Frozen};
pub use fs::Options;
pub use mount::{MOUNT_OPTIONS, mount_at, open_device};
pub use session::Session;
