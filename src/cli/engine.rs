//! `silt engine`: the store's engine process, and its own main function.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, printer};
use crate::engine::config::Config;
use crate::engine::error::EngineError;
use crate::engine::outcome::{Failure, Outcome};
use crate::engine::request::Request;
use crate::engine::{self, EngineLock, Wait};
use crate::server::local::{Announcement, Client, ConnectError, Place, Serve, Start, serve, version};

/// Control the store's engine process
///
/// Every command starts the engine when it needs it, and the engine leaves when it has been idle for a while (60 s, or
/// SILT_IDLE, or `idle` in STORE/config.json; 0 stays).
#[derive(Debug, Args)]
pub(crate) struct Engine {
    #[command(subcommand)]
    command: EngineCommand,
}

#[derive(Debug, Subcommand)]
enum EngineCommand {
    /// Start the engine, unless it runs
    Start,
    /// End the engine: containers are stopped, builds are cancelled
    Stop,
    /// Show what the engine is doing
    Status,
    /// Show the engine's log
    Logs {
        /// Only the last lines
        #[arg(short = 'n', long, value_name = "LINES", default_value_t = 200)]
        tail: usize,
    },
    /// Be the engine
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        idle: Option<u64>,
    },
}

impl Engine {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        match self.command {
            EngineCommand::Start => {
                let pid = session.connect()?.pid();
                printer::line(&format!("engine: process {pid}"));
                Ok(0)
            }
            EngineCommand::Stop => stop(session),
            EngineCommand::Status => status(session),
            EngineCommand::Logs { tail } => logs(session, tail),
            EngineCommand::Serve { idle } => be_engine(session, idle),
        }
    }
}

/// The running engine, never a new one.
fn running(session: &Session) -> Result<Option<(Place, Client)>, Failure> {
    if !session.store().is_dir() {
        return Ok(None);
    }
    let place = session.place()?;
    match Client::connect(&place, Start::Never) {
        Ok(client) => Ok(Some((place, client))),
        Err(ConnectError::NotRunning { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn stop(session: &Session) -> CommandResult {
    let Some((place, client)) = running(session)? else {
        printer::note("no engine runs");
        return Ok(0);
    };
    client.call(&Request::Shutdown, &[], &mut |_, _| {})?;
    // Its lock is the last thing that an engine lets go.
    EngineLock::wait(place.store()).map_err(|error| Failure::error(error.to_string()))?;
    Ok(0)
}

fn status(session: &Session) -> CommandResult {
    let Some((_, client)) = running(session)? else {
        if session.json() {
            printer::json(&serde_json::Value::Null);
        } else {
            printer::line("engine: not running");
        }
        return Ok(0);
    };
    let Outcome::Status(status) = client.call(&Request::Status, &[], &mut |_, _| {})? else {
        return Err(unexpected());
    };
    if session.json() {
        printer::json(&status);
        return Ok(0);
    }
    let requests: Vec<_> = status
        .requests
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    let rows = [
        ("process", status.pid.to_string()),
        ("version", status.version.clone()),
        ("store", status.store.clone()),
        ("up", printer::span(status.uptime as i64)),
        (
            "leaves when idle for",
            if status.idle == 0 {
                "never".to_owned()
            } else {
                format!("{} s", status.idle)
            },
        ),
        (
            "requests",
            if requests.is_empty() {
                "none".to_owned()
            } else {
                requests.join(", ")
            },
        ),
        ("containers", status.containers.to_string()),
        ("memory", printer::size(status.memory)),
    ];
    for (name, value) in rows {
        printer::line(&format!("{name:<22}{value}"));
    }
    Ok(0)
}

fn logs(session: &Session, tail: usize) -> CommandResult {
    let path = session.place()?.log();
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Failure::error(format!("cannot read {}: {error}", path.display()))),
    };
    let lines: Vec<_> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(tail)..] {
        printer::line(line);
    }
    Ok(0)
}

/// The engine process: apart from its starter in every respect, then open, listen, say so, serve.
fn be_engine(session: &Session, idle: Option<u64>) -> CommandResult {
    detach()?;
    let place = session.place()?;
    start_log();
    let opened = open(&place, idle);
    let (serving, listener) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let failure = error.failure();
            tracing::error!("{}", failure.message);
            announce(&Announcement::Failed {
                message: failure.message.clone(),
                hints: failure.hints.clone(),
            });
            return Ok(failure.status);
        }
    };
    announce(&Announcement::Ready);
    silence_stdout(&place);
    let engine = Arc::clone(&serving.engine);
    tracing::info!(store = %place.store().display(), version = version(), "listening");
    let served = serve(serving, listener);
    engine.close();
    served.map_err(|error| Failure::error(format!("the engine's socket: {error}")))?;
    tracing::info!("left");
    Ok(0)
}

fn open(place: &Place, idle: Option<u64>) -> Result<(Serve, std::os::unix::net::UnixListener), EngineError> {
    let mut config = Config::load(place.store())?;
    if let Some(seconds) = idle {
        config.idle = Duration::from_secs(seconds);
    }
    let mut told = false;
    let lock = EngineLock::take(place.store(), &mut |pid| {
        if !std::mem::replace(&mut told, true) {
            announce(&Announcement::Waiting { pid });
        }
        if starter_is_gone() { Wait::NoMore } else { Wait::On }
    })?;
    let engine = Arc::new(engine::Engine::open(lock, config)?);
    let listener = place.listen().map_err(|source| EngineError::Io {
        doing: "listening on the store's socket",
        source,
    })?;
    let serving = Serve {
        engine,
        place: place.clone(),
        version: version().to_owned(),
    };
    Ok((serving, listener))
}

/// Leaves the starter's session, working directory, umask and descriptors.
fn detach() -> Result<(), Failure> {
    // A session leader already when it was started by hand; then it is detached enough.
    nix::unistd::setsid().ok();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let listed =
        fs::read_dir("/proc/self/fd").map_err(|error| Failure::error(format!("/proc/self/fd: {error}")))?;
    let inherited: Vec<i32> = listed
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2)
        .collect();
    for descriptor in inherited {
        // The listing's own descriptor is among them and closed by now.
        nix::unistd::close(descriptor).ok();
    }
    Ok(())
}

fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SILT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(io::stderr)
        .init();
}

fn announce(announcement: &Announcement) {
    if let Ok(text) = serde_json::to_string(announcement) {
        printer::line(&text);
    }
}

/// Whether nobody reads our standard output any more: whoever wanted an engine gave up.
fn starter_is_gone() -> bool {
    let stdout = io::stdout();
    let mut polled = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    matches!(poll(&mut polled, PollTimeout::ZERO), Ok(1..))
}

/// The starter waits for the end of this pipe; nothing in an engine writes to standard output.
fn silence_stdout(place: &Place) {
    let log = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(place.log());
    let replaced = log.and_then(|log| nix::unistd::dup2_stdout(log).map_err(io::Error::from));
    if let Err(error) = replaced {
        tracing::warn!(%error, "standard output still leads to the starter");
    }
}
