//! RUN: a command in a container whose root is a writable view of the step's base.
//!
//! In: the op, the base, what the build gives every step. Out: what the step left, not yet sealed. Effects: a container, its output as
//! events; after a failure, a snapshot record that keeps what it left.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use silt_fuse::Found;
use silt_store::{GuestPath, Node, Record, RecordKind, Store, TreeRef, blob, walk};

use super::Surroundings;
use super::accounts::{Account, Accounts};
use super::error::ExecError;
use super::mounts::Mounts;
use super::place::make_directory;
use crate::plan::{RunOp, Security, VertexId};
use crate::progress::{Event, Sink, Stream};
use crate::sandbox::{Exit, Spec, Stdio, Stub};
use crate::snapshot::{Snapshot, Workspace};
use crate::solve::{CacheKey, Failure, Task};

/// Docker's, when neither image nor Dockerfile says otherwise.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Steps are called so, unless the build says otherwise.
const HOSTNAME: &str = "silt";
/// The end of a step's output that an error shows.
const TAIL: usize = 16 * 1024;
/// Failed steps' snapshot records have keys that begin so; the step's definition key follows in hexadecimal. Their roots are what
/// the step left and what it found.
pub const FAILED: &str = "failed/";

/// Reads a small file of a snapshot, links followed; a snapshot not sealed yet is sealed only if it has a link there.
fn read(store: &Arc<dyn Store>, snapshot: &Snapshot, path: &str) -> Result<Option<Vec<u8>>, ExecError> {
    let path = GuestPath::root()
        .join(path.as_bytes())
        .map_err(super::CopyError::Name)?;
    if let Snapshot::Frozen(frozen) = snapshot
        && frozen.sealed().is_none()
    {
        match frozen.read(&path).map_err(crate::snapshot::SnapshotError::from)? {
            Found::Nothing => return Ok(None),
            Found::File(bytes) => return Ok(Some(bytes)),
            Found::Other => {}
        }
    }
    Ok(match walk::resolve(store, snapshot.sealed()?, &path)? {
        Some((_, entry)) => match &entry.node {
            Node::File(content) => Some(blob::read_all(&**store, content)?),
            _ => None,
        },
        None => None,
    })
}

/// The users and groups of a snapshot.
pub(super) fn accounts(store: &Arc<dyn Store>, snapshot: &Snapshot) -> Result<Accounts, ExecError> {
    let passwd = read(store, snapshot, "etc/passwd")?.unwrap_or_default();
    let group = read(store, snapshot, "etc/group")?.unwrap_or_default();
    Ok(Accounts::parse(&passwd, &group))
}

/// Who `user`, as USER has it, is in a snapshot.
///
/// # Errors
/// `Account` when there is no such user; the store's.
pub fn account(store: &Arc<dyn Store>, snapshot: &Snapshot, user: &str) -> Result<Account, ExecError> {
    Ok(accounts(store, snapshot)?.account(user)?)
}

/// The base with the directory that the command starts in: an image may name one that it lacks.
///
/// # Errors
/// `Copy` when `cwd` is no path or leads through a file; the store's.
pub fn with_directory(
    store: &Arc<dyn Store>,
    base: &Snapshot,
    cwd: &str,
    account: &Account,
) -> Result<Snapshot, ExecError> {
    let path = GuestPath::root()
        .join(cwd.as_bytes())
        .map_err(super::CopyError::Name)?;
    if path.names().is_empty() {
        return Ok(base.clone());
    }
    if let Snapshot::Frozen(frozen) = base
        && frozen.sealed().is_none()
        && frozen.read(&path).map_err(crate::snapshot::SnapshotError::from)? == Found::Other
    {
        return Ok(base.clone());
    }
    let tree = base.sealed()?;
    if walk::resolve(store, tree, &path)?.is_some() {
        return Ok(base.clone());
    }
    let owner = (account.identity.uid, account.identity.gid);
    Ok(Snapshot::Stored(make_directory(store, tree, cwd, owner)?))
}

