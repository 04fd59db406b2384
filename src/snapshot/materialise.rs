//! A tree becomes a directory: every entry with its metadata, hard links and holes.
//!
//! In: a root and an empty directory that nobody else writes to. Out: nothing. Effects: files. Entries are created without following
//! links, metadata is set last and children before parents, so that times stand.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::time::TimeSpec;
use silt_store::{Device, Entry, GuestPath, Meta, Node, Store, StoreError, TreeRef, blob, root, walk};

/// Who the files are to belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// As in the tree, with all extended attributes and devices: needs root.
    Kept,
    /// The caller; extended attributes other than `user.*` and devices are left out.
    Mine,
}

/// Why a tree could not be written out.
#[derive(Debug, thiserror::Error)]
pub enum MaterialiseError {
    /// The system refused.
    #[error("cannot write {}", path.display())]
    Io {
        /// On the host.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The tree could not be read.
    #[error("cannot read the tree")]
    Store(#[from] StoreError),
}

/// Writes the root `tree` into the directory `target`, which is there and empty.
///
/// # Errors
/// `Io`, `Store`. What was written until then stays.
pub fn materialise(
    store: &Arc<dyn Store>,
    tree: TreeRef,
    target: &Path,
    owners: Owners,
) -> Result<(), MaterialiseError> {
    let root = root::read(&**store, tree.tree)?;
    let mut first = HashMap::new();
    for group in root.links.groups() {
        for path in &group[1..] {
            first.insert(path.clone(), group[0].clone());
        }
    }
    let mut directories = vec![(target.to_owned(), root.meta)];
    for found in walk::walk(store, tree) {
        let (path, entry) = found?;
        let host = on_host(target, &path);
        if let Some(first) = first.get(&path) {
            fs::hard_link(on_host(target, first), &host)
                .map_err(|source| MaterialiseError::Io { path: host, source })?;
            continue;
        }
        create(store, &host, &entry, owners).map_err(|source| MaterialiseError::Io {
            path: host.clone(),
            source,
        })?;
        if matches!(entry.node, Node::Directory(_)) {
            directories.push((host, entry.meta));
        }
    }
    for (host, meta) in directories.into_iter().rev() {
        dress(&host, &meta, false, owners).map_err(|source| MaterialiseError::Io { path: host, source })?;
    }
    Ok(())
}

fn on_host(target: &Path, path: &GuestPath) -> PathBuf {
    let mut host = target.to_owned();
    host.extend(path.names().iter().map(|name| OsStr::from_bytes(name.as_bytes())));
    host
}

fn create(store: &Arc<dyn Store>, host: &Path, entry: &Entry, owners: Owners) -> io::Result<()> {
    let device = |kind, device: Device| match owners {
        Owners::Mine => Ok(()),
        Owners::Kept => {
            let number = makedev(device.major.into(), device.minor.into());
            mknod(host, kind, Mode::empty(), number)?;
            dress(host, &entry.meta, false, owners)
        }
    };
    match &entry.node {
        // Dressed when all below it stands.
        Node::Directory(_) => fs::create_dir(host),
        Node::File(content) => {
            blob::fill(store, content, &File::create_new(host)?)?;
            dress(host, &entry.meta, false, owners)
        }
        Node::Symlink(target) => {
            symlink(OsStr::from_bytes(target), host)?;
            dress(host, &entry.meta, true, owners)
        }
        Node::CharDevice(number) => device(SFlag::S_IFCHR, *number),
        Node::BlockDevice(number) => device(SFlag::S_IFBLK, *number),
        Node::Fifo => {
            mknod(host, SFlag::S_IFIFO, Mode::empty(), 0)?;
            dress(host, &entry.meta, false, owners)
        }
        Node::Socket => {
            mknod(host, SFlag::S_IFSOCK, Mode::empty(), 0)?;
            dress(host, &entry.meta, false, owners)
        }
    }
}

/// Owner, attributes, permissions, times: in this order, since each of the first clears some of the next.
fn dress(host: &Path, meta: &Meta, is_link: bool, owners: Owners) -> io::Result<()> {
    if owners == Owners::Kept {
        lchown(host, Some(meta.uid), Some(meta.gid))?;
    }
    if !is_link {
        fs::set_permissions(host, fs::Permissions::from_mode(meta.mode.into()))?;
    }
    for (name, value) in meta.xattrs.iter() {
        if owners == Owners::Kept || name.starts_with(b"user.") {
            xattr::set(host, OsStr::from_bytes(name), value)?;
        }
    }
    let time = TimeSpec::new(meta.mtime.seconds, meta.mtime.nanos.into());
    utimensat(
        nix::fcntl::AT_FDCWD,
        host,
        &time,
        &time,
        UtimensatFlags::NoFollowSymlink,
    )?;
    Ok(())
}
