//! Containers as they are listed, read, signalled, ended and removed.

use std::fs::File;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::engine::Engine;
use crate::engine::call::Call;
use crate::engine::container::{Container, ContainerRecord, ContainerState, Copier};
use crate::engine::error::EngineError;
use crate::engine::outcome::{ContainerSummary, Outcome};
use crate::engine::request::LogsRequest;
use crate::plan::Network;

/// How often a follower looks whether its caller is still there.
const MOMENT: Duration = Duration::from_millis(200);
/// Between the stop signal and SIGKILL, unless said otherwise.
const GRACE: Duration = Duration::from_secs(10);

impl Engine {
    /// The containers, newest first.
    pub(super) fn list_containers(&self, all: bool) -> Outcome {
        let containers = self.containers.list();
        let shown = containers
            .iter()
            .map(|container| container.record())
            .filter(|record| all || record.is_running());
        Outcome::Containers(shown.map(summary).collect())
    }

    /// Copies a container's log to the caller's streams, to its end or as long as it grows.
    pub(super) fn logs(&self, request: &LogsRequest, call: &Call) -> Result<Outcome, EngineError> {
        let container = self.containers.find(&request.container)?;
        let failed = |source| EngineError::Io {
            doing: "reading a container's log",
            source,
        };
        let mut copier = Copier {
            stdout: File::from(call.take_file(request.stdout)?),
            stderr: File::from(call.take_file(request.stderr)?),
            timestamps: request.timestamps,
            fresh: [true; 2],
        };
        let log = container.log();
        let end = if request.follow { u64::MAX } else { log.end() };
        let (mut offset, mut skip) = match request.tail {
            Some(lines) => log.tail(lines).map_err(failed)?,
            None => (0, 0),
        };
        loop {
            while offset < end
                && let Some((mut piece, next)) = log.piece(offset).map_err(failed)?
            {
                // The piece to skip in may have been dropped for newer ones.
                piece.bytes.drain(..skip.min(piece.bytes.len()));
                (offset, skip) = (next, 0);
                if copier.write(&piece).is_err() {
                    // The reader has seen enough: `silt logs x | head`.
                    return Ok(Outcome::Done);
                }
            }
            let left = call.is_cancelled();
            if !request.follow || left || !log.wait(offset, MOMENT) {
                return Ok(Outcome::Done);
            }
        }
    }

    /// Ends containers: their stop signal, then SIGKILL.
    pub(super) fn stop(&self, names: Vec<String>, timeout: Option<u64>) -> Result<Outcome, EngineError> {
        let timeout = timeout.map_or(GRACE, Duration::from_secs);
        self.for_each(names, &|container| {
            container.stop(stop_signal(&container.record()), timeout)
        })
    }

    /// Sends a signal to containers.
    pub(super) fn kill(&self, names: Vec<String>, signal: i32) -> Result<Outcome, EngineError> {
        self.for_each(names, &|container| container.signal(signal))
    }

    /// Removes containers.
    pub(super) fn remove_containers(&self, names: Vec<String>, force: bool) -> Result<Outcome, EngineError> {
        self.for_each(names, &|container| container.remove(&self.containers, force))
    }

    /// Waits until containers ended; their exit statuses.
    pub(super) fn wait(&self, names: &[String], call: &Call) -> Result<Outcome, EngineError> {
        let containers: Vec<_> = names
            .iter()
            .map(|name| self.containers.find(name))
            .collect::<Result<_, _>>()?;
        let mut statuses = Vec::new();
        for container in containers {
            let status = loop {
                if let Some(status) = container.wait_until(Some(std::time::Instant::now() + MOMENT)) {
                    break status;
                }
                if call.is_cancelled() {
                    return Err(EngineError::Interrupted);
                }
            };
            statuses.push(status.to_string());
        }
        Ok(Outcome::Names(statuses))
    }

    fn for_each(
        &self,
        names: Vec<String>,
        act: &dyn Fn(&Container) -> Result<(), EngineError>,
    ) -> Result<Outcome, EngineError> {
        // A name that is wrong is found before anything is done.
        let containers: Vec<_> = names
            .iter()
            .map(|name| self.containers.find(name))
            .collect::<Result<_, _>>()?;
        for container in containers {
            act(&container)?;
        }
        Ok(Outcome::Names(names))
    }

    /// Ends every container, gently first; several at once.
    pub fn stop_containers(&self) {
        std::thread::scope(|scope| {
            for container in self.containers.list() {
                scope.spawn(move || {
                    if let Err(error) = container.stop(stop_signal(&container.record()), GRACE) {
                        tracing::warn!(container = container.id(), %error, "a container could not be stopped");
                    }
                });
            }
        });
    }
}

fn stop_signal(record: &ContainerRecord) -> i32 {
    let text = record.config.stop_signal.as_str();
    let name = if text.starts_with("SIG") {
        text.to_owned()
    } else {
        format!("SIG{text}")
    };
    let number = text.parse().ok().filter(|number| (1..=64).contains(number));
    number
        .or_else(|| name.parse::<Signal>().ok().map(|signal| signal as i32))
        .unwrap_or(libc::SIGTERM)
}

fn summary(record: ContainerRecord) -> ContainerSummary {
    let (state, exit_code, since) = match record.state {
        ContainerState::Running { since } => ("running", None, since),
        ContainerState::Exited { status, since, .. } => ("exited", Some(status), since),
    };
    let ports = match record.host.network {
        Network::Host => record.config.exposed_ports.into_keys().collect(),
        Network::None => Vec::new(),
    };
    ContainerSummary {
        id: record.id,
        name: record.name,
        image: record.image,
        command: record.argv,
        created: record.created,
        state: state.to_owned(),
        exit_code,
        since,
        ports,
    }
}
