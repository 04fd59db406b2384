//! `silt diff`: what a step or a container changed, or what differs between two filesystems.

use clap::Args;

use crate::cli::session::Session;
use crate::cli::{CommandResult, printer};
use crate::engine::call::Message;
use crate::engine::outcome::{Change, ChangeKind};
use crate::engine::request::Request;

/// Show what a step or a container changed, or how two filesystems differ
///
/// A added, C changed, D deleted. With one name: an image against what it was built from, a step against the step before, a
/// container against its image.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// `NAME`, `NAME@3` (`silt history NAME` numbers the steps), `NAME@failed`, or a container
    old: String,
    /// The same, to compare with
    new: Option<String>,
}

impl Diff {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let request = Request::Diff {
            old: self.old,
            new: self.new,
        };
        let mut all: Vec<Change> = Vec::new();
        let json = session.json();
        session.work(&request, &[], &mut |message, _| {
            if let Message::Changes(changes) = message {
                if json {
                    all.extend(changes);
                } else {
                    print(&changes);
                }
            }
        })?;
        if json {
            printer::json(&all);
        }
        Ok(0)
    }
}

fn print(changes: &[Change]) {
    for change in changes {
        let letter = match change.kind {
            ChangeKind::Added => 'A',
            ChangeKind::Changed => 'C',
            ChangeKind::Deleted => 'D',
        };
        printer::line(&format!("{letter} {}", change.path));
    }
}
