//! `silt images`: the images of the store.

use clap::Args;

use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, printer};
use crate::engine::outcome::{ImageSummary, Outcome};
use crate::engine::request::Request;

/// List images
#[derive(Debug, Args)]
pub(crate) struct Images {
    /// Only this repository, or this name with its tag
    name: Option<String>,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Print ids in full
    #[arg(long)]
    no_trunc: bool,
}

impl Images {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let request = Request::Images {
            name: self.name.clone(),
        };
        let Outcome::Images(images) = session.ask(&request, &[])? else {
            return Err(unexpected());
        };
        if session.json() {
            printer::json(&images);
        } else if self.quiet {
            let mut ids: Vec<_> = images
                .iter()
                .map(|image| printer::listed_id(&image.id, self.no_trunc))
                .collect();
            ids.dedup();
            for id in ids {
                printer::line(&id);
            }
        } else {
            let rows: Vec<_> = images.iter().map(|image| self.row(image)).collect();
            printer::table(&["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], &rows);
        }
        Ok(0)
    }

    fn row(&self, image: &ImageSummary) -> Vec<String> {
        let named = |name: &Option<String>| name.clone().unwrap_or_else(|| "<none>".to_owned());
        vec![
            named(&image.repository),
            named(&image.tag),
            printer::listed_id(&image.id, self.no_trunc),
            printer::ago(image.created.as_deref()),
            printer::size(image.size),
        ]
    }
}
