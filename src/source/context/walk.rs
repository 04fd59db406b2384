//! The walk: two threads over a stack of directories and of files to read.
//!
//! In: patterns. Out: every directory on the way to a match with what it holds. Effects: reads files, puts chunks. The stack is
//! last in, first out, so open directories are about as many as the tree is deep.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use silt_store::blob::ChunkWriter;
use silt_store::{Entry, Meta, Name, Store, Time};

use super::stat::{self, Identity, Seen, Stamp};
use super::{Context, ContextError, Trust, Wanted, plain_directory};
use crate::dockerfile::ignore::{Ignore, Scope};
use crate::solve::Cancel;
use crate::source::pattern::Pattern;

/// Reading and digesting one file leaves the disk idle now and then; more than two do not gain on this kind of work.
const THREADS: usize = 2;
/// So many files between two calls of `watch`.
const WATCH: u64 = 2000;

/// A directory that was met.
#[derive(Debug)]
pub(super) struct Directory {
    /// Where it stands; none for the root.
    pub(super) place: Option<(usize, Name)>,
    pub(super) meta: Meta,
    /// Left out when it turns out to be empty: only what is below it was wanted.
    pub(super) optional: bool,
    pub(super) entries: Vec<(Name, Entry)>,
    pub(super) identity: Identity,
    /// The files as they are now, if the stat cache may remember them.
    pub(super) seen: Vec<Seen>,
    /// The files as the stat cache has them.
    pub(super) known: Vec<Seen>,
    /// Whether all names were looked at: what was not seen is gone then.
    pub(super) complete: bool,
    /// Content taken from the stat cache.
    pub(super) unseen: Vec<silt_store::Content>,
}

/// How far a directory is wanted.
#[derive(Debug, Clone)]
pub(super) enum Reach {
    /// All of it.
    All,
    /// What these patterns, at these positions, match.
    Some(Vec<(usize, Vec<usize>)>),
}

pub(super) struct DirectoryTask {
    pub(super) number: usize,
    pub(super) parent: Arc<OwnedFd>,
    /// None for the root itself.
    pub(super) name: Option<Name>,
    /// Components from the context's root.
    pub(super) path: Vec<Name>,
    pub(super) reach: Reach,
    pub(super) ignored: Scope,
    pub(super) excluded: Scope,
}

pub(super) struct FilesTask {
    pub(super) number: usize,
    pub(super) directory: Arc<OwnedFd>,
    pub(super) path: Vec<Name>,
    pub(super) files: Vec<(Name, Meta, Stamp)>,
}

pub(super) enum Task {
    Directory(DirectoryTask),
    Files(FilesTask),
}

#[derive(Default)]
struct Stack {
    tasks: Vec<Task>,
    busy: usize,
    failed: Option<ContextError>,
}

pub(super) struct Walk<'a> {
    pub(super) store: &'a Arc<dyn Store>,
    pub(super) patterns: &'a [Pattern],
    pub(super) ignore: &'a Ignore,
    pub(super) exclude: &'a Ignore,
    pub(super) parents: bool,
    pub(super) trust: Trust,
    pub(super) began: Time,
    pub(super) files: AtomicU64,
    pub(super) read: AtomicU64,
    root: &'a OwnedFd,
    cancel: &'a Cancel,
    watch: &'a (dyn Fn(u64) + Sync),
    stack: Mutex<Stack>,
    moved: Condvar,
    directories: Mutex<Vec<Directory>>,
    links: Mutex<BTreeSet<Pattern>>,
}

