//! `run` and `exec`: a process in a container, with its caller's streams and signals.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crossbeam::channel::{Receiver, never};
use crossbeam::select;
use silt_store::{Lease, TreeRef};

use crate::engine::Engine;
use crate::engine::address::Origin;
use crate::engine::call::{Call, Control, FileSlot, Message};
use crate::engine::container::{
    Container, ContainerRecord, ContainerState, Copiers, Ended, Environment, HostConfig, Start, Streams,
    compose, now, unwritten,
};
use crate::engine::error::EngineError;
use crate::engine::outcome::Outcome;
use crate::engine::request::{ExecRequest, RunRequest};
use crate::exec::{self, Account};
use crate::sandbox::{Exit, Mount, Running, Spec, Stdio};
use crate::snapshot::Snapshot;

impl Engine {
    /// Creates and starts a container; attached, waits for its end.
    pub(super) fn run(&self, request: &RunRequest, call: &Call) -> Result<Outcome, EngineError> {
        let lease = self.rocks.lease();
        let origin = self.origin_for_run(request, call)?;
        let record = new_record(request, &origin)?;
        let account = exec::account(&self.store, &Snapshot::Stored(origin.tree), &record.config.user)?;
        let filesystem = self.mount_points(&record, &origin, &account)?;
        let spec = spec(&record, account);
        let streams = streams(call, request.tty, request.stdin, request.output)?;
        lease.keep(filesystem);
        let container = self.containers.add(record, origin.tree, filesystem)?;
        let started = self.start(&container, spec, streams, lease);
        let (master, ended) = match started {
            Ok(started) => started,
            Err(error) => {
                container.abandon(&self.containers);
                return Err(error);
            }
        };
        if request.detach {
            return Ok(Outcome::Started {
                container: container.id().to_owned(),
            });
        }
        let started = Message::Started {
            container: container.id().to_owned(),
        };
        call.send(started, master.into_iter().collect());
        let signal = |signal| container.signal(signal);
        attached(call, &ended, &signal, &|| container.abandon_output())
    }

    /// The image's tree with the directories that a container finds even if the image lacks them: its working directory, and
    /// its volumes, which are root's.
    fn mount_points(
        &self,
        record: &ContainerRecord,
        origin: &Origin,
        account: &Account,
    ) -> Result<TreeRef, EngineError> {
        let image = Snapshot::Stored(origin.tree);
        let root = exec::account(&self.store, &image, "0:0")?;
        let workdir = cwd(&record.config.working_dir);
        let mut base = exec::with_directory(&self.store, &image, workdir, account)?;
        // What `-v` mounts is made in the container, as a file where that is one.
        for path in origin.config.volumes.keys() {
            base = exec::with_directory(&self.store, &base, path, &root)?;
        }
        Ok(base.sealed()?)
    }

    fn start(
        &self,
        container: &Arc<Container>,
        spec: Spec,
        streams: (Streams, Stdio),
        lease: Lease,
    ) -> Result<(Option<OwnedFd>, Receiver<Ended>), EngineError> {
        let helper = self.helper()?;
        let strategy = self.strategy(&self.config.snapshotter)?;
        let start = Start {
            helper: &helper,
            strategy: &*strategy,
            spec,
            streams,
            lease,
        };
        container.start(&self.containers, start)
    }

    /// Runs a further process in a running container.
    pub(super) fn exec(&self, request: &ExecRequest, call: &Call) -> Result<Outcome, EngineError> {
        let container = self.containers.find(&request.container)?;
        let record = container.record();
        let running = container.running()?;
        let user = request.user.as_ref().unwrap_or(&record.config.user);
        let account = exec::account(&self.store, &Snapshot::Stored(container.base()), user)?;
        let mut environment = Environment::new(&record.config.env);
        environment.set_default(format!("HOSTNAME={}", record.host.hostname));
        environment.set_default(format!("HOME={}", account.home));
        if request.tty {
            environment.set_default("TERM=xterm".to_owned());
        }
        for line in &request.env {
            environment.set(line.clone());
        }
        let workdir = request.workdir.as_ref().unwrap_or(&record.config.working_dir);
        let spec = Spec {
            argv: request.command.clone(),
            env: environment.into_lines(),
            cwd: cwd(workdir).to_owned(),
            identity: account.identity,
            tty: request.tty,
            privileged: record.host.privileged,
            ..Spec::default()
        };
        let (streams, stdio) = streams(call, request.tty, request.stdin, request.output)?;
        let process = Arc::new(running.exec(&spec, stdio)?);
        let (copiers, master) = streams.start(&process, None).map_err(|source| EngineError::Io {
            doing: "connecting a process's streams",
            source,
        })?;
        let output = copiers.abandon();
        let ended = watch(Arc::clone(&process), copiers)?;
        if request.output.is_none() {
            return Ok(Outcome::Done);
        }
        let started = Message::Started {
            container: container.id().to_owned(),
        };
        call.send(started, master.into_iter().collect());
        let signal = |signal| Ok(process.signal(signal)?);
        attached(call, &ended, &signal, &|| output.abandon())
    }
}

