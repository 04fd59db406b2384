//! `silt pull`: an image from a registry.

use std::io;

use clap::Args;

use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, printer};
use crate::engine::call::Message;
use crate::engine::outcome::Outcome;
use crate::engine::request::Request;
use crate::progress::{Kind, render};

/// Get an image from a registry
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Image, `[registry/]name[:tag|@digest]`
    image: String,
    /// Platform of the image, `os/arch[/variant]` [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print the image's id and nothing else
    #[arg(short, long)]
    quiet: bool,
}

impl Pull {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let kind = if self.quiet { Kind::Quiet } else { Kind::Plain };
        let sink = render(kind, Box::new(io::stderr()));
        let request = Request::Pull {
            image: self.image,
            platform: self.platform,
        };
        let outcome = session.work(&request, &[], &mut |message, _| {
            if let Message::Event(event) = message {
                sink.event(event);
            }
        });
        drop(sink);
        let Outcome::Built(image) = outcome? else {
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
