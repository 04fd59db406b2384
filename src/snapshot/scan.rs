//! A directory becomes a tree: everything in it read, with exact metadata.
//!
//! In: a directory that nobody writes to. Out: a root. Effects: puts content and nodes. Links are not followed. The host's own
//! `SELinux` labels are left out: they are no part of a filesystem that moves.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};
use silt_store::blob::ChunkWriter;
use silt_store::{
    Device, Entry, GuestPath, Links, Meta, Name, NameError, Node, Root, Store, StoreError, Time, TreeRef,
    Xattrs, directory, root,
};

/// Why a directory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The system refused.
    #[error("cannot read {}", path.display())]
    Io {
        /// On the host.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The store refused.
    #[error("cannot store what was read")]
    Store(#[from] StoreError),
    /// A name that a tree cannot hold.
    #[error("cannot keep a name below {}: {problem}", path.display())]
    Name {
        /// The directory.
        path: PathBuf,
        /// What is wrong with the name.
        problem: NameError,
    },
}

struct Scan<'a> {
    store: &'a dyn Store,
    writer: ChunkWriter<'a>,
    /// Names of one inode.
    linked: HashMap<(u64, u64), Vec<GuestPath>>,
}

/// Reads all below `source` into a tree.
///
/// # Errors
/// `Io`, `Store`, `Name`.
pub fn scan(store: &dyn Store, source: &Path) -> Result<TreeRef, ScanError> {
    let mut scan = Scan {
        store,
        writer: ChunkWriter::new(store),
        linked: HashMap::new(),
    };
    let directory = scan.directory(source, &GuestPath::root())?;
    let stat = fs::symlink_metadata(source).map_err(at(source))?;
    let meta = meta(source, &stat).map_err(at(source))?;
    scan.writer.flush()?;
    let links = Links::new(scan.linked.into_values());
    Ok(root::write(
        store,
        &Root {
            meta,
            directory,
            links,
        },
    )?)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ScanError {
    let path = path.to_owned();
    move |source| ScanError::Io { path, source }
}

impl Scan<'_> {
    fn directory(&mut self, host: &Path, guest: &GuestPath) -> Result<TreeRef, ScanError> {
        let mut entries = Vec::new();
        for found in fs::read_dir(host).map_err(at(host))? {
            let found = found.map_err(at(host))?;
            let name = Name::new(found.file_name().as_bytes()).map_err(|problem| ScanError::Name {
                path: host.to_owned(),
                problem,
            })?;
            let entry = self.entry(&found.path(), &guest.child(&name))?;
            entries.push((name, entry));
        }
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(directory::write(self.store, entries)?)
    }

    fn entry(&mut self, host: &Path, guest: &GuestPath) -> Result<Entry, ScanError> {
        let stat = fs::symlink_metadata(host).map_err(at(host))?;
        let kind = stat.file_type();
        let device = Device {
            major: major(stat.rdev()) as u32,
            minor: minor(stat.rdev()) as u32,
        };
        let node = if kind.is_dir() {
            Node::Directory(self.directory(host, guest)?)
        } else if kind.is_file() {
            let mut file = File::open(host).map_err(at(host))?;
            Node::File(self.writer.write(&mut file, stat.len())?)
        } else if kind.is_symlink() {
            let target = fs::read_link(host).map_err(at(host))?;
            Node::Symlink(target.as_os_str().as_bytes().into())
        } else if kind.is_char_device() {
            Node::CharDevice(device)
        } else if kind.is_block_device() {
            Node::BlockDevice(device)
        } else if kind.is_fifo() {
            Node::Fifo
        } else {
            Node::Socket
        };
        if stat.nlink() > 1 && !kind.is_dir() {
            let names = self.linked.entry((stat.dev(), stat.ino())).or_default();
            names.push(guest.clone());
        }
        let meta = meta(host, &stat).map_err(at(host))?;
        Ok(Entry { meta, node })
    }
}

fn meta(host: &Path, stat: &Metadata) -> io::Result<Meta> {
    let mut xattrs = Xattrs::default();
    for name in xattr::list(host)? {
        if name.as_bytes() == b"security.selinux" {
            continue;
        }
        if let Some(value) = xattr::get(host, &name)? {
            xattrs.set(name.as_bytes(), &value);
        }
    }
    Ok(Meta {
        mode: (stat.mode() & 0o7777) as u16,
        uid: stat.uid(),
        gid: stat.gid(),
        mtime: Time {
            seconds: stat.mtime(),
            nanos: stat.mtime_nsec() as u32,
        },
        xattrs,
    })
}
