//! `silt inspect`: everything about images and containers, always JSON, in Docker's form.

use clap::Args;

use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, printer};
use crate::engine::outcome::Outcome;
use crate::engine::request::Request;

/// Show everything about images and containers, as JSON
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Images and containers, by name or id
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Inspect {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let Outcome::Inspected(values) = session.ask(&Request::Inspect { names: self.names }, &[])? else {
            return Err(unexpected());
        };
        printer::json(&values);
        Ok(0)
    }
}
