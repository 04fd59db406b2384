//! `silt ps`: containers.

use clap::Args;

use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, printer};
use crate::engine::outcome::{ContainerSummary, Outcome};
use crate::engine::request::Request;

/// List containers
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Those that ended, too
    #[arg(short, long)]
    all: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Print ids in full
    #[arg(long)]
    no_trunc: bool,
}

impl Ps {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let Outcome::Containers(containers) = session.ask(&Request::Containers { all: self.all }, &[])?
        else {
            return Err(unexpected());
        };
        if session.json() {
            printer::json(&containers);
        } else if self.quiet {
            for container in &containers {
                printer::line(&printer::listed_id(&container.id, self.no_trunc));
            }
        } else {
            let rows: Vec<_> = containers.iter().map(|container| self.row(container)).collect();
            printer::table(
                &[
                    "CONTAINER ID",
                    "IMAGE",
                    "COMMAND",
                    "CREATED",
                    "STATUS",
                    "PORTS",
                    "NAMES",
                ],
                &rows,
            );
        }
        Ok(0)
    }

    fn row(&self, container: &ContainerSummary) -> Vec<String> {
        vec![
            printer::listed_id(&container.id, self.no_trunc),
            container.image.clone(),
            self.command(&container.command.join(" ")),
            printer::ago(Some(&container.created)),
            status(container),
            container.ports.join(", "),
            container.name.clone(),
        ]
    }

    fn command(&self, command: &str) -> String {
        if self.no_trunc || command.chars().count() <= 20 {
            return format!("\"{command}\"");
        }
        format!("\"{}\u{2026}\"", command.chars().take(19).collect::<String>())
    }
}

fn status(container: &ContainerSummary) -> String {
    let ago = printer::ago(Some(&container.since));
    match (container.state.as_str(), container.exit_code) {
        ("running", _) => format!("Up {}", ago.trim_end_matches(" ago")),
        ("exited", Some(code)) => format!("Exited ({code}) {ago}"),
        (state, _) => state.to_owned(),
    }
}
