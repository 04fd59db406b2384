//! The helper's loop: requests become children, orders become signals, ends of children become events.
//!
//! In: the control socket, SIGCHLD, the containers' channels. Effect: processes. One thread, and nothing here blocks for long: all
//! set-up is the children's. As pid 1 of its own pid namespace the helper reaps whatever is left to it, and when it ends, for
//! whatever reason, the kernel kills every container.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, WaitOptions, WaitStatus, getrlimit, pidfd_open, setrlimit,
};

use super::capability::DEFAULT_CAPABILITIES;
use super::cgroup::{Cgroup, Cgroups};
use super::container::Child;
use super::error::{During, Failure, Step};
use super::sys::{self, Instruction, SingleThreaded};
use super::wire::{self, Event, Hello, Order, Request};
use super::{Exit, Spec, Stdio, seccomp};
use crate::plan::Network;

/// A living child.
struct Process {
    channel: OwnedFd,
    /// Names the process for as long as it isn't reaped, and its namespaces.
    pidfd: OwnedFd,
    role: Role,
    /// The engine has closed the channel: the process is killed and no longer listened to.
    abandoned: bool,
}

enum Role {
    /// The first process of a container.
    Leader {
        id: u64,
        cgroup: Cgroup,
        network: Network,
    },
    /// A further process.
    Member,
}

struct Server {
    proof: SingleThreaded,
    control: OwnedFd,
    signals: SignalFd,
    own: OwnedFd,
    filter: Vec<Instruction>,
    cgroups: Cgroups,
    processes: HashMap<i32, Process>,
}

