//! The helper's start.
//!
//! In: the control socket as standard input. The launcher forks the helper into a pid and mount namespace of its own, as an ordinary
//! user also into a user namespace whose ids it maps, and stays to remove the cgroups. The helper then executes this very file
//! again from a read-only mount that no path leads to: a container that gets hold of its `/proc/self/exe` (CVE-2019-5736) cannot
//! write to it. Host mounts and unmounts reach the helper (its mounts are slaves), never the other way round.

use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use nix::fcntl::AtFlags;
use nix::sched::CloneFlags;
use nix::unistd::execveat;
use rustix::fs::CWD;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, OpenTreeFlags, mount_change, open_tree};
use rustix::process::{Pid, WaitOptions};
use rustix::thread::{CapabilitySet, capabilities};

use super::cgroup::Cgroups;
use super::error::{During, Failure, Step};
use super::sys::{self, SingleThreaded};
use super::wire::{self, Hello};
use super::{serve, subids};

/// The hidden command that runs [`helper_main`].
pub const COMMAND: &str = "sandbox-helper";
const INSIDE: &str = "inside";

/// The whole of the hidden command `silt sandbox-helper`: the body of the launcher and of the helper. `control` is a duplicate of
/// standard input, which [`super::Helper`] made a socket.
pub fn helper_main(control: OwnedFd) -> ExitCode {
    let mut arguments = std::env::args()
        .skip_while(|argument| argument != COMMAND)
        .skip(1);
    sys::default_signals();
    // Executed by descriptor or as /proc/self/exe it would be listed under another name.
    let _named = nix::sys::prctl::set_name(c"silt");
    // Of this socket only the duplicate is kept: the engine sees the end of the helper when the last copy closes.
    let inside = arguments.next().as_deref() == Some(INSIDE);
    let closed = sys::close_others(control.as_fd());
    if inside {
        let name = arguments.next().unwrap_or_default();
        return match closed.and_then(|()| replace_stdin()) {
            Ok(()) => serve::run(&control, &name),
            Err(error) => fail(&control, Failure::new(Step::Request, &error)),
        };
    }
    let name = format!("silt-{}", std::process::id());
    let cgroups = Cgroups::create(&name);
    let code = match closed.during(|| Step::Request).and_then(|()| launch(&cgroups)) {
        Ok(helper) => {
            drop(control);
            wait_for(helper)
        }
        Err(failure) => fail(&control, failure),
    };
    cgroups.remove();
    code
}

fn fail(control: &OwnedFd, failure: Failure) -> ExitCode {
    // If the engine is gone, too, nobody is left to tell.
    drop(wire::send(control.as_fd(), &Hello::Failed(failure), &[]));
    ExitCode::FAILURE
}

fn replace_stdin() -> io::Result<()> {
    Ok(rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?)
}

/// Forks the helper, maps its ids and lets it go on.
fn launch(cgroups: &Cgroups) -> Result<Pid, Failure> {
    let proof = SingleThreaded::prove().during(|| Step::Namespaces)?;
    // A terminal's Ctrl-C is for the engine, which ends the helper in order.
    nix::unistd::setsid().during(|| Step::Namespaces)?;
    let mut namespaces = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
    let ordinary = !capabilities(None)
        .during(|| Step::Capabilities)?
        .effective
        .contains(CapabilitySet::SYS_ADMIN);
    if ordinary {
        namespaces |= CloneFlags::CLONE_NEWUSER;
    }
    let words = cgroups.to_words().during(|| Step::Cgroup)?;
    let (wait, mut go) = io::pipe().during(|| Step::Namespaces)?;
    let step = if ordinary {
        Step::UserNamespace
    } else {
        Step::Namespaces
    };
    let Some(helper) = sys::fork_into(proof, namespaces.bits()).during(|| step)? else {
        drop(go);
        let Err(failure) = enter(wait, &words);
        sys::exit(fail_on_stdin(failure));
    };
    drop(wait);
    replace_stdin().during(|| Step::Request)?;
    let mapped = if ordinary {
        subids::map(helper.as_raw_nonzero().get())
    } else {
        Ok(())
    };
    // Without this byte the helper ends by itself.
    mapped.and_then(|()| go.write_all(b"!").during(|| Step::Namespaces))?;
    Ok(helper)
}

fn fail_on_stdin(failure: Failure) -> i32 {
    drop(wire::send(io::stdin().as_fd(), &Hello::Failed(failure), &[]));
    1
}

/// In the new namespaces: waits for the ids, then executes this file again, read-only.
fn enter(mut wait: io::PipeReader, cgroups: &str) -> Result<std::convert::Infallible, Failure> {
    let mut byte = [0];
    io::Read::read_exact(&mut wait, &mut byte).during(|| Step::Namespaces)?;
    // Where this user was mapped in, it is root there already; its group may be another.
    rustix::thread::set_thread_res_gid(
        rustix::process::Gid::ROOT,
        rustix::process::Gid::ROOT,
        rustix::process::Gid::ROOT,
    )
    .during(|| Step::UserNamespace)?;
    mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )
    .during(|| Step::Namespaces)?;
    let sealed = seal().during(|| Step::SealExecutable)?;
    let words = ["silt", COMMAND, INSIDE, cgroups]
        .map(CString::new)
        .into_iter()
        .collect::<Result<Vec<_>, _>>();
    let words = words.map_err(io::Error::from).during(|| Step::Arguments)?;
    execveat(&sealed, c"", &words, &[] as &[CString], AtFlags::AT_EMPTY_PATH).during(|| Step::SealExecutable)
}

/// This executable, on a mount of its own that is read-only. It is found by its path, since the running file belongs to the
/// mount namespace that was left; a file that was replaced in between is refused.
fn seal() -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let file = open_tree(CWD, std::fs::read_link("/proc/self/exe")?, flags)?;
    let (found, own) = (rustix::fs::fstat(&file)?, rustix::fs::stat("/proc/self/exe")?);
    if (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino) {
        return Err(rustix::io::Errno::STALE.into());
    }
    sys::set_mount_attributes(
        file.as_fd(),
        u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits()),
        false,
    )?;
    Ok(file)
}

fn wait_for(helper: Pid) -> ExitCode {
    loop {
        match rustix::process::waitpid(Some(helper), WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(Some((_, status))) if status.exit_status() == Some(0) => return ExitCode::SUCCESS,
            _ => return ExitCode::FAILURE,
        }
    }
}
