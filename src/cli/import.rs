//! `silt import`: a root filesystem's tar becomes an image.

use std::path::PathBuf;

use clap::Args;

use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, output, printer};
use crate::engine::call::FileSlot;
use crate::engine::outcome::Outcome;
use crate::engine::request::{ImportRequest, Request};

/// Make an image of a root filesystem's tar
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The tar, plain or compressed (gz, bz2, xz, zst); `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name of the image
    name: String,
    /// Dockerfile instruction that sets the image's config, `CMD ["x"]`; repeatable
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,
    /// Platform of the image, `os/arch[/variant]` [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
}

impl Import {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let file = output::input(&self.file)?;
        let source = self.file.display().to_string();
        let request = Request::Import(ImportRequest {
            input: FileSlot(0),
            source: source.clone(),
            name: self.name,
            changes: self.changes,
            platform: self.platform,
        });
        let outcome = session.work(&request, &[file], &mut |_, _| {});
        let Outcome::Built(image) = outcome.map_err(|failure| failure.about(&source))? else {
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
