//! One process, cut off: a specification becomes a process with its own namespaces, root, capabilities, seccomp filter.
//!
//! In: a `Spec` and a root filesystem. Out: a `Running`, then an `Exit`. A small single-threaded helper forks the processes,
//! never the threaded engine. All `unsafe` is in `sys.rs`. Works as root and, through a user namespace, as an ordinary user.
//!
//! ```text
//! engine -- Helper ----control socket---- launcher   outlives the helper to remove cgroups
//!    |                                     helper     pid 1 of its own pid namespace, one thread: its end ends every container
//!    `---- Running ----channel-------------- command   pid 1 of the container, or its init
//! ```
//!
//! | file       | turns what into what                                                        |
//! |------------|-----------------------------------------------------------------------------|
//! | `error`    | a failed step -> what it was, what to do                                    |
//! | `wire`     | messages and descriptors <-> datagrams                                      |
//! | `client`   | the engine's side: `Helper`, `Running`                                      |
//! | `launch`   | the helper's start: user namespace, sealed executable, pid namespace        |
//! | `subids`   | /etc/subuid, newuidmap -> an id mapping                                     |
//! | `serve`    | the helper's loop: requests -> children, their ends -> events               |
//! | `cgroup`   | limits -> cgroups (v1, v2, hybrid, none)                                    |
//! | `container`| one child: the order of all steps from the fork to the exec                 |
//! | `root`     | a root filesystem and its mounts -> the child's `/`                         |
//! | `devices`  | host devices, terminals -> /dev                                             |
//! | `mount`    | types, paths -> detached mounts; their places                               |
//! | `target`   | a path in a hostile root -> a descriptor, stubs where nothing was           |
//! | `process`  | limits, capabilities, filter, identity                                      |
//! | `command`  | arguments -> the command, or why it cannot be executed                      |
//! | `capability` | names <-> bits; Docker's default set                                      |
//! | `seccomp`  | Docker's profile -> BPF                                                     |
//!
//! **Stubs.** What is mounted over must exist. Where the image has no `/proc`, `/etc/hosts` and so on, the sandbox creates an
//! empty directory or file and reports it ([`Running::created_stubs`]); times of the parent directory are put back. Whoever
//! commits the filesystem removes those that are still empty, so that they enter no snapshot.
//!
//! **Devices.** Device nodes can be made and stored in an image; opened are Docker's few. Where no device cgroup can see to that (an
//! ordinary user's containers, a host without cgroups), every mount but /dev/pts and the bound host devices is `nodev`.
//!
//! **Ordinary users.** One user namespace for the whole helper: container id 0 is the user, 1 to 65535 are its subordinate ids, so
//! owners in a tree are the container's and the same whoever builds. Without newuidmap, without 65535 subordinate ids or without
//! user namespaces the helper doesn't start, and [`SandboxError::hint`] says what to do: one mapped id alone would make the first
//! chown of a package manager fail far from its cause. Devices are refused by `nodev`, limits need a delegated cgroup.
//!
//! **Unlike Docker's defaults**: the soft limit of open files is 1024 (many programs close them all) and no core is dumped (it would
//! be in the image); ulimits of a Spec change both. cgroup v1 isn't shown below /sys/fs/cgroup, v2 is. No `AppArmor` profile is loaded.

mod capability;
mod cgroup;
mod client;
mod command;
mod container;
mod devices;
mod error;
mod launch;
mod mount;
mod process;
mod root;
mod seccomp;
mod serve;
mod subids;
mod sys;
mod target;
mod wire;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use client::{Helper, Running};
pub use error::{SandboxError, Step};
pub use launch::{COMMAND as HELPER_COMMAND, helper_main};

use crate::plan::Network;

/// How a process ended. A failed command is a value, not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// Exit status. 126: could not be executed, 127: not found.
    Code(i32),
    /// Killed by this signal.
    Signal(i32),
    /// Killed for memory by its cgroup.
    OutOfMemory,
}

/// Ids a process runs with, container-relative.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// A mount into the container, on top of its root and of /proc, /dev, /sys, resolv.conf, hosts, hostname.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mount {
    /// A host path (a file or directory).
    Bind {
        /// On the host.
        source: PathBuf,
        /// In the container, absolute; created when missing.
        target: String,
        /// Whether writes are refused.
        read_only: bool,
    },
    /// A fresh tmpfs.
    Tmpfs {
        /// In the container, absolute; created when missing.
        target: String,
        /// Bytes; 0 is no limit.
        size: u64,
        /// Permission bits.
        mode: u16,
    },
}

/// A resource limit of a process, by its `setrlimit(2)` name in lower case without `RLIMIT_` (`nofile`), as `--ulimit` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, `nproc`, `core`, ...
    pub name: String,
    /// Soft limit; `None` is unlimited.
    pub soft: Option<u64>,
    /// Hard limit; `None` is unlimited.
    pub hard: Option<u64>,
}

/// What a container may use. The default is Docker's: no limit but the ulimits of a plain `docker run`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory, page cache included. Needs a memory cgroup.
    pub memory: Option<u64>,
    /// Processes and threads. Needs a pids cgroup.
    pub pids: Option<u64>,
    /// Bytes of /dev/shm; `None` is 64 MiB.
    pub shm: Option<u64>,
    /// Over the defaults.
    pub ulimits: Vec<Ulimit>,
}

/// A container process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches, as `docker run` has them"
)]
pub struct Spec {
    /// Arguments; `argv[0]` is looked up in the container's PATH.
    pub argv: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Absolute; must exist.
    pub cwd: String,
    /// Who runs it.
    pub identity: Identity,
    /// Hostname of the container.
    pub hostname: String,
    /// Network.
    pub network: Network,
    /// Content of /etc/hosts, complete; bind-mounted, never written into the tree.
    pub hosts: String,
    /// Content of /etc/resolv.conf.
    pub resolv_conf: String,
    /// Further mounts, in order.
    pub mounts: Vec<Mount>,
    /// Whether a tty is allocated; then stdin, stdout and stderr are it.
    pub tty: bool,
    /// Whether the root filesystem is mounted read-only.
    pub read_only: bool,
    /// Whether capabilities and seccomp are lifted.
    pub privileged: bool,
    /// Whether a minimal init (pid 1) forwards signals and reaps; otherwise the process itself is pid 1.
    pub init: bool,
    /// What it may use.
    pub limits: Limits,
}

/// What a container's root is.
pub enum RootFilesystem {
    /// A FUSE filesystem, mounted inside the container's own namespaces; the callback gets the /dev/fuse descriptor, before
    /// anything looks into the mount, and starts serving it.
    Fuse(Box<dyn FnOnce(OwnedFd) -> std::io::Result<()> + Send>),
    /// A host directory.
    Directory(PathBuf),
}

/// A process's standard streams; with a tty they are not used.
#[derive(Debug)]
pub struct Stdio {
    /// Standard input.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

/// A mount point that the image lacked and the sandbox created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stub {
    /// In the container: absolute, no symlinks on the way.
    pub path: String,
    /// A directory, otherwise an empty file.
    pub directory: bool,
}
