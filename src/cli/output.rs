//! Destinations that the engine writes for the client: opened here, with the client's rights and umask.
//!
//! A regular file is written beside its place and renamed when everything is there, so a failed command leaves neither half a
//! file nor a damaged older one. Standard output, pipes, devices and directories are handed over as they are.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use crate::engine::outcome::Failure;

/// An opened destination.
pub(crate) struct Destination {
    pending: Option<(TempPath, PathBuf)>,
}

impl Destination {
    /// Opens a file, or standard output for `-`.
    pub(crate) fn file(path: &Path) -> Result<(Self, OwnedFd), Failure> {
        if path == Path::new("-") {
            if io::stdout().is_terminal() {
                return Err(
                    Failure::usage("refusing to write an archive to a terminal".to_owned())
                        .hint("redirect standard output, or name a file"),
                );
            }
            let stdout = io::stdout()
                .as_fd()
                .try_clone_to_owned()
                .map_err(|error| cannot_write(path, &error))?;
            return Ok((Self { pending: None }, stdout));
        }
        Self::beside(path).map_err(|error| cannot_write(path, &error))
    }

    fn beside(path: &Path) -> io::Result<(Self, OwnedFd)> {
        if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
            let file = OpenOptions::new().write(true).open(path)?;
            return Ok((Self { pending: None }, file.into()));
        }
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let temporary = tempfile::Builder::new()
            .prefix(".silt-")
            .make_in(directory, |path| {
                OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create_new(true)
                    .open(path)
            })?;
        let (file, temporary) = NamedTempFile::into_parts(temporary);
        let pending = Some((temporary, path.to_owned()));
        Ok((Self { pending }, file.into()))
    }

    /// Opens a directory, made when missing.
    pub(crate) fn directory(path: &Path) -> Result<(Self, OwnedFd), Failure> {
        let open = || -> io::Result<OwnedFd> {
            fs::create_dir_all(path)?;
            Ok(File::open(path)?.into())
        };
        let file = open().map_err(|error| cannot_write(path, &error))?;
        Ok((Self { pending: None }, file))
    }

    /// Puts what was written in its place.
    pub(crate) fn keep(self) -> Result<(), Failure> {
        if let Some((temporary, path)) = self.pending {
            temporary
                .persist(&path)
                .map_err(|error| cannot_write(&path, &error.error))?;
        }
        Ok(())
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::refused(format!("cannot write {}: {error}", path.display()))
}

/// Opens a file to read, or standard input for `-`.
pub(crate) fn input(path: &Path) -> Result<OwnedFd, Failure> {
    let opened = if path == Path::new("-") {
        io::stdin().as_fd().try_clone_to_owned()
    } else {
        File::open(path).map(OwnedFd::from)
    };
    opened.map_err(|error| Failure::refused(format!("cannot read {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_dropped_destination_leaves_the_older_file_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.tar");
        fs::write(&path, "older").unwrap();
        let (destination, file) = Destination::file(&path).unwrap();
        File::from(file).write_all(b"half").unwrap();
        drop(destination);
        assert_eq!(fs::read_to_string(&path).unwrap(), "older");

        let (destination, file) = Destination::file(&path).unwrap();
        File::from(file).write_all(b"whole").unwrap();
        destination.keep().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
