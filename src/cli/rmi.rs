//! `silt rmi`: removes names, and images that lose their last one.

use clap::Args;

use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, printer};
use crate::engine::outcome::{Outcome, Removed};
use crate::engine::request::Request;

/// Remove images
///
/// A name is removed; the image goes with its last name. The space comes back with `silt prune`.
#[derive(Debug, Args)]
pub(crate) struct Rmi {
    /// Images, by name or id
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Remove an image with all its names, even when containers were made from it
    #[arg(short, long)]
    force: bool,
}

impl Rmi {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let request = Request::RemoveImages {
            images: self.images,
            force: self.force,
        };
        let Outcome::Removed(removed) = session.ask(&request, &[])? else {
            return Err(unexpected());
        };
        if session.json() {
            printer::json(&removed);
            return Ok(0);
        }
        for line in removed {
            match line {
                Removed::Untagged(name) => printer::line(&format!("Untagged: {name}")),
                Removed::Deleted(id) => printer::line(&format!("Deleted: {id}")),
            }
        }
        Ok(0)
    }
}
