//! Mount targets in a root filesystem that may be hostile.
//!
//! In: a descriptor of the root and a path as the container would write it. Out: an `O_PATH` descriptor of what the path names
//! inside this root. Effect: what is missing is created, and reported as a stub. Every component is opened by itself and never
//! followed by the kernel; links are read and walked here, absolute ones from the root, and `..` stops at it. So no link leads
//! out, and a dangling one (`/etc/resolv.conf -> ../run/...`) leads to where the container would look.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, fstat, mkdirat, openat,
    readlinkat, utimensat,
};
use rustix::io::Errno;

use super::Stub;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// What a target must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

/// Resolves targets below one root and remembers what it had to create.
pub(super) struct Targets<'root> {
    root: BorrowedFd<'root>,
    device: u64,
    stubs: Vec<Stub>,
}

impl<'root> Targets<'root> {
    pub(super) fn new(root: BorrowedFd<'root>) -> io::Result<Self> {
        Ok(Self {
            root,
            device: fstat(root)?.st_dev,
            stubs: Vec::new(),
        })
    }

    /// What was created in the root filesystem itself, parents first.
    pub(super) fn into_stubs(self) -> Vec<Stub> {
        self.stubs
    }

    /// Opens `path`; creates it and its parents when missing. What is there already is taken as it is: a file where a directory
    /// is asked for makes the mount fail, not this.
    pub(super) fn resolve(&mut self, path: &str, kind: Kind) -> io::Result<OwnedFd> {
        let mut walk = Walk::new(self.root, path.as_ref())?;
        while let Some(name) = walk.pending.pop_front() {
            if walk.step(&name)? {
                continue;
            }
            let directory = !walk.pending.is_empty() || kind == Kind::Directory;
            self.create(&walk, &name, directory)?;
            if !walk.step(&name)? {
                return Err(Errno::NOENT.into());
            }
        }
        walk.into_descriptor()
    }

    /// Makes an empty directory or file and puts the parent's modification time back.
    fn create(&mut self, walk: &Walk<'_>, name: &OsStr, directory: bool) -> io::Result<()> {
        let parent = walk.here();
        let before = fstat(parent)?;
        if directory {
            mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
        } else {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            openat(parent, name, flags, Mode::from_raw_mode(0o644))?;
        }
        restore_time(parent, &before)?;
        if before.st_dev == self.device {
            let mut path: Vec<u8> = Vec::new();
            for part in walk.names().chain([name]) {
                path.push(b'/');
                path.extend_from_slice(part.as_bytes());
            }
            // A stub whose path is no text cannot come from a Spec, whose paths are; only a link's target could spell one.
            let path = String::from_utf8(path).map_err(|_| io::Error::from(Errno::ILSEQ))?;
            self.stubs.push(Stub { path, directory });
        }
        Ok(())
    }
}

/// Puts a directory's modification time back to what it was.
fn restore_time(directory: BorrowedFd<'_>, before: &Stat) -> io::Result<()> {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: before.st_mtime,
            tv_nsec: before.st_mtime_nsec as _,
        },
    };
    Ok(utimensat(directory, "", &times, AtFlags::EMPTY_PATH)?)
}

/// Where a walk stands: the directories from the root to here, and the components still to go.
struct Walk<'root> {
    root: BorrowedFd<'root>,
    below: Vec<(OsString, OwnedFd)>,
    pending: VecDeque<OsString>,
    links: usize,
}

impl<'root> Walk<'root> {
    fn new(root: BorrowedFd<'root>, path: &OsStr) -> io::Result<Self> {
        if !path.as_bytes().starts_with(b"/") {
            return Err(Errno::INVAL.into());
        }
        Ok(Self {
            root,
            below: Vec::new(),
            pending: components(path.as_bytes()).collect(),
            links: 0,
        })
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.below
            .last()
            .map_or(self.root, |(_, descriptor)| descriptor.as_fd())
    }

    fn names(&self) -> impl Iterator<Item = &OsStr> {
        self.below.iter().map(|(name, _)| name.as_os_str())
    }

    /// Goes one component further; false when there is nothing of that name.
    fn step(&mut self, name: &OsStr) -> io::Result<bool> {
        if name == ".." {
            self.below.pop();
            return Ok(true);
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let next = match openat(self.here(), name, flags, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if FileType::from_raw_mode(fstat(&next)?.st_mode) != FileType::Symlink {
            self.below.push((name.to_owned(), next));
            return Ok(true);
        }
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        let link = readlinkat(&next, "", Vec::new())?.into_bytes();
        if link.starts_with(b"/") {
            self.below.clear();
        }
        for part in components(&link).rev().collect::<Vec<_>>() {
            self.pending.push_front(part);
        }
        Ok(true)
    }

    fn into_descriptor(mut self) -> io::Result<OwnedFd> {
        match self.below.pop() {
            Some((_, descriptor)) => Ok(descriptor),
            None => Ok(self.root.try_clone_to_owned()?),
        }
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = OsString> {
    path.split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(|part| OsString::from_vec(part.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn resolved(root: &Path, path: &str, kind: Kind) -> io::Result<(String, Vec<Stub>)> {
        let directory = OwnedFd::from(std::fs::File::open(root)?);
        let mut targets = Targets::new(directory.as_fd())?;
        let target = targets.resolve(path, kind)?;
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&target));
        let name = std::fs::read_link(link)?;
        let inside = name
            .strip_prefix(root.canonicalize()?)
            .map_or("OUTSIDE".into(), |p| p.display().to_string());
        Ok((inside, targets.into_stubs()))
    }

    fn stub(path: &str, directory: bool) -> Stub {
        Stub {
            path: path.into(),
            directory,
        }
    }

    #[test]
    fn links_never_lead_out() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir(at("in")).unwrap();
        symlink("/in", at("absolute")).unwrap();
        symlink("../../../../in", at("climbing")).unwrap();
        symlink("/proc/self/root/in", at("magic")).unwrap();
        symlink("loop", at("loop")).unwrap();
        assert_eq!(
            resolved(root.path(), "/absolute", Kind::Directory).unwrap(),
            ("in".into(), vec![])
        );
        assert_eq!(
            resolved(root.path(), "/climbing/../in", Kind::Directory).unwrap(),
            ("in".into(), vec![])
        );
        let (inside, stubs) = resolved(root.path(), "/magic", Kind::Directory).unwrap();
        assert_eq!(inside, "proc/self/root/in");
        assert_eq!(stubs.len(), 4);
        assert!(resolved(root.path(), "/loop", Kind::File).is_err());
        assert!(resolved(root.path(), "relative", Kind::File).is_err());
    }

    #[test]
    fn a_dangling_link_is_created_where_it_points() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        symlink("../run/resolve/stub.conf", root.path().join("etc/resolv.conf")).unwrap();
        let (inside, stubs) = resolved(root.path(), "/etc/resolv.conf", Kind::File).unwrap();
        assert_eq!(inside, "run/resolve/stub.conf");
        assert_eq!(
            stubs,
            [
                stub("/run", true),
                stub("/run/resolve", true),
                stub("/run/resolve/stub.conf", false)
            ]
        );
    }

    #[test]
    fn creating_a_stub_keeps_the_parents_time() {
        let root = tempfile::tempdir().unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000, 123);
        std::fs::File::open(root.path())
            .unwrap()
            .set_modified(time)
            .unwrap();
        let (_, stubs) = resolved(root.path(), "/proc", Kind::Directory).unwrap();
        assert_eq!(stubs, [stub("/proc", true)]);
        assert_eq!(root.path().metadata().unwrap().modified().unwrap(), time);
    }
}
