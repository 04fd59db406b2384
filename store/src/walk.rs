//! Paths and trees: every path below a root in order, one path's entry, and a path with its symbolic links followed.
//!
//! In: a root's `TreeRef`. Out: entries by path. Effects: reads nodes, lazily.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::directory::Entries;
use crate::{
    Directory, Entry, GuestPath, Name, Node, Root, Store, StoreError, StoreResult, TreeId, TreeRef, root,
};

/// As many symbolic links as Linux follows in one look-up.
const MOST_LINKS: u32 = 40;

/// Iterates over the paths below a directory, parents before children, names sorted; ends after an error.
pub struct Walk {
    store: Arc<dyn Store>,
    /// Opened at the first step, so that `walk` itself cannot fail.
    start: Option<Start>,
    stack: Vec<(GuestPath, Entries)>,
    /// A directory just given out, entered by the next step.
    pending: Option<(GuestPath, TreeId)>,
}

enum Start {
    Root(TreeId),
    Directory(GuestPath, TreeId),
}

/// Every path below the root `root`, the root directory itself left out (`root::read` has its metadata).
pub fn walk(store: &Arc<dyn Store>, root: TreeRef) -> Walk {
    Walk::new(store, Start::Root(root.tree))
}

/// Every path below `directory`, which stands at `path`; `path` itself is left out.
pub fn walk_directory(store: &Arc<dyn Store>, path: GuestPath, directory: TreeRef) -> Walk {
    Walk::new(store, Start::Directory(path, directory.tree))
}

impl Walk {
    fn new(store: &Arc<dyn Store>, start: Start) -> Self {
        Self {
            store: Arc::clone(store),
            start: Some(start),
            stack: Vec::new(),
            pending: None,
        }
    }

    /// Leaves out what lies below the directory given out last.
    pub fn skip_directory(&mut self) {
        self.pending = None;
    }

    fn step(&mut self) -> StoreResult<Option<(GuestPath, Entry)>> {
        match self.start.take() {
            Some(Start::Root(id)) => {
                let directory = root::read(&*self.store, id)?.directory;
                self.pending = Some((GuestPath::root(), directory.tree));
            }
            Some(Start::Directory(path, id)) => self.pending = Some((path, id)),
            None => {}
        }
        if let Some((path, id)) = self.pending.take() {
            let entries = Directory::load(&self.store, id)?.entries();
            self.stack.push((path, entries));
        }
        while let Some((parent, entries)) = self.stack.last_mut() {
            let Some(next) = entries.next() else {
                self.stack.pop();
                continue;
            };
            let (name, entry) = next?;
            let path = parent.child(&name);
            if let Node::Directory(node) = entry.node {
                self.pending = Some((path.clone(), node.tree));
            }
            return Ok(Some((path, entry)));
        }
        Ok(None)
    }
}

impl Iterator for Walk {
    type Item = StoreResult<(GuestPath, Entry)>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.stack.clear();
        }
        step.transpose()
    }
}

/// The root directory as an entry.
pub(crate) fn root_entry(root: &Root) -> Entry {
    Entry {
        meta: root.meta.clone(),
        node: Node::Directory(root.directory),
    }
}

/// The entry at `path`, no link followed; `None` when it or a parent is not there, or a parent is no directory.
///
/// # Errors
/// `MissingTree`, `CorruptTree`, `Malformed`, `Database`.
pub fn lookup(store: &Arc<dyn Store>, root: TreeRef, path: &GuestPath) -> StoreResult<Option<Entry>> {
    let root = root::read(&**store, root.tree)?;
    lookup_below(store, root_entry(&root), path.names())
}

pub(crate) fn lookup_below(
    store: &Arc<dyn Store>,
    from: Entry,
    names: &[Name],
) -> StoreResult<Option<Entry>> {
    let mut entry = from;
    for name in names {
        let Node::Directory(node) = entry.node else {
            return Ok(None);
        };
        match Directory::load(store, node.tree)?.get(name.as_bytes())? {
            Some(child) => entry = child,
            None => return Ok(None),
        }
    }
    Ok(Some(entry))
}

/// The entry that `path` leads to and where it stands, symbolic links followed inside the tree as after `chroot`.
/// `None` when something on the way is not there or is no directory.
///
/// # Errors
/// `Path` when over 40 links are met or a link's target is no path; `MissingTree`, `CorruptTree`, `Malformed`, `Database`.
pub fn resolve(
    store: &Arc<dyn Store>,
    root: TreeRef,
    path: &GuestPath,
) -> StoreResult<Option<(GuestPath, Entry)>> {
    let root = root_entry(&root::read(&**store, root.tree)?);
    resolve_with(path, |path| lookup_below(store, root.clone(), path.names()))
}

/// `resolve` over any look-up.
pub(crate) fn resolve_with(
    path: &GuestPath,
    mut lookup: impl FnMut(&GuestPath) -> StoreResult<Option<Entry>>,
) -> StoreResult<Option<(GuestPath, Entry)>> {
    let problem = |problem| StoreError::Path {
        path: path.clone(),
        problem,
    };
    let mut links = 0;
    let mut here = GuestPath::root();
    let Some(mut entry) = lookup(&here)? else {
        return Ok(None);
    };
    let mut ahead: VecDeque<Step> = path.names().iter().cloned().map(Step::Down).collect();
    while let Some(step) = ahead.pop_front() {
        if !matches!(entry.node, Node::Directory(_)) {
            return Ok(None);
        }
        let next = match step {
            Step::Up => here
                .split_last()
                .map_or_else(GuestPath::root, |(parent, _)| parent),
            Step::Down(name) => here.child(&name),
        };
        let Some(found) = lookup(&next)? else {
            return Ok(None);
        };
        let Node::Symlink(target) = &found.node else {
            (here, entry) = (next, found);
            continue;
        };
        links += 1;
        if links > MOST_LINKS {
            return Err(problem("too many levels of symbolic links"));
        }
        if target.first() == Some(&b'/') {
            here = GuestPath::root();
            let Some(top) = lookup(&here)? else {
                return Ok(None);
            };
            entry = top;
        }
        for step in steps(target)
            .map_err(|_| problem("a symbolic link leads to no path"))?
            .into_iter()
            .rev()
        {
            ahead.push_front(step);
        }
    }
    Ok(Some((here, entry)))
}

enum Step {
    Up,
    Down(Name),
}

fn steps(target: &[u8]) -> Result<Vec<Step>, crate::NameError> {
    target
        .split(|byte| *byte == b'/')
        .filter(|part| !matches!(*part, b"" | b"."))
        .map(|part| match part {
            b".." => Ok(Step::Up),
            _ => Name::new(part).map(Step::Down),
        })
        .collect()
}
