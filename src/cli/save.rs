//! `silt save`: images to an archive.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::CommandResult;
use crate::cli::output::Destination;
use crate::cli::session::Session;
use crate::engine::call::FileSlot;
use crate::engine::request::Request;

/// Write images to an archive that `docker load` or any OCI tool reads
#[derive(Debug, Args)]
pub(crate) struct Save {
    /// Images, by name or id
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// The archive [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Form of the archive
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// As `docker save` writes it
    #[default]
    Docker,
    /// An OCI image layout as a tar
    Oci,
}

impl Save {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let path = self.output.unwrap_or_else(|| PathBuf::from("-"));
        let (destination, file) = Destination::file(&path)?;
        let format = match self.format {
            Format::Docker => "docker",
            Format::Oci => "oci",
        };
        let request = Request::Save {
            images: self.images,
            output: FileSlot(0),
            format: format.to_owned(),
        };
        session.work(&request, &[file], &mut |_, _| {})?;
        destination.keep()?;
        Ok(0)
    }
}
