//! The outer tar of an image archive, or the directory of a layout: named blobs, written the same way to either.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::error::ExportError;

/// Writes members by name; one that was written is not written again.
pub(super) struct ArchiveWriter<'w> {
    place: Place<'w>,
    written: HashSet<String>,
}

enum Place<'w> {
    Tar(&'w mut dyn Write),
    Directory(PathBuf),
}

impl<'w> ArchiveWriter<'w> {
    pub(super) fn tar(out: &'w mut dyn Write) -> Self {
        Self::new(Place::Tar(out))
    }

    pub(super) fn directory(path: &Path) -> Self {
        Self::new(Place::Directory(path.into()))
    }

    fn new(place: Place<'w>) -> Self {
        Self {
            place,
            written: HashSet::new(),
        }
    }

    pub(super) fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        self.member(name, bytes.len() as u64, |out| {
            out.write_all(bytes).map_err(ExportError::Write)
        })
    }

    /// Writes a member of `size` bytes with `write`, unless it is there.
    pub(super) fn member(
        &mut self,
        name: &str,
        size: u64,
        write: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        if !self.written.insert(name.into()) {
            return Ok(());
        }
        match &mut self.place {
            Place::Tar(out) => tar_member(*out, name, size, write),
            Place::Directory(root) => {
                let path = root.join(name);
                let failed = |source| ExportError::Destination {
                    path: path.clone(),
                    source,
                };
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).map_err(failed)?;
                }
                let mut out = BufWriter::new(File::create(&path).map_err(failed)?);
                write(&mut out)?;
                out.flush().map_err(failed)
            }
        }
    }

    /// Writes the end mark of a tar.
    pub(super) fn finish(self) -> Result<(), ExportError> {
        match self.place {
            Place::Tar(out) => out.write_all(&[0; 1024]).map_err(ExportError::Write),
            Place::Directory(_) => Ok(()),
        }
    }
}

fn tar_member(
    out: &mut dyn Write,
    name: &str,
    size: u64,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let mut header = tar::Header::new_ustar();
    header.set_path(name).map_err(ExportError::Write)?;
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    out.write_all(header.as_bytes()).map_err(ExportError::Write)?;
    let mut counted = Counted { out, count: 0 };
    write(&mut counted)?;
    if counted.count != size {
        return Err(ExportError::Write(io::Error::other(
            "a member has not the size its header says",
        )));
    }
    let padding = size.wrapping_neg() % 512;
    counted
        .out
        .write_all(&[0; 512][..padding as usize])
        .map_err(ExportError::Write)
}

struct Counted<'w> {
    out: &'w mut dyn Write,
    count: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
