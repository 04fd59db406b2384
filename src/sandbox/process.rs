//! The last steps before the command: limits, capabilities, filter, identity.
//!
//! In: a Spec, in a child whose root is the container's. Effect: this process is confined. The filter goes in while `CAP_SYS_ADMIN` is still there, since
//! `no_new_privs` stays off: setuid programs must work in a step.

use std::io;

use nix::errno::Errno;
use rustix::process::{Gid, Resource, Rlimit, Uid, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use super::capability::{DEFAULT_CAPABILITIES, drop_all_but};
use super::error::{During, Failure, Step};
use super::sys::{self, Instruction};
use super::{Spec, Ulimit};

/// Files: many programs close every number up to the soft limit, so that one is systemd's and newer Dockers' and not a million.
const FILES: (u64, u64) = (1024, 524_288);
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
    drop_all_but(allowed).during(|| Step::Capabilities)?;
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