/// What a walk found.
pub(super) struct Found {
    /// Parents before children.
    pub(super) directories: Vec<Directory>,
    /// Where links that patterns met lead to.
    pub(super) links: BTreeSet<Pattern>,
    pub(super) files: u64,
    pub(super) read: u64,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        store: &'a Arc<dyn Store>,
        context: &'a Context,
        wanted: &Wanted<'a>,
        patterns: &'a [Pattern],
        trust: Trust,
        cancel: &'a Cancel,
        watch: &'a (dyn Fn(u64) + Sync),
    ) -> Self {
        Self {
            store,
            patterns,
            ignore: &context.ignore,
            exclude: wanted.exclude,
            parents: wanted.parents,
            trust,
            began: stat::now(),
            files: AtomicU64::new(0),
            read: AtomicU64::new(0),
            root: &context.directory,
            cancel,
            watch,
            stack: Mutex::default(),
            moved: Condvar::new(),
            directories: Mutex::default(),
            links: Mutex::default(),
        }
    }

    pub(super) fn run(self) -> Result<Found, ContextError> {
        let root = self
            .root
            .as_fd()
            .try_clone_to_owned()
            .map_err(|source| ContextError::Io {
                path: ".".to_owned(),
                doing: "opening",
                source,
            })?;
        let starts: Vec<_> = self.patterns.iter().map(Pattern::start).enumerate().collect();
        let all = starts
            .iter()
            .any(|(pattern, positions)| self.patterns[*pattern].ends(positions));
        let number = self.add(None, plain_directory(), false);
        lock(&self.stack).tasks.push(Task::Directory(DirectoryTask {
            number,
            parent: Arc::new(root),
            name: None,
            path: Vec::new(),
            reach: if all { Reach::All } else { Reach::Some(starts) },
            ignored: Scope::default(),
            excluded: Scope::default(),
        }));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| self.work());
            }
        });
        let stack = self.stack.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = stack.failed {
            return Err(error);
        }
        let files = self.files.into_inner();
        (self.watch)(files);
        Ok(Found {
            directories: self
                .directories
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
            links: self.links.into_inner().unwrap_or_else(PoisonError::into_inner),
            files,
            read: self.read.into_inner(),
        })
    }

    fn work(&self) {
        let mut writer = ChunkWriter::new(&**self.store);
        while let Some(task) = self.take() {
            let outcome = match task {
                _ if self.cancel.is_cancelled() => Err(ContextError::Cancelled),
                Task::Directory(task) => self.directory(&task),
                Task::Files(task) => self.read_files(task, &mut writer),
            };
            self.finish(outcome);
        }
        if let Err(error) = writer.flush() {
            lock(&self.stack).failed.get_or_insert(error.into());
        }
    }

    /// None when all is done or something failed.
    fn take(&self) -> Option<Task> {
        let mut stack = lock(&self.stack);
        loop {
            if stack.failed.is_some() {
                return None;
            }
            if let Some(task) = stack.tasks.pop() {
                stack.busy += 1;
                return Some(task);
            }
            if stack.busy == 0 {
                return None;
            }
            stack = self.moved.wait(stack).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn finish(&self, outcome: Result<(), ContextError>) {
        let mut stack = lock(&self.stack);
        stack.busy -= 1;
        if let Err(error) = outcome {
            stack.failed.get_or_insert(error);
        }
        drop(stack);
        self.moved.notify_all();
    }

    pub(super) fn push(&self, tasks: Vec<Task>) {
        lock(&self.stack).tasks.extend(tasks);
        self.moved.notify_all();
    }

    /// A new directory's number.
    pub(super) fn add(&self, place: Option<(usize, Name)>, meta: Meta, optional: bool) -> usize {
        let mut directories = lock(&self.directories);
        directories.push(Directory {
            place,
            meta,
            optional,
            entries: Vec::new(),
            identity: Identity::default(),
            seen: Vec::new(),
            known: Vec::new(),
            complete: false,
            unseen: Vec::new(),
        });
        directories.len() - 1
    }

    /// Changes what is known of directory `number`.
    pub(super) fn with(&self, number: usize, change: impl FnOnce(&mut Directory)) {
        change(&mut lock(&self.directories)[number]);
    }

    pub(super) fn met_link(&self, to: Pattern) {
        lock(&self.links).insert(to);
    }

    /// Counts files that were found.
    pub(super) fn count(&self, files: u64) {
        let before = self.files.fetch_add(files, Ordering::Relaxed);
        if before / WATCH != (before + files) / WATCH {
            (self.watch)(before + files);
        }
    }
}
