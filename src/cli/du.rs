//! `silt du`: what the store holds.

use clap::Args;

use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, printer};
use crate::engine::outcome::Outcome;
use crate::engine::request::Request;

/// Show what the store holds and how much disk it takes
#[derive(Debug, Args)]
pub(crate) struct Du {}

impl Du {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let Outcome::DiskUsage(usage) = session.ask(&Request::DiskUsage, &[])? else {
            return Err(unexpected());
        };
        if session.json() {
            printer::json(&usage);
            return Ok(0);
        }
        let counts = [
            ("Images", usage.images),
            ("Containers", usage.containers),
            ("Cached steps", usage.cache_records),
        ];
        let mut rows: Vec<_> = counts
            .iter()
            .map(|(kind, count)| vec![(*kind).to_owned(), count.to_string()])
            .collect();
        rows.push(vec!["Disk".to_owned(), printer::size(usage.disk)]);
        printer::table(&["TYPE", "TOTAL"], &rows);
        Ok(0)
    }
}
