//! One directory of the walk: which of its entries are wanted, and what becomes of each.
//!
//! In: an open parent and a name. Out: entries, tasks for what lies below and for files that must be read. Effects: system calls
//! beneath the context only.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat, major, minor};
use silt_store::blob::ChunkWriter;
use silt_store::{Device, Entry, GuestPath, Meta, Name, Node, Xattrs};

use super::stat::{self, Identity, Seen, Stamp};
use super::walk::{DirectoryTask, FilesTask, Reach, Task, Walk};
use super::{ContextError, Trust, plain_directory};
use crate::dockerfile::ignore::{Ignore, Scope};
use crate::source::pattern::{Component, Pattern};

/// Files of one directory that one thread reads in a row.
const FILES_PER_TASK: usize = 64;
/// A file that changes while it is read is read again, so often.
const ATTEMPTS: usize = 3;

/// What becomes of the entries of one directory.
#[derive(Default)]
struct Outcome {
    entries: Vec<(Name, Entry)>,
    seen: Vec<Seen>,
    unseen: Vec<silt_store::Content>,
    tasks: Vec<Task>,
    to_read: Vec<(Name, Meta, Stamp)>,
    files: u64,
}

fn shown(path: &[Name]) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    path.iter().map(ToString::to_string).collect::<Vec<_>>().join("/")
}

fn refused(doing: &'static str, path: &[Name], error: Errno) -> ContextError {
    ContextError::Io {
        path: shown(path),
        doing,
        source: error.into(),
    }
}

fn open(directory: &OwnedFd, name: Option<&Name>, flags: OFlag) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(directory, name.map_or(&b"."[..], Name::as_bytes), how)
}

fn meta(stat: &FileStat) -> Meta {
    Meta {
        mode: (stat.st_mode & 0o7777) as u16,
        uid: 0,
        gid: 0,
        mtime: Stamp::of(stat).mtime,
        xattrs: Xattrs::default(),
    }
}

/// What is wanted of an entry: `None` is nothing.
fn reach_of(patterns: &[Pattern], reach: &Reach, name: &Name) -> Option<Reach> {
    let Reach::Some(positions) = reach else {
        return Some(Reach::All);
    };
    let mut further = Vec::new();
    for (number, positions) in positions {
        let pattern = &patterns[*number];
        let next = pattern.step(positions, name.as_bytes());
        if pattern.ends(&next) {
            return Some(Reach::All);
        }
        if !next.is_empty() {
            further.push((*number, next));
        }
    }
    (!further.is_empty()).then_some(Reach::Some(further))
}

/// The only names that can match, if the patterns say so.
fn literals(patterns: &[Pattern], reach: &Reach) -> Option<Vec<Name>> {
    let Reach::Some(positions) = reach else {
        return None;
    };
    let mut names = Vec::new();
    for (number, positions) in positions {
        for position in positions {
            match patterns[*number].components().get(*position) {
                Some(Component::Literal(name)) => names.push(name.clone()),
                _ => return None,
            }
        }
    }
    names.sort();
    names.dedup();
    Some(names)
}

/// The directory at hand.
struct Visit<'a> {
    task: &'a DirectoryTask,
    directory: &'a Arc<OwnedFd>,
    identity: Identity,
    /// Its files as the stat cache has them.
    known: &'a [Seen],
}

/// An entry of it that some pattern wants.
struct Wanted {
    name: Name,
    path: Vec<Name>,
    stat: FileStat,
    reach: Reach,
    ignored: Scope,
    excluded: Scope,
}

