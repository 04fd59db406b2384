//! `silt tag`: another name for an image.

use clap::Args;

use crate::cli::CommandResult;
use crate::cli::session::Session;
use crate::engine::request::Request;

/// Give an image another name
#[derive(Debug, Args)]
pub(crate) struct Tag {
    /// Image, by name or id
    image: String,
    /// The new name
    name: String,
}

impl Tag {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let request = Request::Tag {
            image: self.image,
            name: self.name,
        };
        session.ask(&request, &[])?;
        Ok(0)
    }
}
