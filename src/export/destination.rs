//! Where an export goes: a file that comes into being whole, or a stream.

use std::fs::Permissions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::ExportError;

/// Where to write.
pub enum Target<'a> {
    /// A file or a directory, by the exporter.
    Path(PathBuf),
    /// Standard output, or a client's socket.
    Stream(&'a mut dyn Write),
}

const BUFFER: usize = 256 << 10;

/// Gives `write` a writer. A file is written beside its place and renamed into it when all is well; pipes and devices are
/// written to directly.
pub(super) fn to_file(
    target: Target<'_>,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let path = match target {
        Target::Stream(stream) => {
            let mut buffered = BufWriter::with_capacity(BUFFER, stream);
            write(&mut buffered)?;
            return buffered.flush().map_err(ExportError::Write);
        }
        Target::Path(path) => path,
    };
    let failed = |source| ExportError::Destination {
        path: path.clone(),
        source,
    };
    if is_special(&path) {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .map_err(failed)?;
        let mut buffered = BufWriter::with_capacity(BUFFER, file);
        write(&mut buffered)?;
        return buffered.flush().map_err(ExportError::Write);
    }
    if path.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new()
        .prefix(".silt-export-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(failed)?;
    let mut buffered = BufWriter::with_capacity(BUFFER, temporary);
    write(&mut buffered)?;
    let temporary = buffered
        .into_inner()
        .map_err(|error| ExportError::Write(error.into_error()))?;
    temporary.persist(&path).map_err(|error| failed(error.error))?;
    Ok(())
}

fn is_special(path: &Path) -> bool {
    let kind = std::fs::metadata(path).map(|found| found.file_type());
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_char_device() || kind.is_socket())
}
