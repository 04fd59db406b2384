//! An image archive's members by name: a tar file, read where it lies, or a directory.
//!
//! In: a file, a stream, a directory. Out: readers of members. Effects: reads files; a stream or a compressed file is first
//! written to a temporary file without a name. Member names inside tars are only ever looked up, never opened on this machine.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::ImageError;
use crate::layer::compress::is_compressed;
use crate::layer::decompress;

/// Documents (manifests, configs) may be this long.
const MAX_DOCUMENT: u64 = 8 << 20;
const MAX_LINKS: usize = 8;

/// Where an image comes from.
pub enum Input {
    /// A file, with the name to speak of it. Read where it lies when it is a plain tar, which needs no copy.
    File(File, PathBuf),
    /// Anything else.
    Stream(Box<dyn Read + Send>),
    /// An OCI layout.
    Directory(PathBuf),
}

pub(super) enum Archive {
    Tar {
        file: File,
        members: HashMap<String, Member>,
        path: PathBuf,
    },
    Directory(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Member {
    File { offset: u64, size: u64 },
    Link(String),
}

impl Archive {
    pub(super) fn open(input: Input) -> Result<Self, ImageError> {
        let (file, path) = match input {
            Input::Directory(path) => return Ok(Self::Directory(path)),
            Input::File(file, path) => (plain_file(file).map_err(|source| read(&path, source))?, path),
            Input::Stream(stream) => {
                let path = PathBuf::from("standard input");
                (spool(stream).map_err(|source| read(&path, source))?, path)
            }
        };
        let members = index(&file).map_err(|source| read(&path, source))?;
        Ok(Self::Tar { file, members, path })
    }

    /// Whether there is a member `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Tar { members, .. } => members.contains_key(name),
            Self::Directory(path) => path.join(name).is_file(),
        }
    }

    /// Whether the members look like a root filesystem.
    pub(super) fn is_root_filesystem(&self) -> bool {
        let Self::Tar { members, .. } = self else {
            return false;
        };
        ["etc/passwd", "bin/sh", "usr/bin/env", "bin", "etc/os-release"]
            .iter()
            .any(|name| members.contains_key(*name))
    }

    /// A member's bytes and how many there are.
    pub(super) fn member(&self, name: &str) -> Result<(Box<dyn Read + Send + '_>, u64), ImageError> {
        let missing = || ImageError::NoMember { name: name.into() };
        match self {
            Self::Tar { file, members, .. } => {
                let mut name = name.to_owned();
                for _ in 0..MAX_LINKS {
                    match members.get(&name).ok_or_else(missing)? {
                        Member::Link(target) => name.clone_from(target),
                        Member::File { offset, size } => {
                            let at = At {
                                file,
                                position: *offset,
                            };
                            return Ok((Box::new(at.take(*size)), *size));
                        }
                    }
                }
                Err(missing())
            }
            Self::Directory(path) => {
                let path = path.join(name);
                let open = || {
                    let file = File::open(&path)?;
                    let size = file.metadata()?.len();
                    Ok((file, size))
                };
                let (file, size) = open().map_err(|error: io::Error| match error.kind() {
                    io::ErrorKind::NotFound => missing(),
                    _ => read(&path, error),
                })?;
                Ok((Box::new(file), size))
            }
        }
    }

    /// A short member, whole.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>, ImageError> {
        let (mut reader, size) = self.member(name)?;
        if size > MAX_DOCUMENT {
            return Err(ImageError::TooLong {
                name: name.into(),
                size,
            });
        }
        let mut bytes = Vec::new();
        let path = match self {
            Self::Tar { path, .. } | Self::Directory(path) => path,
        };
        reader
            .read_to_end(&mut bytes)
            .map_err(|source| read(path, source))?;
        Ok(bytes)
    }
}

fn read(path: &Path, source: io::Error) -> ImageError {
    ImageError::Read {
        path: path.into(),
        source,
    }
}

/// The file itself if it can be read at offsets and is not compressed.
fn plain_file(mut file: File) -> io::Result<File> {
    let regular = file.metadata()?.is_file();
    if regular {
        let mut head = [0; 6];
        let length = file.read_at(&mut head, 0)?;
        file.seek(SeekFrom::Start(0))?;
        if !is_compressed(&head[..length]) {
            return Ok(file);
        }
    }
    spool(Box::new(file))
}

fn spool(stream: Box<dyn Read + Send>) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(&mut decompress(stream)?, &mut file)?;
    file.flush()?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn index(file: &File) -> io::Result<HashMap<String, Member>> {
    let mut members = HashMap::new();
    let length = file.metadata()?.len();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let name = normal("", &String::from_utf8_lossy(&entry.path_bytes()));
        let target = |base: &str| {
            let link = entry.link_name_bytes().unwrap_or_default();
            Member::Link(normal(base, &String::from_utf8_lossy(&link)))
        };
        let member = match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous => Member::File {
                offset: entry.raw_file_position(),
                size: entry.size(),
            },
            tar::EntryType::Symlink => target(name.rsplit_once('/').map_or("", |(parent, _)| parent)),
            tar::EntryType::Link => target(""),
            // Directories count for what the archive looks like.
            _ => Member::Link(String::new()),
        };
        // What is skipped over by seeking ends without an error.
        if let Member::File { offset, size } = member
            && offset.checked_add(size).is_none_or(|end| end > length)
        {
            let text = format!("it is truncated in {name}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        members.insert(name, member);
    }
    Ok(members)
}

/// `./a/../b` seen from `base`, without dots.
fn normal(base: &str, name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let from = if name.starts_with('/') { "" } else { base };
    for part in from.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// Reads a file from a position of its own.
struct At<'f> {
    file: &'f File,
    position: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}
