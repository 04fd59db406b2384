//! `silt history`: the steps of an image, with the numbers that addresses use.

use clap::Args;

use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, printer};
use crate::engine::outcome::{HistoryLine, Outcome};
use crate::engine::request::Request;

/// Show an image's steps, newest first
///
/// STEP is the number that `silt diff NAME@STEP` and `silt shell NAME@STEP` take.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Image
    image: String,
    /// Print instructions in full
    #[arg(long)]
    no_trunc: bool,
}

impl History {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let request = Request::History {
            image: self.image.clone(),
        };
        let Outcome::History(lines) = session.ask(&request, &[])? else {
            return Err(unexpected());
        };
        if session.json() {
            printer::json(&lines);
        } else {
            let rows: Vec<_> = lines.iter().map(|line| self.row(line)).collect();
            printer::table(&["STEP", "CREATED", "CREATED BY", "SIZE", "COMMENT"], &rows);
        }
        Ok(0)
    }

    fn row(&self, line: &HistoryLine) -> Vec<String> {
        let created_by = line.created_by.replace(['\n', '\t'], " ");
        let created_by = if self.no_trunc || created_by.chars().count() <= 60 {
            created_by
        } else {
            format!("{}\u{2026}", created_by.chars().take(59).collect::<String>())
        };
        vec![
            line.step.map_or_else(String::new, |step| step.to_string()),
            printer::ago(line.created.as_deref()),
            created_by,
            printer::size(line.size),
            line.comment.clone(),
        ]
    }
}
