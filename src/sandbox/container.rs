//! One child of the helper: every step from the fork to the command, in order.
//!
//! In: a Spec, a channel, streams, in a child that is pid 1 of a new pid namespace (or, for a further process, a member of one).
//! Effect: this process becomes the command. Whatever fails goes to the engine as a `Failed` event and ends the child.
//! The order is the decision: FUSE is mounted first, so that the engine serves it while the rest is gathered; the filter goes in
//! before capabilities are dropped; `Started` is sent last, so that set-up errors are never mistaken for the command's.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::SigSet;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::cgroup::Cgroup;
use super::command::Command;
use super::devices::open_slave;
use super::error::{During, Failure, Step};
use super::mount;
use super::process::{confine, default_limits};
use super::root::{Root, Sources};
use super::sys::{self, Instruction, SingleThreaded};
use super::wire::{self, Event};
use super::{Spec, Stdio, Stub};
use crate::plan::Network;

/// The group of terminals wherever there is one.
const TTY_GROUP: u32 = 5;
/// The status of a child whose set-up failed; the engine hears of the failure itself.
const SETUP_FAILED: i32 = 125;

/// A child of the helper before it is anything else.
pub(super) struct Child<'a> {
    pub(super) proof: SingleThreaded,
    pub(super) spec: &'a Spec,
    pub(super) filter: &'a [Instruction],
    pub(super) cgroup: &'a Cgroup,
    pub(super) channel: OwnedFd,
    pub(super) stdio: Stdio,
}

