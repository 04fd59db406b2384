//! The root filesystem as files in a directory, with owners, modes, attributes and devices as far as the process may.
//!
//! In: a tree. Out: files. Effects: writes below the destination, never outside: every step is relative to an open directory
//! and follows no link. A destination that is not there comes into being whole; one that is there is written into, and what
//! it has besides stays. Without root, owners, devices and trusted attributes are left out, as `tar` does.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self as sys, AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use silt_store::{Content, Directory, Entry, GuestPath, Meta, Name, Node, Store, TreeRef, blob, root};

use super::destination::Target;
use super::error::ExportError;
use super::{DEST, Exporter, Job, Key};

pub(super) static EXPORTER: Exporter = Exporter {
    name: "local",
    summary: "the root filesystem as files in a directory",
    keys: &[Key {
        value: "a directory",
        ..DEST
    }],
    directory: true,
    write,
};

fn write(job: &Job<'_>, target: Target<'_>) -> Result<(), ExportError> {
    let tree = job.single()?.image.root;
    let Target::Path(path) = target else {
        return Err(ExportError::NoStream { exporter: "local" });
    };
    let failed = |source: io::Error| ExportError::Destination {
        path: path.clone(),
        source,
    };
    if path.exists() {
        return checkout(job.store, tree, &path);
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new()
        .prefix(".silt-export-")
        .tempdir_in(parent)
        .map_err(failed)?;
    checkout(job.store, tree, temporary.path())?;
    fs::rename(temporary.path(), &path).map_err(failed)?;
    // It has another name now; nothing is left to remove under the old one.
    drop(temporary.keep());
    Ok(())
}

fn checkout(store: &Arc<dyn Store>, tree: TreeRef, path: &Path) -> Result<(), ExportError> {
    let root = root::read(store.as_ref(), tree.tree)?;
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let top = sys::open(path, flags, Mode::empty()).map_err(|errno| ExportError::Destination {
        path: path.into(),
        source: errno.into(),
    })?;
    let mut links = HashMap::new();
    for group in root.links.groups() {
        let first: Arc<[GuestPath]> = Arc::from(group.as_slice());
        links.extend(group.iter().map(|member| (member.clone(), first.clone())));
    }
    let checkout = Checkout {
        store,
        top: &top,
        links,
        path: path.into(),
    };
    checkout.directory(&GuestPath::root(), &top, root.directory)?;
    checkout.finish(
        &GuestPath::root(),
        top.as_fd().as_raw_fd(),
        b".",
        &root.meta,
        true,
    )
}

struct Checkout<'a> {
    store: &'a Arc<dyn Store>,
    top: &'a OwnedFd,
    links: HashMap<GuestPath, Arc<[GuestPath]>>,
    path: PathBuf,
}

