//! The last steps before the command: limits, capabilities, filter, identity, then the command itself.
//!
//! In: a Spec, in a child whose root is the container's. Effect: this process becomes the command, or says on its standard error why
//! it cannot, in Docker's words, and ends with 126 or 127. The filter goes in while `CAP_SYS_ADMIN` is still there, since
//! `no_new_privs` stays off: setuid programs must work in a step.

use std::ffi::{CStr, CString};
use std::io;

use nix::errno::Errno;
use nix::unistd::execve;
use rustix::process::{Gid, Resource, Rlimit, Uid, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::error::{During, Failure, Step};
use super::sys::{self, Instruction, SingleThreaded};
use super::{Spec, Ulimit};

/// In the order of their numbers.
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Docker's fourteen; a test names them.
pub(super) const DEFAULT_CAPABILITIES: u64 = 0xa804_25fb;

/// The bit of a capability by its name.
pub(super) fn capability(name: &str) -> io::Result<u64> {
    let number = CAPABILITIES
        .iter()
        .position(|known| *known == name)
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok(1 << number)
}

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Files: many programs close every number up to the soft limit, so that one is systemd's and newer Dockers' and not a million.
const FILES: (u64, u64) = (1024, 524_288);
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// Applies everything but the identity's effect on paths: limits, bounding set, filter, working directory, groups and user.
pub(super) fn confine(spec: &Spec, filter: &[Instruction]) -> Result<(), Failure> {
    for limit in &spec.limits.ulimits {
        set_ulimit(limit).during(|| Step::Ulimit {
            name: limit.name.clone(),
        })?;
    }
    let mut allowed = capabilities(None).during(|| Step::Capabilities)?.permitted;
    if !spec.privileged {
        allowed &= CapabilitySet::from_bits_retain(DEFAULT_CAPABILITIES);
    }
    drop_bounding(allowed).during(|| Step::Capabilities)?;
    if !spec.privileged {
        sys::install_filter(filter).during(|| Step::Seccomp)?;
    }
    rustix::process::chdir(&spec.cwd).during(|| Step::WorkingDirectory {
        path: spec.cwd.clone(),
    })?;
    let identity = &spec.identity;
    become_user(identity.uid, identity.gid, &identity.groups).during(|| Step::Identity {
        uid: identity.uid,
        gid: identity.gid,
    })?;
    if identity.uid == 0 {
        let sets = CapabilitySets {
            effective: allowed,
            permitted: allowed,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets).during(|| Step::Capabilities)?;
    }
    Ok(())
}

/// Limits and mask that every process of a container starts with.
pub(super) fn default_limits() -> Result<(), Failure> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let hard = getrlimit(Resource::Nofile)
        .maximum
        .map_or(FILES.1, |hard| hard.min(FILES.1));
    let files = Rlimit {
        current: Some(FILES.0.min(hard)),
        maximum: Some(hard),
    };
    setrlimit(Resource::Nofile, files).during(|| Step::Ulimit {
        name: "nofile".into(),
    })?;
    // A step that crashes leaves no core file in the image.
    let core = Rlimit {
        current: Some(0),
        maximum: getrlimit(Resource::Core).maximum,
    };
    setrlimit(Resource::Core, core).during(|| Step::Ulimit { name: "core".into() })
}

fn set_ulimit(limit: &Ulimit) -> io::Result<()> {
    let resource = match limit.name.as_str() {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return Err(Errno::EINVAL.into()),
    };
    Ok(setrlimit(
        resource,
        Rlimit {
            current: limit.soft,
            maximum: limit.hard,
        },
    )?)
}

