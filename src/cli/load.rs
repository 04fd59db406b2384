//! `silt load`: images from an archive.

use std::path::PathBuf;

use clap::Args;

use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, output, printer};
use crate::engine::call::FileSlot;
use crate::engine::outcome::Outcome;
use crate::engine::request::Request;

/// Read images from a docker archive, an OCI archive or an OCI layout
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Archive or layout directory [default: standard input]
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
}

impl Load {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let path = self.input.unwrap_or_else(|| PathBuf::from("-"));
        let file = output::input(&path)?;
        let outcome = session.work(&Request::Load { input: FileSlot(0) }, &[file], &mut |_, _| {});
        let Outcome::Names(names) = outcome.map_err(|failure| failure.about(&path.display().to_string()))?
        else {
            return Err(unexpected());
        };
        if session.json() {
            printer::json(&names);
            return Ok(0);
        }
        for name in names {
            printer::line(&format!("Loaded image: {name}"));
        }
        Ok(0)
    }
}
