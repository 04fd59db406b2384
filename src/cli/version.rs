//! `silt version`: this program, and the engine if one runs.

use clap::Args;
use serde::Serialize;

use crate::cli::session::Session;
use crate::cli::{CommandResult, printer};
use crate::server::local::{Client, Place, Start, version};

/// Show the version of this program and of the running engine
#[derive(Debug, Args)]
pub(crate) struct Version {}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Versions {
    client: String,
    /// The engine's process; an engine that answers has the client's version.
    engine_pid: Option<u32>,
}

impl Version {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let engine_pid = Place::existing(session.store())
            .ok()
            .and_then(|place| Client::connect(&place, Start::Never).ok())
            .map(|client| client.pid());
        let versions = Versions {
            client: version().to_owned(),
            engine_pid,
        };
        if session.json() {
            printer::json(&versions);
            return Ok(0);
        }
        printer::line(&format!("silt {}", versions.client));
        match versions.engine_pid {
            Some(pid) => printer::line(&format!("engine: process {pid}, the same version")),
            None => printer::line("engine: not running"),
        }
        Ok(0)
    }
}