/// Empties the ambient and inheritable sets and takes from the bounding set all that is not `allowed`.
fn drop_bounding(allowed: CapabilitySet) -> io::Result<()> {
    clear_ambient_capability_set()?;
    for number in 0..64 {
        let bit = CapabilitySet::from_bits_retain(1 << number);
        if allowed.contains(bit) {
            continue;
        }
        match remove_capability_from_bounding_set(bit) {
            Ok(()) => {}
            // The kernel has no capability of this number, nor of any above.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let mut sets = capabilities(None)?;
    sets.inheritable = CapabilitySet::empty();
    Ok(set_capabilities(None, sets)?)
}

fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let no_id = |id: u32| id == u32::MAX;
    if no_id(uid) || no_id(gid) || groups.iter().copied().any(no_id) {
        return Err(Errno::EINVAL.into());
    }
    let groups: Vec<Gid> = groups.iter().map(|&id| Gid::from_raw(id)).collect();
    set_thread_groups(&groups)?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_res_gid(gid, gid, gid)?;
    Ok(set_thread_res_uid(uid, uid, uid)?)
}

/// Arguments and environment as the kernel wants them.
pub(super) struct Command {
    arguments: Vec<CString>,
    environment: Vec<CString>,
    candidates: Vec<CString>,
}

impl Command {
    /// # Errors
    /// When there are no arguments, or one holds a NUL byte.
    pub(super) fn new(spec: &Spec) -> Result<Self, Failure> {
        let strings = |from: &[String]| {
            from.iter()
                .map(|text| CString::new(text.as_str()).map_err(|_| Errno::EINVAL))
                .collect::<Result<Vec<_>, _>>()
        };
        let program = spec
            .argv
            .first()
            .ok_or(Errno::EINVAL)
            .during(|| Step::Arguments)?;
        let path = spec
            .env
            .iter()
            .rev()
            .find_map(|variable| variable.strip_prefix("PATH="))
            .unwrap_or(DEFAULT_PATH);
        let candidates: Vec<String> = if program.contains('/') {
            vec![program.clone()]
        } else if program.is_empty() {
            Vec::new()
        } else {
            path.split(':')
                .map(|directory| join(directory, program))
                .collect()
        };
        Ok(Self {
            arguments: strings(&spec.argv).during(|| Step::Arguments)?,
            environment: strings(&spec.env).during(|| Step::Arguments)?,
            candidates: strings(&candidates).during(|| Step::Arguments)?,
        })
    }

    /// Becomes the command. Comes back only to say why not, on standard error, and ends the process.
    pub(super) fn execute(&self) -> ! {
        let mut answer = Errno::ENOENT;
        let mut tried: Option<&CStr> = None;
        for candidate in &self.candidates {
            let Err(errno) = execve(candidate, &self.arguments, &self.environment);
            match errno {
                Errno::ENOENT | Errno::ENOTDIR if tried.is_none() => answer = Errno::ENOENT,
                Errno::ENOENT | Errno::ENOTDIR => {}
                // A directory of PATH may hold an unreadable one and a later directory the right one.
                Errno::EACCES => (answer, tried) = (errno, Some(candidate.as_c_str())),
                _ => {
                    (answer, tried) = (errno, Some(candidate.as_c_str()));
                    break;
                }
            }
        }
        let name = self
            .arguments
            .first()
            .map(|name| name.to_string_lossy())
            .unwrap_or_default();
        let found = tried.map(CStr::to_string_lossy);
        let (message, status) = explain(&name, found.as_deref(), answer);
        // Nobody is left to hear that standard error is closed.
        drop(io::Write::write_all(&mut io::stderr(), message.as_bytes()));
        sys::exit(status)
    }

    /// Stays as a minimal init: runs the command as a child, passes signals on, reaps, and ends as the child does. All signals are
    /// blocked.
    pub(super) fn execute_under_init(
        &self,
        proof: SingleThreaded,
    ) -> Result<std::convert::Infallible, Failure> {
        use nix::sys::signal::{SigSet, Signal};
        let all = SigSet::all();
        let Some(child) = sys::fork(proof).during(|| Step::Init)? else {
            all.thread_unblock().during(|| Step::Init)?;
            self.execute()
        };
        let child_pid = nix::unistd::Pid::from_raw(child.as_raw_nonzero().get());
        loop {
            match all.wait().during(|| Step::Init)? {
                Signal::SIGCHLD => {
                    if let Some(status) = reap(child_pid) {
                        sys::exit(status);
                    }
                }
                // The child may be gone already; its end is then on its way.
                signal => drop(nix::sys::signal::kill(child_pid, signal)),
            }
        }
    }
}

/// Reaps all that ended; gives the exit status if `main` was among them.
fn reap(main: nix::unistd::Pid) -> Option<i32> {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == main => return Some(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == main => return Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

fn join(directory: &str, program: &str) -> String {
    if directory.is_empty() {
        format!("./{program}")
    } else {
        format!("{directory}/{program}")
    }
}

/// Docker's words and exit status for a command that cannot be executed.
fn explain(name: &str, found: Option<&str>, errno: Errno) -> (String, i32) {
    match (errno, found) {
        (Errno::ENOENT, _) if name.contains('/') => (
            format!("exec: {name:?}: stat {name}: no such file or directory\n"),
            NOT_FOUND,
        ),
        (Errno::ENOENT, _) => (
            format!("exec: {name:?}: executable file not found in $PATH\n"),
            NOT_FOUND,
        ),
        (Errno::EACCES, _) => (format!("exec: {name:?}: permission denied\n"), NOT_EXECUTABLE),
        (errno, found) => (
            format!(
                "exec {}: {}\n",
                found.unwrap_or(name),
                errno.desc().to_lowercase()
            ),
            NOT_EXECUTABLE,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_capabilities_are_dockers() {
        let names = [
            "CHOWN",
            "DAC_OVERRIDE",
            "FOWNER",
            "FSETID",
            "KILL",
            "SETGID",
            "SETUID",
            "SETPCAP",
            "NET_BIND_SERVICE",
            "NET_RAW",
            "SYS_CHROOT",
            "MKNOD",
            "AUDIT_WRITE",
            "SETFCAP",
        ];
        let bits = names
            .iter()
            .map(|name| capability(&format!("CAP_{name}")).unwrap())
            .fold(0, |all, bit| all | bit);
        assert_eq!(bits, DEFAULT_CAPABILITIES);
    }

    #[test]
    fn failures_read_like_dockers() {
        assert_eq!(
            explain("foo", None, Errno::ENOENT),
            ("exec: \"foo\": executable file not found in $PATH\n".into(), 127)
        );
        assert_eq!(
            explain("/foo", None, Errno::ENOENT),
            (
                "exec: \"/foo\": stat /foo: no such file or directory\n".into(),
                127
            )
        );
        assert_eq!(
            explain("/etc", Some("/etc"), Errno::EACCES),
            ("exec: \"/etc\": permission denied\n".into(), 126)
        );
        assert_eq!(
            explain("x", Some("/bin/x"), Errno::ENOEXEC),
            ("exec /bin/x: exec format error\n".into(), 126)
        );
    }
}
