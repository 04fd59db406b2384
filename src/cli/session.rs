//! What all commands share: which store, which form of output, and the way to its engine.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::printer;
use crate::engine::call::{Control, Message};
use crate::engine::outcome::{Failure, Outcome, STATUS_ERROR, STATUS_INTERRUPTED};
use crate::engine::request::Request;
use crate::server::local::{Client, ConnectError, Place, Start};

/// The store and the form of output that a command works with.
pub(crate) struct Session {
    store: PathBuf,
    json: bool,
}

impl Session {
    /// Settles the store's directory.
    pub(crate) fn new(store: Option<PathBuf>, json: bool) -> Result<Self, Failure> {
        let store = match store {
            Some(store) => store,
            None => default_store()?,
        };
        Ok(Self { store, json })
    }

    /// The store's directory, as given.
    pub(crate) fn store(&self) -> &PathBuf {
        &self.store
    }

    /// Whether JSON is wanted.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// The store directory as a meeting place, made when missing.
    pub(crate) fn place(&self) -> Result<Place, Failure> {
        Place::create(&self.store).map_err(|error| {
            Failure::error(format!("store {} cannot be used: {error}", self.store.display()))
                .hint("choose another with --store DIR or SILT_STORE")
        })
    }

    /// Finds or starts the engine.
    pub(crate) fn connect(&self) -> Result<Client, Failure> {
        let idle = match std::env::var("SILT_IDLE") {
            Ok(text) => Some(Duration::from_secs(text.parse().map_err(|_| {
                Failure::usage(format!("SILT_IDLE: `{text}` is not a number of seconds"))
            })?)),
            Err(_) => None,
        };
        let start = Start::IfNeeded {
            idle,
            notice: &mut |line| printer::note(line),
        };
        Ok(Client::connect(&self.place()?, start)?)
    }

    /// Asks for something quick. Ctrl-C simply ends the command.
    pub(crate) fn ask(&self, request: &Request, files: &[OwnedFd]) -> Result<Outcome, Failure> {
        let outcome = self.connect()?.call(request, files, &mut |_, _| {})?;
        checked(outcome)
    }

    /// Asks for work that Ctrl-C cancels: the first one lets the engine clean up, the second ends the command at once.
    pub(crate) fn work(
        &self,
        request: &Request,
        files: &[OwnedFd],
        on_message: &mut dyn FnMut(Message, Vec<OwnedFd>),
    ) -> Result<Outcome, Failure> {
        let client = self.connect()?;
        let controller = client.controller();
        let mut signals =
            Signals::new([SIGINT, SIGTERM]).map_err(|error| Failure::error(format!("signals: {error}")))?;
        let handle = signals.handle();
        let watcher = std::thread::spawn(move || {
            for (count, _) in signals.forever().enumerate() {
                if count > 0 {
                    std::process::exit(i32::from(STATUS_INTERRUPTED));
                }
                controller.say(Control::Cancel);
            }
        });
        let outcome = client.call(request, files, on_message);
        handle.close();
        // It only waits for signals, which it now no longer does.
        watcher.join().ok();
        checked(outcome?)
    }
}

/// Turns a failed outcome into an error.
pub(crate) fn checked(outcome: Outcome) -> Result<Outcome, Failure> {
    match outcome {
        Outcome::Failed(failure) => Err(failure),
        outcome => Ok(outcome),
    }
}

/// An outcome of a kind that no handler gives for this request.
pub(crate) fn unexpected() -> Failure {
    Failure::error("the engine's answer does not fit the question".to_owned())
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        use crate::server::local::LaunchError;
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        let failure = Self {
            status: STATUS_ERROR,
            message: text,
            detail: None,
            hints: Vec::new(),
        };
        match error {
            ConnectError::Launch(LaunchError::Refused { hints, .. }) => Self { hints, ..failure },
            ConnectError::Launch(_) | ConnectError::EngineDied => {
                failure.hint("`silt engine logs` shows what it said; the store is intact and the next command starts a new engine")
            }
            ConnectError::NotRunning { .. } => failure.hint("start it with `silt engine start`"),
            ConnectError::Socket(_) => failure,
        }
    }
}

fn default_store() -> Result<PathBuf, Failure> {
    if nix::unistd::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/silt"));
    }
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("silt"))
        .ok_or_else(|| {
            Failure::usage("neither XDG_DATA_HOME nor HOME says where the store is".to_owned())
                .hint("choose a directory with --store DIR or SILT_STORE")
        })
}
