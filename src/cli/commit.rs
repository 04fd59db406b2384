//! `silt commit`: an image from a container.

use clap::Args;

use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, printer};
use crate::engine::outcome::Outcome;
use crate::engine::request::{CommitRequest, Request};

/// Make an image of a container's filesystem
#[derive(Debug, Args)]
pub(crate) struct Commit {
    /// Container
    container: String,
    /// Name of the image
    name: Option<String>,
    /// Dockerfile instruction that changes the image's config, `CMD ["x"]`; repeatable
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
    /// Author of the image
    #[arg(short, long)]
    author: Option<String>,
    /// Comment in the image's history
    #[arg(short, long)]
    message: Option<String>,
}

impl Commit {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let request = Request::Commit(CommitRequest {
            container: self.container,
            name: self.name,
            changes: self.changes,
            author: self.author,
            message: self.message,
        });
        let Outcome::Built(image) = session.work(&request, &[], &mut |_, _| {})? else {
            return Err(unexpected());
        };
        if session.json() {
            printer::json(&image);
        } else {
            printer::line(&image.id);
        }
        Ok(0)
    }
}
