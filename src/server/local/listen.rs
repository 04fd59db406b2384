//! The engine's side of the local socket: accepts, checks who calls, serves each connection on its own thread, leaves when idle.
//!
//! In: a listening socket and an `Engine`. Out: when it returns, the engine has no work and the socket is gone. Effects:
//! threads. Whether the engine leaves and whether a caller is welcomed is decided under one lock, so a welcomed request is
//! always served, and a caller who came too late sees the connection end before any welcome and starts the next engine.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::engine::Engine;
use crate::engine::call::{Call, Control, Message, Peer};
use crate::engine::outcome::{Failure, Outcome, STATUS_ERROR, Status};
use crate::engine::request::Request;
use crate::server::local::frame::Channel;
use crate::server::local::{Hello, Place, Reply, Welcome};

/// What `serve` serves.
pub struct Serve {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Where it listens.
    pub place: Place,
    /// The version that callers must have.
    pub version: String,
}

/// Serves until the engine is idle for its configured time, is told to end (SIGTERM is one way), or a caller of another version came; then waits
/// for the work under way and returns. The socket is removed first, while the engine still holds its lock.
///
/// # Errors
/// The socket's.
pub fn serve(serve: Serve, listener: UnixListener) -> io::Result<()> {
    let server = Arc::new(Server {
        serve,
        state: Mutex::new(State {
            connections: 0,
            requests: BTreeMap::new(),
            controls: BTreeMap::new(),
            newest: 0,
            leaving: false,
            idle_since: Instant::now(),
        }),
        changed: Condvar::new(),
    });
    let accepting = Arc::clone(&server);
    // Accepts for as long as the process lives: the thread ends with it.
    std::thread::Builder::new()
        .name("accept".to_owned())
        .spawn(move || accept(&accepting, &listener))?;
    let ending = Arc::clone(&server);
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                tracing::info!("leaving: signal {signal}");
                ending.shutdown();
            }
        })?;
    server.wait_until_leaving();
    if let Err(error) = std::fs::remove_file(server.serve.place.socket()) {
        tracing::warn!(%error, "the socket could not be removed");
    }
    server.wait_until_done();
    Ok(())
}