/// Serves until the engine closes the control socket.
pub(super) fn run(control: &OwnedFd, cgroups: &str) -> ExitCode {
    let served = match Server::new(control, cgroups) {
        Ok(mut server) => wire::send(control.as_fd(), &Hello::Ready, &[])
            .and_then(|()| server.serve())
            .map_err(|_| ()),
        Err(failure) => wire::send(control.as_fd(), &Hello::Failed(failure), &[]).map_err(|_| ()),
    };
    // An error here means that the engine is gone in the middle of a word; the end of this process is the answer.
    if served.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Server {
    fn new(control: &OwnedFd, cgroups: &str) -> Result<Self, Failure> {
        let proof = SingleThreaded::prove().during(|| Step::Namespaces)?;
        // What a container's process can see of a joining one before its exec: nothing.
        nix::sys::prctl::set_dumpable(false).during(|| Step::Namespaces)?;
        // Two descriptors for each process; containers get limits of their own.
        let files = getrlimit(Resource::Nofile).maximum;
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: files,
                maximum: files,
            },
        )
        .during(|| Step::Ulimit {
            name: "nofile".into(),
        })?;
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block().during(|| Step::Namespaces)?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK);
        Ok(Self {
            proof,
            control: control.try_clone().during(|| Step::Request)?,
            signals: signals.during(|| Step::Namespaces)?,
            own: pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).during(|| Step::Namespaces)?,
            filter: seccomp::compile(DEFAULT_CAPABILITIES).during(|| Step::Profile)?,
            cgroups: Cgroups::from_words(cgroups).during(|| Step::Cgroup)?,
            processes: HashMap::new(),
        })
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            let (requested, ended, spoken) = self.wait()?;
            for pid in spoken {
                self.obey(pid);
            }
            if ended {
                while self.signals.read_signal()?.is_some() {}
                self.reap();
            }
            if requested {
                match wire::receive::<()>(&self.control)? {
                    Some(((), descriptors)) => self.accept(descriptors)?,
                    None => return Ok(()),
                }
            }
        }
    }

    /// Waits for something to happen: a request, an end of a child, orders of these children.
    fn wait(&self) -> io::Result<(bool, bool, Vec<i32>)> {
        let mut pids = Vec::with_capacity(self.processes.len());
        let mut watched = vec![
            PollFd::new(&self.control, PollFlags::IN),
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
        ];
        for (pid, process) in self.processes.iter().filter(|(_, process)| !process.abandoned) {
            pids.push(*pid);
            watched.push(PollFd::new(&process.channel, PollFlags::IN));
        }
        match poll(&mut watched, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok((false, false, Vec::new())),
            Err(error) => return Err(error.into()),
        }
        let happened = |watched: &PollFd<'_>| !watched.revents().is_empty();
        let spoken = pids
            .into_iter()
            .zip(&watched[2..])
            .filter(|(_, fd)| happened(fd))
            .map(|(pid, _)| pid)
            .collect();
        Ok((happened(&watched[0]), happened(&watched[1]), spoken))
    }

    /// Signals a process as its channel says; a closed channel kills it.
    fn obey(&mut self, pid: i32) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        let signal = match wire::receive::<Order>(&process.channel) {
            Ok(Some((Order::Signal(signal), _))) => signal,
            Ok(None) | Err(_) => {
                process.abandoned = true;
                libc::SIGKILL
            }
        };
        // The process is ours and not reaped: this fails only when it is ending already, or for a number that is no signal.
        drop(sys::send_signal(process.pidfd.as_fd(), signal));
    }

    /// Takes a request. What is wrong with it is told on its channel; an error is that of the helper itself.
    fn accept(&mut self, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let Ok([memory, channel, input, output, errors]) =
            <[OwnedFd; wire::REQUEST_DESCRIPTORS]>::try_from(descriptors)
        else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let stdio = Stdio {
            stdin: input,
            stdout: output,
            stderr: errors,
        };
        let told = channel.try_clone()?;
        let outcome = match wire::unpack(memory) {
            Ok(Request::Spawn { id, spec, root }) => self.spawn(id, &spec, &root, channel, stdio),
            Ok(Request::Exec { container, spec }) => self.exec(container, &spec, channel, stdio)?,
            Err(error) => Err(Failure::new(Step::Request, &error)),
        };
        if let Err(failure) = outcome {
            // An engine that no longer listens has given this container up.
            drop(wire::send(told.as_fd(), &Event::Failed(failure), &[]));
        }
        Ok(())
    }

    fn spawn(
        &mut self,
        id: u64,
        spec: &Spec,
        root: &wire::Root,
        channel: OwnedFd,
        stdio: Stdio,
    ) -> Result<(), Failure> {
        let cgroup = self.cgroups.container(id, spec)?;
        let mut namespaces = CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS;
        if spec.network == Network::None {
            namespaces |= CloneFlags::CLONE_NEWNET;
        }
        match sys::fork_into(self.proof, namespaces.bits()).during(|| Step::Namespaces) {
            Ok(None) => {
                let child = Child {
                    proof: self.proof,
                    spec,
                    filter: &self.filter,
                    cgroup: &cgroup,
                    channel,
                    stdio,
                };
                child.start(root)
            }
            Ok(Some(pid)) => self.adopt(
                pid,
                channel,
                Role::Leader {
                    id,
                    cgroup,
                    network: spec.network,
                },
            ),
            Err(failure) => {
                cgroup.remove();
                Err(failure)
            }
        }
    }

    /// Children of this process are born into the container's pid namespace while it is set so. Not to come back from there would
    /// mean to start the next container inside this one: that error ends the helper.
    fn exec(
        &mut self,
        container: u64,
        spec: &Spec,
        channel: OwnedFd,
        stdio: Stdio,
    ) -> io::Result<Result<(), Failure>> {
        let leader = self.processes.values().find_map(|process| match &process.role {
            Role::Leader { id, cgroup, network } if *id == container => {
                Some((&process.pidfd, cgroup, *network))
            }
            _ => None,
        });
        let Some((leader, cgroup, network)) = leader else {
            return Ok(Err(rustix::io::Errno::SRCH).during(|| Step::Join));
        };
        if let Err(failure) = setns(leader, CloneFlags::CLONE_NEWPID).during(|| Step::Join) {
            return Ok(Err(failure));
        }
        let forked = sys::fork_into(self.proof, 0).during(|| Step::Join);
        if let Ok(None) = forked {
            Child {
                proof: self.proof,
                spec,
                filter: &self.filter,
                cgroup,
                channel,
                stdio,
            }
            .join(leader, network);
        }
        setns(&self.own, CloneFlags::CLONE_NEWPID)?;
        Ok(forked.and_then(|pid| pid.map_or(Ok(()), |pid| self.adopt(pid, channel, Role::Member))))
    }

    fn adopt(&mut self, pid: Pid, channel: OwnedFd, role: Role) -> Result<(), Failure> {
        // Not reaped yet, so the number is its own even if it has ended.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).during(|| Step::Namespaces);
        let pidfd = pidfd.inspect_err(|_| {
            // Nobody could signal it later. It fails only if it has ended.
            let _ended = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        })?;
        let process = Process {
            channel,
            pidfd,
            role,
            abandoned: false,
        };
        self.processes.insert(pid.as_raw_nonzero().get(), process);
        Ok(())
    }

    /// Reaps what ended, ours or orphaned, and tells the engine. When a leader is reaped its pid namespace is empty and its mount
    /// namespace gone: the kernel lets a namespace's first process be waited for only after all others were.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let Some(process) = self.processes.remove(&pid.as_raw_nonzero().get()) else {
                continue;
            };
            let mut oom_kills = 0;
            if let Role::Leader { cgroup, .. } = process.role {
                oom_kills = cgroup.oom_kills();
                cgroup.remove();
            }
            let event = Event::Exited {
                exit: exit_of(status, oom_kills),
                oom_kills,
            };
            // An engine that no longer listens doesn't want to know.
            drop(wire::send(process.channel.as_fd(), &event, &[]));
        }
    }
}

fn exit_of(status: WaitStatus, oom_kills: u64) -> Exit {
    const KILLED: i32 = 128 + libc::SIGKILL;
    match (status.exit_status(), status.terminating_signal()) {
        (Some(KILLED), _) | (_, Some(libc::SIGKILL)) if oom_kills > 0 => Exit::OutOfMemory,
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(status.as_raw()),
    }
}