fn environment(op: &RunOp, proxy: &[String], account: &Account) -> Vec<String> {
    let has = |env: &[String], name: &str| env.iter().any(|one| one.split('=').next() == Some(name));
    let mut env = Vec::with_capacity(op.env.len() + proxy.len() + 2);
    if !has(&op.env, "PATH") {
        env.push(PATH.to_owned());
    }
    env.extend(op.env.iter().cloned());
    env.extend(
        proxy
            .iter()
            .filter(|one| !has(&op.env, one.split('=').next().unwrap_or_default()))
            .cloned(),
    );
    if !has(&op.env, "HOME") {
        env.push(format!("HOME={}", account.home));
    }
    env
}

/// A container's /etc/hosts.
pub fn hosts(hostname: &str, extra: &[(String, String)]) -> String {
    let mut hosts = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    let own = [(hostname.to_owned(), "127.0.1.1".to_owned())];
    for (name, address) in own.iter().chain(extra) {
        hosts.extend([address, "\t", name, "\n"]);
    }
    hosts
}

/// Runs the step of `task`, which is `op`, with `mounts` laid out.
pub(super) fn run(
    around: &Surroundings,
    task: &Task<'_, Snapshot>,
    op: &RunOp,
    mounts: &Mounts,
) -> Result<Snapshot, Failure> {
    let base = task
        .inputs
        .first()
        .ok_or_else(|| Failure::other(super::CopyError::NoSource))?;
    let prepared = prepare(around, base, op, mounts);
    let (spec, base) = prepared.map_err(Failure::other)?;
    let mut workspace = around.strategy.prepare(&base).map_err(Failure::other)?;
    let root = workspace.root_filesystem().map_err(Failure::other)?;
    let (stdio, stdout, stderr) = streams().map_err(Failure::other)?;
    if task.cancel.is_cancelled() {
        return Err(Failure::Cancelled);
    }
    let running = Arc::new(around.helper.spawn(&spec, root, stdio).map_err(Failure::other)?);
    let killed = Arc::clone(&running);
    let hook = task.cancel.on_cancel(move || {
        if let Err(error) = killed.kill() {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a cancelled step could not be killed"
            );
        }
    });
    let tail = Mutex::new(Vec::new());
    let exit = std::thread::scope(|scope| {
        scope.spawn(|| forward(stdout, Stream::Stdout, task, &tail));
        scope.spawn(|| forward(stderr, Stream::Stderr, task, &tail));
        running.wait()
    });
    drop(hook);
    let exit = exit.map_err(Failure::other)?;
    if exit == Exit::Code(0) {
        return workspace.commit(running.created_stubs()).map_err(Failure::other);
    }
    if task.cancel.is_cancelled() {
        return Err(Failure::Cancelled);
    }
    let (status, reason) = describe(exit);
    let stubs = running.created_stubs();
    let kept = keep(around, task, workspace, stubs);
    let tail = tail.into_inner().unwrap_or_else(PoisonError::into_inner);
    Err(Failure::Command {
        exit: status,
        reason,
        output: String::from_utf8_lossy(&tail).into_owned(),
        kept,
    })
}

fn prepare(
    around: &Surroundings,
    base: &Snapshot,
    op: &RunOp,
    mounts: &Mounts,
) -> Result<(Spec, Snapshot), ExecError> {
    let account = accounts(&around.store, base)?.account(&op.user)?;
    let base = with_directory(&around.store, base, &op.cwd, &account)?;
    let hostname = around.hostname.clone().unwrap_or_else(|| HOSTNAME.to_owned());
    let spec = Spec {
        argv: op.argv.clone(),
        env: environment(op, &around.proxy, &account),
        cwd: op.cwd.clone(),
        identity: account.identity,
        hosts: hosts(&hostname, &op.extra_hosts),
        hostname,
        network: op.network,
        resolv_conf: around.resolv_conf.clone(),
        mounts: mounts.mounts.clone(),
        tty: false,
        read_only: false,
        privileged: op.security == Security::Insecure,
        init: false,
        limits: around.limits.clone(),
    };
    Ok((spec, base))
}