impl Walk<'_> {
    pub(super) fn directory(&self, task: &DirectoryTask) -> Result<(), ContextError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let directory = match open(&task.parent, task.name.as_ref(), flags) {
            Ok(directory) => Arc::new(directory),
            // Removed, or replaced by something else, since it was listed.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) if task.name.is_some() => return Ok(()),
            Err(error) => return Err(refused("opening", &task.path, error)),
        };
        let identity = Identity::of(&directory).map_err(|error| refused("reading", &task.path, error))?;
        let known = match self.trust {
            Trust::Stat => stat::load(&**self.store, identity)?,
            Trust::Nothing => Vec::new(),
        };
        let only = literals(self.patterns, &task.reach);
        let complete = only.is_none();
        let names = match only {
            Some(names) => names,
            None => list(&directory).map_err(|error| refused("listing", &task.path, error))?,
        };
        let mut outcome = Outcome::default();
        let visit = Visit {
            task,
            directory: &directory,
            identity,
            known: &known,
        };
        for name in names {
            if let Some(wanted) = self.look(&visit, name)? {
                self.entry(&visit, wanted, &mut outcome)?;
            }
        }
        self.count(outcome.files);
        let Outcome {
            entries,
            seen,
            unseen,
            mut tasks,
            mut to_read,
            ..
        } = outcome;
        while !to_read.is_empty() {
            let rest = to_read.split_off(to_read.len().min(FILES_PER_TASK));
            tasks.push(Task::Files(FilesTask {
                number: task.number,
                directory: Arc::clone(&directory),
                path: task.path.clone(),
                files: std::mem::replace(&mut to_read, rest),
            }));
        }
        self.with(task.number, |found| {
            found.identity = identity;
            found.complete = complete;
            found.known = known;
            found.entries.extend(entries);
            found.seen.extend(seen);
            found.unseen = unseen;
        });
        self.push(tasks);
        Ok(())
    }

    /// What is wanted of the entry `name`; none for what no pattern reaches, or what is not there.
    fn look(&self, visit: &Visit<'_>, name: Name) -> Result<Option<Wanted>, ContextError> {
        let Some(reach) = reach_of(self.patterns, &visit.task.reach, &name) else {
            return Ok(None);
        };
        let mut path = visit.task.path.clone();
        path.push(name.clone());
        let stat = match fstatat(visit.directory, name.as_bytes(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(refused("reading", &path, error)),
        };
        let text = shown(&path);
        Ok(Some(Wanted {
            ignored: self.ignore.child(&visit.task.ignored, &text),
            excluded: self.exclude.child(&visit.task.excluded, &text),
            name,
            path,
            stat,
            reach,
        }))
    }

    fn entry(&self, visit: &Visit<'_>, wanted: Wanted, outcome: &mut Outcome) -> Result<(), ContextError> {
        let kind = SFlag::from_bits_truncate(wanted.stat.st_mode & SFlag::S_IFMT.bits());
        let left_out = wanted.ignored.is_ignored() || wanted.excluded.is_ignored();
        if kind == SFlag::S_IFDIR {
            self.subdirectory(visit, wanted, left_out, outcome);
            return Ok(());
        }
        if left_out {
            return Ok(());
        }
        let whole = matches!(wanted.reach, Reach::All);
        let device = || Device {
            major: major(wanted.stat.st_rdev) as u32,
            minor: minor(wanted.stat.st_rdev) as u32,
        };
        let node = match kind {
            SFlag::S_IFREG if whole => {
                outcome.files += 1;
                file(visit, wanted.name, &wanted.stat, outcome);
                return Ok(());
            }
            SFlag::S_IFLNK => {
                let target = readlinkat(visit.directory, wanted.name.as_bytes());
                let target = target.map_err(|error| refused("reading", &wanted.path, error))?;
                if let Reach::Some(before) = &visit.task.reach {
                    self.follow(&visit.task.path, target.as_bytes(), before, &wanted.name, whole);
                }
                Node::Symlink(target.as_bytes().into())
            }
            SFlag::S_IFCHR if whole => Node::CharDevice(device()),
            SFlag::S_IFBLK if whole => Node::BlockDevice(device()),
            SFlag::S_IFIFO if whole => Node::Fifo,
            _ => return Ok(()),
        };
        outcome.files += 1;
        let meta = meta(&wanted.stat);
        outcome.entries.push((wanted.name, Entry { meta, node }));
        Ok(())
    }

    fn subdirectory(&self, visit: &Visit<'_>, wanted: Wanted, left_out: bool, outcome: &mut Outcome) {
        let text = shown(&wanted.path);
        let hidden =
            |scope: &Scope, ignore: &Ignore| scope.is_ignored() && !ignore.may_contain_reincluded(&text);
        if hidden(&wanted.ignored, self.ignore) || hidden(&wanted.excluded, self.exclude) {
            return;
        }
        let within = matches!(visit.task.reach, Reach::All);
        let selected = matches!(wanted.reach, Reach::All) && !left_out;
        let meta = if within || self.parents {
            meta(&wanted.stat)
        } else {
            plain_directory()
        };
        let number = self.add(Some((visit.task.number, wanted.name.clone())), meta, !selected);
        outcome.tasks.push(Task::Directory(DirectoryTask {
            number,
            parent: Arc::clone(visit.directory),
            name: Some(wanted.name),
            path: wanted.path,
            reach: wanted.reach,
            ignored: wanted.ignored,
            excluded: wanted.excluded,
        }));
    }

    /// Selects what a link leads to that a pattern met, on its way or at its end.
    fn follow(
        &self,
        directory: &[Name],
        target: &[u8],
        before: &[(usize, Vec<usize>)],
        name: &Name,
        wanted: bool,
    ) {
        let Ok(target) = directory.iter().cloned().collect::<GuestPath>().join(target) else {
            return;
        };
        if wanted {
            self.met_link(Pattern::literal(target.names().iter().cloned()));
        }
        for (number, positions) in before {
            let pattern = &self.patterns[*number];
            for position in pattern.step(positions, name.as_bytes()) {
                self.met_link(pattern.rerooted(target.names(), position));
            }
        }
    }

    pub(super) fn read_files(
        &self,
        task: FilesTask,
        writer: &mut ChunkWriter<'_>,
    ) -> Result<(), ContextError> {
        let mut entries = Vec::with_capacity(task.files.len());
        let mut fresh = Vec::with_capacity(task.files.len());
        for (name, meta, stamp) in task.files {
            let mut path = task.path.clone();
            path.push(name.clone());
            let read = read(&task.directory, &name, meta, stamp, writer);
            let Some((meta, content, stamp)) = read.map_err(|error| error.at(&path))? else {
                continue;
            };
            self.read.fetch_add(1, Ordering::Relaxed);
            if let Some(stamp) = stamp.filter(|stamp| stamp.is_settled(self.began)) {
                fresh.push(Seen {
                    name: name.clone(),
                    stamp,
                    content: content.clone(),
                });
            }
            let node = Node::File(content);
            entries.push((name, Entry { meta, node }));
        }
        self.with(task.number, |found| {
            found.entries.extend(entries);
            found.seen.extend(fresh);
        });
        Ok(())
    }
}

