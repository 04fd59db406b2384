//! What can go wrong, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A step of starting a container, named in errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Reading what the engine sent.
    Request,
    /// Creating the namespaces of the helper or of a container.
    Namespaces,
    /// Creating a user namespace as an ordinary user.
    UserNamespace,
    /// Finding the ranges of ids that belong to this user.
    SubordinateIds {
        /// Who runs the engine.
        user: String,
        /// `/etc/subuid` or `/etc/subgid`.
        file: String,
    },
    /// Mapping ids with `newuidmap` or `newgidmap`.
    MapIds {
        /// Which of the two.
        program: String,
        /// What it printed.
        message: String,
    },
    /// Protecting the helper's own executable from what it starts.
    SealExecutable,
    /// Compiling the system call filter.
    Profile,
    /// Creating or joining a cgroup.
    Cgroup,
    /// Setting a limit that no cgroup here can hold.
    Limit {
        /// `memory` or `pids`.
        name: String,
    },
    /// Opening /dev/fuse.
    OpenFuse,
    /// Mounting something.
    Mount {
        /// Where in the container.
        target: String,
    },
    /// Opening what is to be mounted.
    Source {
        /// On the host.
        path: PathBuf,
    },
    /// Moving to the new root.
    Pivot,
    /// Setting the hostname.
    Hostname,
    /// Bringing loopback up.
    Loopback,
    /// Allocating the terminal.
    Terminal,
    /// Setting a resource limit.
    Ulimit {
        /// Its name.
        name: String,
    },
    /// Changing to the working directory.
    WorkingDirectory {
        /// In the container.
        path: String,
    },
    /// Dropping capabilities.
    Capabilities,
    /// Installing the system call filter.
    Seccomp,
    /// Changing user and groups.
    Identity {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// Joining a running container.
    Join,
    /// Reading arguments or environment.
    Arguments,
    /// Starting the minimal init.
    Init,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("read the request"),
            Self::Namespaces => f.write_str("create the container's namespaces"),
            Self::UserNamespace => f.write_str("create a user namespace"),
            Self::SubordinateIds { user, file } => {
                write!(f, "find 65536 subordinate ids for {user} in {file}")
            }
            Self::MapIds { program, message } if message.is_empty() => write!(f, "map ids with {program}"),
            Self::MapIds { program, message } => write!(f, "map ids with {program} ({message})"),
            Self::SealExecutable => f.write_str("make the helper's executable read-only"),
            Self::Profile => f.write_str("compile the system call filter"),
            Self::Cgroup => f.write_str("set up the cgroup"),
            Self::Limit { name } => write!(f, "limit {name}: no cgroup controller for it here"),
            Self::OpenFuse => f.write_str("open /dev/fuse"),
            Self::Mount { target } => write!(f, "mount {target}"),
            Self::Source { path } => write!(f, "open {} for a mount", path.display()),
            Self::Pivot => f.write_str("move to the container's root"),
            Self::Hostname => f.write_str("set the hostname"),
            Self::Loopback => f.write_str("bring loopback up"),
            Self::Terminal => f.write_str("allocate a terminal"),
            Self::Ulimit { name } => write!(f, "set ulimit {name}"),
            Self::WorkingDirectory { path } => write!(f, "change to the working directory {path}"),
            Self::Capabilities => f.write_str("set capabilities"),
            Self::Seccomp => f.write_str("install the system call filter"),
            Self::Identity { uid, gid } => write!(f, "become user {uid}, group {gid}"),
            Self::Join => f.write_str("join the container"),
            Self::Arguments => f.write_str("pass arguments and environment (is there a NUL byte in them?)"),
            Self::Init => f.write_str("start the init process"),
        }
    }
}

/// A failed step, as it crosses from the helper to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) errno: i32,
}

impl Failure {
    pub(super) fn new(step: Step, error: &io::Error) -> Self {
        Self {
            step,
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}

/// Names the step that an error belongs to.
pub(super) trait During<T> {
    /// # Errors
    /// The same, with its step.
    fn during(self, step: impl FnOnce() -> Step) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: impl FnOnce() -> Step) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(step(), &error.into()))
    }
}

/// Why no container came to be, or what became of one cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The helper process could not be started.
    #[error("cannot start the sandbox helper {}", executable.display())]
    Start {
        /// What was to be executed.
        executable: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The helper ended, and with it every container.
    #[error("the sandbox helper ended, and with it every container")]
    Gone,
    /// A step of the set-up failed; the command was not run.
    #[error("cannot {step}")]
    Setup {
        /// Which step.
        step: Step,
        /// The system's answer.
        source: io::Error,
    },
    /// The process ended while it was set up, before its command.
    #[error("the container ended before its command started ({exit:?})")]
    Died {
        /// How.
        exit: super::Exit,
    },
    /// The root filesystem could not be served.
    #[error("cannot serve the root filesystem")]
    Serve {
        /// What the callback gave.
        source: io::Error,
    },
    /// The engine and its helper could not talk.
    #[error("cannot talk to the sandbox helper")]
    Talk {
        /// Why.
        source: io::Error,
    },
}

impl From<Failure> for SandboxError {
    fn from(failure: Failure) -> Self {
        Self::Setup {
            step: failure.step,
            source: io::Error::from_raw_os_error(failure.errno),
        }
    }
}

impl SandboxError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        let Self::Setup { step, source } = self else {
            return None;
        };
        let errno = source.raw_os_error().unwrap_or(0);
        match step {
            Step::OpenFuse if errno == libc::ENOENT || errno == libc::ENXIO || errno == libc::ENODEV => {
                Some("load the kernel's FUSE module: modprobe fuse".into())
            }
            Step::OpenFuse => Some(
                "let users open it: chmod 666 /dev/fuse, and for good: \
                 echo 'KERNEL==\"fuse\", MODE=\"0666\"' > /etc/udev/rules.d/60-fuse.rules"
                    .into(),
            ),
            Step::UserNamespace => Some(user_namespace_hint().into()),
            Step::SubordinateIds { user, .. } => Some(format!(
                "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user} \
                 (a line {user}:100000:65536 in /etc/subuid and in /etc/subgid)"
            )),
            Step::MapIds { program, .. } if errno == libc::ENOENT => Some(format!(
                "install {program}: apt-get install uidmap (Fedora: shadow-utils)"
            )),
            Step::MapIds { program, .. } => Some(format!(
                "{program} must be setuid root or have its file capability; \
                 /etc/subuid and /etc/subgid must give this user the range"
            )),
            Step::Limit { .. } => Some("mount the cgroup controllers, or build without this limit".into()),
            Step::Mount { target } if target == "/proc" && errno == libc::EPERM => Some(
                "this process runs inside a container that masks parts of /proc: \
                 run the outer container with --security-opt systempaths=unconfined"
                    .into(),
            ),
            Step::Namespaces if errno == libc::ENOSPC => {
                Some("raise the limits in /proc/sys/user/max_*_namespaces".into())
            }
            _ => None,
        }
    }
}

/// Which of the kernel's several locks refuses user namespaces, as far as /proc tells.
fn user_namespace_hint() -> &'static str {
    let is = |path: &str, value: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "as root: sysctl -w kernel.unprivileged_userns_clone=1"
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "as root: sysctl -w user.max_user_namespaces=65536"
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give silt an AppArmor profile that allows userns"
    } else {
        "user namespaces are refused here (a container's seccomp filter, or a security module): run as root, or allow them"
    }
}