fn streams() -> Result<(Stdio, OwnedFd, OwnedFd), ExecError> {
    let error = |source| ExecError::Io {
        doing: "opening pipes for",
        path: "a step".into(),
        source,
    };
    let input = File::open("/dev/null").map_err(error)?;
    let (stdout, output) = std::io::pipe().map_err(error)?;
    let (stderr, errors) = std::io::pipe().map_err(error)?;
    let stdio = Stdio {
        stdin: input.into(),
        stdout: output.into(),
        stderr: errors.into(),
    };
    Ok((stdio, stdout.into(), stderr.into()))
}

/// Passes on what a stream carries until it closes; characters cut by a read are put together again.
fn forward(stream: OwnedFd, which: Stream, task: &Task<'_, Snapshot>, tail: &Mutex<Vec<u8>>) {
    let mut stream = File::from(stream);
    let mut buffer = vec![0; 64 * 1024];
    let mut begun = 0;
    while let Ok(read) = stream.read(&mut buffer[begun..]) {
        let held = begun + read;
        let whole = if read == 0 {
            held
        } else {
            held - incomplete(&buffer[..held])
        };
        if whole > 0 {
            emit(task.sink, task.vertex, which, &buffer[..whole]);
            let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
            tail.extend_from_slice(&buffer[..whole]);
            let extra = tail.len().saturating_sub(TAIL);
            tail.drain(..extra);
        }
        buffer.copy_within(whole..held, 0);
        begun = held - whole;
        if read == 0 {
            break;
        }
    }
}

fn emit(sink: &dyn Sink, vertex: VertexId, stream: Stream, bytes: &[u8]) {
    sink.event(Event::Output {
        vertex,
        stream,
        text: String::from_utf8_lossy(bytes).into_owned(),
    });
}

/// How many bytes at the end are the beginning of a character.
fn incomplete(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let len = match byte {
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            0x80..=0xbf => continue,
            _ => 1,
        };
        return if len > back { back } else { 0 };
    }
    0
}

fn describe(exit: Exit) -> (i32, String) {
    match exit {
        Exit::Code(code) => (code, format!("exit status {code}")),
        Exit::Signal(signal) => (128 + signal, format!("killed by signal {signal}")),
        Exit::OutOfMemory => (137, "killed: out of memory".to_owned()),
    }
}

/// Keeps what a failed step left. That it could not be kept is no reason to hide the failure.
fn keep(
    around: &Surroundings,
    task: &Task<'_, Snapshot>,
    workspace: Box<dyn Workspace>,
    stubs: &[Stub],
) -> Option<TreeRef> {
    let kept = workspace.commit(stubs).and_then(|snapshot| {
        let tree = snapshot.sealed()?;
        let base = task.inputs.first().map_or(Ok(tree), Snapshot::sealed)?;
        let record = Record {
            roots: vec![tree, base],
            contents: Vec::new(),
            value: Vec::new(),
        };
        around
            .store
            .put_record(RecordKind::Snapshot, failed_key(task.key).as_bytes(), &record)?;
        Ok(tree)
    });
    kept.inspect_err(|error| {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "the failed step's filesystem could not be kept"
        );
    })
    .ok()
}

fn failed_key(key: CacheKey) -> String {
    format!("{FAILED}{key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_not_cut() {
        for (bytes, expected) in [
            (&b"abc"[..], 0),
            ("a☺".as_bytes(), 0),
            (&"a☺".as_bytes()[..3], 2),
            (&"a☺".as_bytes()[..2], 1),
            (&"é".as_bytes()[..1], 1),
            (b"\xff", 0),
            (b"\x80\x80\x80\x80", 0),
            (b"", 0),
        ] {
            assert_eq!(incomplete(bytes), expected, "{bytes:?}");
        }
    }
}