impl Child<'_> {
    /// Becomes the first process of a new container.
    pub(super) fn start(self, root: &wire::Root) -> ! {
        let outcome = self.contained(root);
        self.fail(outcome)
    }

    /// Becomes a further process of the container whose first process `leader` is a pidfd of.
    pub(super) fn join(self, leader: &OwnedFd, network: Network) -> ! {
        let outcome = self.joined(leader, network);
        self.fail(outcome)
    }

    fn fail(&self, outcome: Result<Infallible, Failure>) -> ! {
        let Err(failure) = outcome;
        // When the engine is gone too, nobody is left to be told.
        drop(self.tell(&Event::Failed(failure), &[]));
        sys::exit(SETUP_FAILED)
    }

    fn tell(&self, event: &Event, descriptors: &[std::os::fd::BorrowedFd<'_>]) -> Result<(), Failure> {
        wire::send(self.channel.as_fd(), event, descriptors).during(|| Step::Request)
    }

    fn contained(&self, root: &wire::Root) -> Result<Infallible, Failure> {
        // Before the cgroup, which refuses this device.
        let device = match root {
            wire::Root::Fuse => Some(silt_fuse::open_device().during(|| Step::OpenFuse)?),
            wire::Root::Directory(_) => None,
        };
        let pid = self.begin()?;
        unshare(CloneFlags::CLONE_NEWCGROUP).during(|| Step::Namespaces)?;
        mount::make_private().during(|| Step::Namespaces)?;
        let detached = self.root_mount(root, device)?;
        let sources = Sources::open(self.spec, self.devices())?;
        let root = Root::attach(detached, self.spec)?;
        let stubs = root.fill(self.spec, sources)?;
        let terminal = if self.spec.tty {
            Some(root.terminal().during(|| Step::Terminal)?)
        } else {
            None
        };
        root.enter(self.spec.read_only).during(|| Step::Pivot)?;
        nix::unistd::sethostname(&self.spec.hostname).during(|| Step::Hostname)?;
        if self.spec.network == Network::None {
            let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
            socket
                .map_err(Into::into)
                .and_then(|socket| sys::loopback_up(socket.as_fd()))
                .during(|| Step::Loopback)?;
        }
        self.finish(pid, terminal, stubs)
    }

    fn joined(&self, leader: &OwnedFd, network: Network) -> Result<Infallible, Failure> {
        let pid = self.begin()?;
        let mut namespaces = CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWCGROUP;
        // The host's network is this process's already, and an ordinary user may not enter it.
        if network == Network::None {
            namespaces |= CloneFlags::CLONE_NEWNET;
        }
        setns(leader, namespaces).during(|| Step::Join)?;
        let terminal = if self.spec.tty {
            Some(open_terminal().during(|| Step::Terminal)?)
        } else {
            None
        };
        self.finish(pid, terminal, Vec::new())
    }

    /// What holds for every child: no blocked signal, a session, limits, the cgroup. Gives the pid as the host has it.
    fn begin(&self) -> Result<i32, Failure> {
        SigSet::all().thread_unblock().during(|| Step::Namespaces)?;
        let own = rustix::fs::readlink("/proc/self", Vec::new()).during(|| Step::Namespaces)?;
        let pid = own.to_str().ok().and_then(|own| own.parse().ok()).unwrap_or(0);
        nix::unistd::setsid().during(|| Step::Namespaces)?;
        default_limits()?;
        self.cgroup.join().during(|| Step::Cgroup)?;
        Ok(pid)
    }

    /// Whether device nodes may be opened, since something other than mounts says which.
    fn devices(&self) -> bool {
        self.spec.privileged || self.cgroup.guards_devices()
    }

    fn root_mount(&self, root: &wire::Root, device: Option<OwnedFd>) -> Result<OwnedFd, Failure> {
        let at_root = || mount::at("/");
        match (root, device) {
            (wire::Root::Directory(path), _) => mount::directory(path, self.devices()).during(at_root),
            (wire::Root::Fuse, Some(device)) => {
                let root = mount::fuse(device.as_fd(), self.devices()).during(at_root)?;
                self.tell(&Event::Device, &[device.as_fd()])?;
                Ok(root)
            }
            (wire::Root::Fuse, None) => Err(rustix::io::Errno::NODEV).during(|| Step::OpenFuse),
        }
    }

    fn finish(
        &self,
        pid: i32,
        terminal: Option<(OwnedFd, OwnedFd)>,
        stubs: Vec<Stub>,
    ) -> Result<Infallible, Failure> {
        let command = Command::new(self.spec)?;
        self.streams(terminal).during(|| Step::Terminal)?;
        confine(self.spec, self.filter)?;
        if self.spec.init {
            // From `Started` on the engine may send signals; the init takes them when it is there.
            SigSet::all().thread_block().during(|| Step::Init)?;
        }
        self.tell(&Event::Started { pid, stubs }, &[])?;
        if self.spec.init {
            command.execute_under_init(self.proof)
        } else {
            command.execute()
        }
    }

    /// Makes the streams standard input, output and error; a terminal becomes the session's.
    fn streams(&self, terminal: Option<(OwnedFd, OwnedFd)>) -> std::io::Result<()> {
        use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
        let Some((master, slave)) = terminal else {
            dup2_stdin(&self.stdio.stdin)?;
            dup2_stdout(&self.stdio.stdout)?;
            return Ok(dup2_stderr(&self.stdio.stderr)?);
        };
        wire::send(self.channel.as_fd(), &Event::Terminal, &[master.as_fd()])?;
        let (uid, gid) = (
            rustix::fs::Uid::from_raw(self.spec.identity.uid),
            rustix::fs::Gid::from_raw(TTY_GROUP),
        );
        rustix::fs::fchown(&slave, Some(uid), Some(gid))?;
        rustix::process::ioctl_tiocsctty(&slave)?;
        dup2_stdin(&slave)?;
        dup2_stdout(&slave)?;
        Ok(dup2_stderr(&slave)?)
    }
}

/// A new terminal of the container that this process has joined: master and slave.
fn open_terminal() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let master = rustix::fs::open(
        "/dev/pts/ptmx",
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let slave = open_slave(&master)?;
    Ok((master, slave))
}