/// What the sandbox needs to know of a container that is about to run.
fn spec(record: &ContainerRecord, account: Account) -> Spec {
    let host = &record.host;
    let mut environment = Environment::new(&record.config.env);
    environment.set_default(format!("HOSTNAME={}", host.hostname));
    environment.set_default(format!("HOME={}", account.home));
    if host.tty {
        environment.set_default("TERM=xterm".to_owned());
    }
    let binds = host.volumes.iter().map(|volume| Mount::Bind {
        source: volume.host.clone().into(),
        target: volume.guest.clone(),
        read_only: volume.read_only,
    });
    let tmpfs = host.tmpfs.iter().map(|(target, size)| Mount::Tmpfs {
        target: target.clone(),
        size: *size,
        mode: 0o1777,
    });
    Spec {
        argv: record.argv.clone(),
        env: environment.into_lines(),
        cwd: cwd(&record.config.working_dir).to_owned(),
        identity: account.identity,
        hostname: host.hostname.clone(),
        network: host.network,
        hosts: exec::hosts(&host.hostname, &host.add_hosts),
        resolv_conf: resolv_conf(),
        mounts: binds.chain(tmpfs).collect(),
        tty: host.tty,
        read_only: host.read_only,
        privileged: host.privileged,
        init: host.init,
        ..Spec::default()
    }
}

/// Where a process starts.
fn cwd(configured: &str) -> &str {
    if configured.is_empty() { "/" } else { configured }
}

/// The host's name servers: containers share its network.
pub(super) fn resolv_conf() -> String {
    std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
}

/// Waits for a process on a thread of its own, which keeps it alive.
fn watch(process: Arc<Running>, copiers: Copiers) -> Result<Receiver<Ended>, EngineError> {
    let (tell, told) = crossbeam::channel::bounded(1);
    let watcher = std::thread::Builder::new()
        .name("exec".to_owned())
        .spawn(move || {
            let exit = process.wait();
            let lost = copiers.join().map_err(unwritten);
            let status = match exit {
                Ok(Exit::Code(code)) => code,
                Ok(Exit::Signal(signal)) => 128 + signal,
                Ok(Exit::OutOfMemory) => 137,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "what became of a process cannot be told");
                    137
                }
            };
            // A detached process's caller does not listen.
            tell.send(Ended { status, lost }).ok();
        });
    watcher.map(|_| told).map_err(|source| EngineError::Io {
        doing: "watching a process",
        source,
    })
}

/// Until the process ends: passes the caller's signals on; a caller that goes away takes it along.
fn attached(
    call: &Call,
    ended: &Receiver<Ended>,
    signal: &dyn Fn(i32) -> Result<(), EngineError>,
    abandon: &dyn Fn(),
) -> Result<Outcome, EngineError> {
    let mut controls = call.controls().clone();
    loop {
        let wanted = select! {
            recv(ended) -> ended => return outcome(ended.ok()),
            recv(controls) -> control => match control {
                Ok(Control::Signal(number)) => number,
                Ok(Control::Cancel | Control::Gone) => {
                    abandon();
                    libc::SIGKILL
                }
                Err(_) => {
                    controls = never();
                    continue;
                }
            },
        };
        if let Err(error) = signal(wanted) {
            tracing::debug!(%error, "a signal came too late");
        }
    }
}

/// What a caller learns of an end: its exit status counts only if nothing that it wrote is lost.
fn outcome(ended: Option<Ended>) -> Result<Outcome, EngineError> {
    let Some(Ended { status, lost }) = ended else {
        return Ok(Outcome::Exited(137));
    };
    lost?;
    Ok(Outcome::Exited(status))
}

fn streams(
    call: &Call,
    tty: bool,
    stdin: Option<FileSlot>,
    output: Option<(FileSlot, FileSlot)>,
) -> Result<(Streams, Stdio), EngineError> {
    let stdin = stdin.map(|slot| call.take_file(slot)).transpose()?;
    let output = match output {
        Some((stdout, stderr)) => Some((
            File::from(call.take_file(stdout)?),
            File::from(call.take_file(stderr)?),
        )),
        None => None,
    };
    let made = if tty {
        Streams::terminal(output)
    } else {
        Streams::pipes(stdin, output)
    };
    made.map_err(|source| EngineError::Io {
        doing: "making a container's streams",
        source,
    })
}

fn new_record(request: &RunRequest, origin: &Origin) -> Result<ContainerRecord, EngineError> {
    let (argv, config) = compose(&origin.config, request)?;
    let id = new_id()?;
    let hostname = request.hostname.clone().unwrap_or_else(|| id[..12].to_owned());
    Ok(ContainerRecord {
        name: request.name.clone().unwrap_or_default(),
        image: origin.name.clone(),
        image_id: origin.image_id.clone(),
        created: now(),
        argv,
        config,
        host: HostConfig {
            hostname,
            network: request.network,
            add_hosts: request.add_hosts.clone(),
            volumes: request.volumes.clone(),
            tmpfs: request.tmpfs.iter().cloned().collect(),
            tty: request.tty,
            read_only: request.read_only,
            privileged: request.privileged,
            init: request.init,
            remove: request.remove,
        },
        state: ContainerState::Running { since: now() },
        id,
    })
}

/// 64 hexadecimal digits that nobody has.
fn new_id() -> Result<String, EngineError> {
    use std::io::Read;
    let mut bytes = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|source| EngineError::Io {
            doing: "reading /dev/urandom",
            source,
        })?;
    Ok(blake3::Hash::from_bytes(bytes).to_hex().to_string())
}