/// A regular file: as the stat cache has it, or to be read.
fn file(visit: &Visit<'_>, name: Name, stat: &FileStat, outcome: &mut Outcome) {
    let stamp = Stamp::of(stat);
    let meta = meta(stat);
    let before = visit.known.binary_search_by(|seen| seen.name.cmp(&name));
    match before.ok().map(|at| &visit.known[at]) {
        Some(seen) if seen.stamp == stamp && stat.st_dev == visit.identity.device => {
            outcome.unseen.push(seen.content.clone());
            outcome.seen.push(seen.clone());
            let node = Node::File(seen.content.clone());
            outcome.entries.push((name, Entry { meta, node }));
        }
        _ => outcome.to_read.push((name, meta, stamp)),
    }
}

enum ReadError {
    System(io::Error),
    Store(silt_store::StoreError),
}

impl ReadError {
    fn at(self, path: &[Name]) -> ContextError {
        match self {
            Self::System(source) | Self::Store(silt_store::StoreError::Io { source, .. }) => {
                ContextError::Io {
                    path: shown(path),
                    doing: "reading",
                    source,
                }
            }
            Self::Store(error) => error.into(),
        }
    }
}

impl From<Errno> for ReadError {
    fn from(error: Errno) -> Self {
        Self::System(error.into())
    }
}

/// The file's content, with a stamp if it did not change meanwhile; none when the file is gone.
fn read(
    directory: &OwnedFd,
    name: &Name,
    meta: Meta,
    stamp: Stamp,
    writer: &mut ChunkWriter<'_>,
) -> Result<Option<(Meta, silt_store::Content, Option<Stamp>)>, ReadError> {
    let mut expected = (meta, stamp);
    for attempt in 1.. {
        let file = match open(directory, Some(name), OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
            Ok(file) => file,
            Err(Errno::ENOENT | Errno::ELOOP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut file = File::from(file);
        let content = writer
            .write(&mut file, expected.1.size)
            .map_err(ReadError::Store)?;
        let after = fstat(&file)?;
        let stamp = Stamp::of(&after);
        if stamp == expected.1 && content.len == stamp.size {
            return Ok(Some((expected.0, content, Some(stamp))));
        }
        if attempt == ATTEMPTS {
            // It never rests, as a log does: what was read is what is copied, and nobody will believe it unchanged.
            return Ok(Some((self::meta(&after), content, None)));
        }
        expected = (self::meta(&after), stamp);
    }
    Ok(None)
}

/// The names in a directory.
fn list(directory: &OwnedFd) -> nix::Result<Vec<Name>> {
    let copy = directory
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    let mut names = Vec::new();
    for entry in Dir::from_fd(copy)?.iter() {
        // `.` and `..` are no names.
        if let Ok(name) = Name::new(entry?.file_name().to_bytes()) {
            names.push(name);
        }
    }
    Ok(names)
}