struct Server {
    serve: Serve,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Welcomed connections.
    connections: u64,
    /// Requests under way, by kind.
    requests: BTreeMap<String, u64>,
    /// A way to cancel each request under way, by a number of its own.
    controls: BTreeMap<u64, (&'static str, Sender<Control>)>,
    /// The number of the newest.
    newest: u64,
    /// No more callers are welcomed.
    leaving: bool,
    idle_since: Instant,
}

fn accept(server: &Arc<Server>, listener: &UnixListener) {
    for stream in listener.incoming() {
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                // Out of descriptors, most likely: those under way will free some.
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        let server = Arc::clone(server);
        let spawned = std::thread::Builder::new()
            .name("connection".to_owned())
            .spawn(move || server.connection(stream));
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for a connection");
        }
    }
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until_leaving(&self) {
        let idle = self.serve.engine.config().idle;
        let mut state = self.state();
        while !state.leaving {
            if state.connections > 0 || self.serve.engine.is_busy() {
                state.idle_since = Instant::now();
            }
            let spent = state.idle_since.elapsed();
            if !idle.is_zero() && spent >= idle {
                tracing::info!("leaving: idle for {} s", spent.as_secs());
                state.leaving = true;
                break;
            }
            // Containers and background work end without a word to this loop: look again after a while.
            let pause = if idle.is_zero() {
                Duration::from_hours(1)
            } else {
                idle.saturating_sub(spent).min(Duration::from_secs(1))
            };
            state = self
                .changed
                .wait_timeout(state, pause)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn wait_until_done(&self) {
        let mut state = self.state();
        while state.connections > 0 || self.serve.engine.is_busy() {
            let pause = Duration::from_millis(100);
            state = self
                .changed
                .wait_timeout(state, pause)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn connection(&self, stream: UnixStream) {
        if let Err(error) = check_peer(&stream) {
            tracing::warn!(%error, "a caller was refused");
            return;
        }
        let channel = Arc::new(Channel::new(stream));
        match self.converse(&channel) {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "a connection ended early"),
        }
    }

    fn converse(&self, channel: &Arc<Channel>) -> io::Result<()> {
        let Some((hello, _)) = channel.receive::<Hello>()? else {
            return Ok(());
        };
        let Some(_welcomed) = self.welcome(channel, &hello)? else {
            return Ok(());
        };
        let Some((request, files)) = channel.receive::<Request>()? else {
            return Ok(());
        };
        let outcome = self.perform(channel, request, files)?;
        // The caller has not waited for a lost outcome: nothing is left to tell it to.
        channel.send(&Reply::Outcome(Box::new(outcome)), &[])
    }

    /// Welcomes the caller, who then counts as work until the guard is dropped; `None` when it has to start another engine.
    fn welcome(&self, channel: &Channel, hello: &Hello) -> io::Result<Option<Welcomed<'_>>> {
        let pid = std::process::id();
        let mut state = self.state();
        if state.leaving {
            return Ok(None);
        }
        if hello.version != self.serve.version {
            tracing::info!(caller = %hello.version, own = %self.serve.version, "leaving: another version takes over");
            state.leaving = true;
            let busy = state.connections + self.serve.engine.running_containers();
            drop(state);
            self.changed.notify_all();
            let version = self.serve.version.clone();
            channel.send(&Welcome::Leaving { pid, version, busy }, &[])?;
            return Ok(None);
        }
        state.connections += 1;
        drop(state);
        let guard = Welcomed { server: self };
        channel.send(&Welcome::Ready { pid }, &[])?;
        Ok(Some(guard))
    }

    fn perform(&self, channel: &Arc<Channel>, request: Request, files: Vec<OwnedFd>) -> io::Result<Outcome> {
        let peer = Arc::new(SocketPeer(Arc::clone(channel)));
        let (call, controls) = Call::new(peer, files);
        let own = controls.clone();
        let reading = Arc::clone(channel);
        let reader = std::thread::Builder::new()
            .name("controls".to_owned())
            .spawn(move || {
                while let Ok(Some((control, _))) = reading.receive::<Control>() {
                    if controls.send(control).is_err() {
                        return;
                    }
                }
                // The call may have ended already; then nobody needs to know.
                controls.send(Control::Gone).ok();
            })?;
        let outcome = match request {
            Request::Status => Outcome::Status(self.status()),
            Request::Shutdown => self.shutdown(),
            request => self.counted(request, &call, own),
        };
        // The reader ends when the client closes its end, which it does on the outcome.
        drop(reader);
        Ok(outcome)
    }

    fn counted(&self, request: Request, call: &Call, controls: Sender<Control>) -> Outcome {
        let kind = request.kind();
        let number = {
            let mut state = self.state();
            *state.requests.entry(kind.to_owned()).or_default() += 1;
            state.newest += 1;
            let number = state.newest;
            state.controls.insert(number, (kind, controls));
            number
        };
        let performed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.serve.engine.perform(request, call)
        }));
        let mut state = self.state();
        state.controls.remove(&number);
        if let Some(count) = state.requests.get_mut(kind) {
            *count -= 1;
            if *count == 0 {
                state.requests.remove(kind);
            }
        }
        drop(state);
        performed.unwrap_or_else(|_| {
            Outcome::Failed(Failure {
                status: STATUS_ERROR,
                message: "the engine failed on this request; this is a bug in silt".to_owned(),
                detail: None,
                hints: vec!["`silt engine logs` has the details".to_owned()],
            })
        })
    }

    fn status(&self) -> Status {
        let state = self.state();
        Status {
            pid: std::process::id(),
            version: self.serve.version.clone(),
            requests: state.requests.clone(),
            ..self.serve.engine.status()
        }
    }

    /// Ends everything: containers gently, then whatever still runs.
    fn shutdown(&self) -> Outcome {
        self.state().leaving = true;
        self.changed.notify_all();
        self.cancel(|kind| !matches!(kind, "run" | "exec"));
        self.serve.engine.stop_containers();
        self.cancel(|_| true);
        Outcome::Done
    }
}

impl Server {
    fn cancel(&self, which: impl Fn(&str) -> bool) {
        for (kind, controls) in self.state().controls.values() {
            if which(kind) {
                // One that ended just now needs no telling.
                controls.send(Control::Cancel).ok();
            }
        }
    }
}

/// A welcomed connection; counts as work.
struct Welcomed<'server> {
    server: &'server Server,
}

impl Drop for Welcomed<'_> {
    fn drop(&mut self) {
        let mut state = self.server.state();
        state.connections -= 1;
        state.idle_since = Instant::now();
        drop(state);
        self.server.changed.notify_all();
    }
}

/// Only the store's owner, and root, may ask.
fn check_peer(stream: &UnixStream) -> io::Result<()> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    let caller = peer.uid.as_raw();
    if caller == nix::unistd::geteuid().as_raw() || caller == 0 {
        return Ok(());
    }
    let message = format!("user {caller} is not the owner of this engine");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

struct SocketPeer(Arc<Channel>);

impl Peer for SocketPeer {
    fn send(&self, message: Message, files: Vec<OwnedFd>) {
        let files: Vec<BorrowedFd<'_>> = files.iter().map(AsFd::as_fd).collect();
        if let Err(error) = self.0.send(&Reply::Message(message), &files) {
            tracing::debug!(%error, "a message to a caller that left was dropped");
        }
    }
}