impl Checkout<'_> {
    fn directory(&self, path: &GuestPath, fd: &OwnedFd, tree: TreeRef) -> Result<(), ExportError> {
        for entry in Directory::load(self.store, tree.tree)?.entries() {
            let (name, entry) = entry?;
            self.entry(&path.child(&name), fd, &name, &entry)?;
        }
        Ok(())
    }

    fn entry(
        &self,
        path: &GuestPath,
        parent: &OwnedFd,
        name: &Name,
        entry: &Entry,
    ) -> Result<(), ExportError> {
        let at = |errno: Errno| self.failed(path, errno.into());
        let bytes = name.as_bytes();
        if let Node::Directory(tree) = &entry.node {
            let fd = make_directory(parent, bytes).map_err(at)?;
            self.directory(path, &fd, *tree)?;
            return self.finish(path, parent.as_raw_fd(), bytes, &entry.meta, true);
        }
        match sys::unlinkat(parent, bytes, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(at(errno)),
        }
        if let Some(group) = self.links.get(path)
            && group[0] != *path
        {
            let first = group[0].to_bytes();
            return sys::linkat(self.top, &first[1..], parent, bytes, AtFlags::empty()).map_err(at);
        }
        match &entry.node {
            Node::File(content) => self.file(path, parent, bytes, content)?,
            Node::Symlink(target) => sys::symlinkat(&**target, parent, bytes).map_err(at)?,
            Node::CharDevice(device) | Node::BlockDevice(device) => {
                let character = matches!(entry.node, Node::CharDevice(_));
                let kind = if character {
                    FileType::CharacterDevice
                } else {
                    FileType::BlockDevice
                };
                let number = sys::makedev(device.major, device.minor);
                match sys::mknodat(parent, bytes, kind, Mode::from(0o600), number) {
                    Err(Errno::PERM) => return Ok(()),
                    made => made.map_err(at)?,
                }
            }
            Node::Fifo => sys::mknodat(parent, bytes, FileType::Fifo, Mode::from(0o600), 0).map_err(at)?,
            Node::Socket => {
                sys::mknodat(parent, bytes, FileType::Socket, Mode::from(0o600), 0).map_err(at)?;
            }
            Node::Directory(_) => {}
        }
        let link = matches!(entry.node, Node::Symlink(_));
        self.finish(path, parent.as_raw_fd(), bytes, &entry.meta, !link)
    }

    fn file(
        &self,
        path: &GuestPath,
        parent: &OwnedFd,
        name: &[u8],
        content: &Content,
    ) -> Result<(), ExportError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = sys::openat(parent, name, flags, Mode::from(0o600))
            .map_err(|errno| self.failed(path, errno.into()))?;
        blob::fill(self.store, content, &File::from(fd)).map_err(|source| self.failed(path, source))
    }

    /// Gives an entry its metadata: the owner first, since changing it clears setuid; times last.
    fn finish(
        &self,
        path: &GuestPath,
        parent: i32,
        name: &[u8],
        meta: &Meta,
        has_mode: bool,
    ) -> Result<(), ExportError> {
        let at = |errno: Errno| self.failed(path, errno.into());
        let full = [format!("/proc/self/fd/{parent}/").as_bytes(), name].concat();
        let owner = (sys::Uid::from_raw(meta.uid), sys::Gid::from_raw(meta.gid));
        permitted(sys::chownat(
            sys::CWD,
            &*full,
            Some(owner.0),
            Some(owner.1),
            AtFlags::SYMLINK_NOFOLLOW,
        ))
        .map_err(at)?;
        if has_mode {
            let mode = Mode::from(u32::from(meta.mode));
            permitted(sys::chmodat(sys::CWD, &*full, mode, AtFlags::empty())).map_err(at)?;
        }
        for (name, value) in meta.xattrs.iter() {
            permitted(sys::lsetxattr(&*full, name, value, XattrFlags::empty())).map_err(at)?;
        }
        let time = Timespec {
            tv_sec: meta.mtime.seconds,
            tv_nsec: meta.mtime.nanos.into(),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        sys::utimensat(sys::CWD, &*full, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(at)
    }

    fn failed(&self, path: &GuestPath, source: io::Error) -> ExportError {
        ExportError::Entry {
            path: path.clone(),
            directory: self.path.clone(),
            source,
        }
    }
}

/// Opens the directory `name`, made if it is not there; anything else of that name gives way.
fn make_directory(parent: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let open = || {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        sys::openat(parent, name, flags, Mode::empty())
    };
    match sys::mkdirat(parent, name, Mode::from(0o700)) {
        Ok(()) => open(),
        Err(Errno::EXIST) => match open() {
            Err(Errno::NOTDIR | Errno::LOOP) => {
                sys::unlinkat(parent, name, AtFlags::empty())?;
                sys::mkdirat(parent, name, Mode::from(0o700))?;
                open()
            }
            opened => opened,
        },
        Err(errno) => Err(errno),
    }
}

/// What an ordinary user may not do, or a filesystem cannot, is left out.
fn permitted(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) => Ok(()),
        other => other,
    }
}
