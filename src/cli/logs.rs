//! `silt logs`: what a container wrote.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use clap::Args;

use crate::cli::CommandResult;
use crate::cli::session::Session;
use crate::engine::call::FileSlot;
use crate::engine::outcome::Failure;
use crate::engine::request::{LogsRequest, Request};

/// Show what a container wrote
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Container
    container: String,
    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<usize>,
    /// Begin each line with its time
    #[arg(short, long)]
    timestamps: bool,
}

impl Logs {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let streams: io::Result<Vec<OwnedFd>> = [
            io::stdout().as_fd().try_clone_to_owned(),
            io::stderr().as_fd().try_clone_to_owned(),
        ]
        .into_iter()
        .collect();
        let streams = streams.map_err(|error| Failure::error(format!("standard streams: {error}")))?;
        let request = Request::Logs(LogsRequest {
            container: self.container,
            follow: self.follow,
            tail: self.tail,
            timestamps: self.timestamps,
            stdout: FileSlot(0),
            stderr: FileSlot(1),
        });
        session.ask(&request, &streams)?;
        Ok(0)
    }
}
