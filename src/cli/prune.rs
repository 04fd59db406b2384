//! `silt prune`: gives back the space of what nothing names.

use clap::Args;

use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, printer};
use crate::engine::outcome::Outcome;
use crate::engine::request::{PruneRequest, Request};

/// Remove ended containers, unnamed images and, when asked, cached steps; give back their space
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// All images that no container uses, and all cached steps
    #[arg(short, long)]
    all: bool,
    /// Cached steps
    #[arg(long)]
    cache: bool,
}

impl Prune {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let request = Request::Prune(PruneRequest {
            cache: self.cache || self.all,
            dangling: true,
            all_images: self.all,
            containers: true,
        });
        let Outcome::Pruned(pruned) = session.work(&request, &[], &mut |_, _| {})? else {
            return Err(unexpected());
        };
        if session.json() {
            printer::json(&pruned);
            return Ok(0);
        }
        for (what, ids) in [("container", &pruned.containers), ("image", &pruned.images)] {
            for id in ids {
                printer::line(&format!("Removed {what}: {}", printer::short_id(id)));
            }
        }
        printer::line(&format!("Removed cached steps: {}", pruned.cache_records));
        printer::line(&format!("Space given back: {}", printer::size(pruned.bytes)));
        Ok(0)
    }
}
