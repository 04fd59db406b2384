//! Changes to a filesystem as tree algebra: inserts, removals and grafts over an immutable base, in memory until `finish`.
//!
//! In: a root and calls. Out: a new root. Effects: reads nodes of the base where changes need them; `finish` puts new nodes.
//! Costs what changed: a grafted or untouched subtree is its id. Hard-link groups follow `store/DESIGN.md`, "Hard links".

mod links;
mod merge;
mod open;

use std::sync::Arc;

use links::LinkTable;
use open::{Child, Entered, Open};

use crate::walk::{lookup_below, resolve_with, root_entry};
use crate::{
    Entry, GuestPath, Meta, Name, Node, Root, Store, StoreError, StoreResult, TreeRef, directory, root,
};

/// A filesystem being changed. After an error its state is unspecified: drop it.
pub struct Edit {
    store: Arc<dyn Store>,
    meta: Meta,
    top: Open,
    links: LinkTable,
}

impl Edit {
    /// Begins with the root `base`.
    ///
    /// # Errors
    /// `MissingTree`, `CorruptTree`, `Malformed`, `Database`.
    pub fn new(store: Arc<dyn Store>, base: TreeRef) -> StoreResult<Self> {
        let root = root::read(&*store, base.tree)?;
        Ok(Self {
            top: Open::stored(&store, root.directory)?,
            store,
            meta: root.meta,
            links: LinkTable::new(&root.links),
        })
    }

    /// The entry at `path` as it now is, no link followed. A directory changed by this edit shows the `TreeRef` it began with
    /// (the empty one when it is new).
    ///
    /// # Errors
    /// `MissingTree`, `CorruptTree`, `Malformed`, `Database`.
    pub fn lookup(&self, path: &GuestPath) -> StoreResult<Option<Entry>> {
        let mut open = &self.top;
        let mut meta = &self.meta;
        let mut names = path.names().iter();
        while let Some(name) = names.next() {
            match open.changes.get(name) {
                Some(None) => return Ok(None),
                Some(Some(Child::Open(child_meta, child))) => (open, meta) = (child, child_meta),
                Some(Some(Child::Entry(entry))) => {
                    return lookup_below(&self.store, entry.clone(), names.as_slice());
                }
                None => {
                    return match open.stored_entry(name)? {
                        Some(entry) => lookup_below(&self.store, entry, names.as_slice()),
                        None => Ok(None),
                    };
                }
            }
        }
        Ok(Some(open.as_entry(meta)))
    }

    /// The entry that `path` leads to and where it stands, symbolic links followed as after `chroot` (`walk::resolve`).
    ///
    /// # Errors
    /// `Path` when over 40 links are met; `MissingTree`, `CorruptTree`, `Malformed`, `Database`.
    pub fn resolve(&self, path: &GuestPath) -> StoreResult<Option<(GuestPath, Entry)>> {
        resolve_with(path, |path| self.lookup(path))
    }

    /// The entries of the directory at `path` in order of names; directories changed by this edit show as in `lookup`.
    ///
    /// # Errors
    /// `Path` when it is not there or no directory; `MissingTree`, `CorruptTree`, `Malformed`, `Database`.
    pub fn list(&self, path: &GuestPath) -> StoreResult<Vec<(Name, Entry)>> {
        let mut open = &self.top;
        let mut names = path.names().iter();
        for name in names.by_ref() {
            match open.changes.get(name) {
                Some(Some(Child::Open(_, child))) => open = child,
                _ => {
                    return match self.lookup(path)? {
                        None => Err(problem(path, "not found")),
                        Some(Entry {
                            node: Node::Directory(node),
                            ..
                        }) => Open::stored(&self.store, node)?.list(),
                        Some(_) => Err(problem(path, "not a directory")),
                    };
                }
            }
        }
        open.list()
    }

    /// Puts `entry` at `path`, replacing what is there with all below it. Its parent must be a directory. The path leaves its
    /// hard-link group.
    ///
    /// # Errors
    /// `Path` when the parent is not there or no directory, or `/` would become one; `MissingTree`, `CorruptTree`,
    /// `Malformed`, `Database`.
    pub fn insert(&mut self, path: &GuestPath, entry: Entry) -> StoreResult<()> {
        if let Some((parent, name)) = path.split_last() {
            let parent = self.open(&parent)?;
            parent.changes.insert(name.clone(), Some(Child::Entry(entry)));
        } else {
            let Node::Directory(node) = entry.node else {
                return Err(problem(path, "not a directory"));
            };
            self.top = Open::stored(&self.store, node)?;
            self.meta = entry.meta;
        }
        self.links.sever_below(path);
        Ok(())
    }

    /// Removes `path` with all below it.
    ///
    /// # Errors
    /// `Path` when it is not there or is `/`; `MissingTree`, `CorruptTree`, `Malformed`, `Database`.
    pub fn remove(&mut self, path: &GuestPath) -> StoreResult<()> {
        let Some((parent, name)) = path.split_last() else {
            return Err(problem(path, "the root cannot be removed"));
        };
        if self.lookup(path)?.is_none() {
            return Err(problem(path, "not found"));
        }
        self.open(&parent)?.changes.insert(name.clone(), None);
        self.links.sever_below(path);
        Ok(())
    }

    /// Creates `path` and its missing parents as directories with `meta`; directories that are there stay as they are.
    ///
    /// # Errors
    /// `Path` when something on the way is no directory (symbolic links are not followed: `resolve` first); `MissingTree`,
    /// `CorruptTree`, `Malformed`, `Database`.
    pub fn make_directories(&mut self, path: &GuestPath, meta: &Meta) -> StoreResult<()> {
        self.descend(path, Some(meta)).map(drop)
    }

    /// Changes the entry at `path` and those of all paths that are the same inode; the entry's kind must stay a directory if it
    /// is one.
    ///
    /// # Errors
    /// `Path` when it is not there; `MissingTree`, `CorruptTree`, `Malformed`, `Database`.
    pub fn update(&mut self, path: &GuestPath, change: impl Fn(&mut Entry)) -> StoreResult<()> {
        let members = self.links.group(path).unwrap_or_else(|| vec![path.clone()]);
        for member in &members {
            let Some(mut entry) = self.lookup(member)? else {
                return Err(problem(member, "not found"));
            };
            change(&mut entry);
            let Some((parent, name)) = member.split_last() else {
                self.meta = entry.meta;
                continue;
            };
            let parent = self.open(&parent)?;
            match parent.changes.get_mut(name) {
                Some(Some(Child::Open(meta, _))) => *meta = entry.meta,
                _ => drop(parent.changes.insert(name.clone(), Some(Child::Entry(entry)))),
            }
        }
        Ok(())
    }

    /// Sets the metadata of `path`, and of all paths that are the same inode.
    ///
    /// # Errors
    /// As `update`.
    pub fn set_meta(&mut self, path: &GuestPath, meta: &Meta) -> StoreResult<()> {
        self.update(path, |entry| entry.meta = meta.clone())
    }

    /// Changes the entry at `path` and, if it is a directory, all below it: `--chown`, `--chmod`. `change` must give the same
    /// when it is applied twice.
    ///
    /// # Errors
    /// As `update`.
    pub fn update_below(&mut self, path: &GuestPath, change: &dyn Fn(&mut Entry)) -> StoreResult<()> {
        self.update(path, change)?;
        if let Some(Entry {
            node: Node::Directory(_),
            ..
        }) = self.lookup(path)?
        {
            for (name, _) in self.list(path)? {
                self.update_below(&path.child(&name), change)?;
            }
        }
        Ok(())
    }

    /// Makes `others` hard links of `first`: each gets its entry, replacing what is there, and joins its group.
    ///
    /// # Errors
    /// `Path` when `first` is not there or a directory, or a parent is not there; `MissingTree`, `CorruptTree`, `Malformed`,
    /// `Database`.
    pub fn link(&mut self, first: &GuestPath, others: &[GuestPath]) -> StoreResult<()> {
        let entry = match self.lookup(first)? {
            None => return Err(problem(first, "not found")),
            Some(Entry {
                node: Node::Directory(_),
                ..
            }) => {
                return Err(problem(first, "a directory cannot be hard-linked"));
            }
            Some(entry) => entry,
        };
        for other in others.iter().filter(|other| *other != first) {
            self.insert(other, entry.clone())?;
            self.links.join(first, other);
        }
        Ok(())
    }

    /// The paths that are the same inode as `path`, itself among them; empty when it has no other name.
    pub fn links_of(&self, path: &GuestPath) -> Vec<GuestPath> {
        self.links.group(path).unwrap_or_default()
    }

    /// Puts what stands at `src` in the root `from` at `dst`, replacing what is there. Hard-link groups that lie wholly inside
    /// come along, others are severed. Costs no more than the path.
    ///
    /// # Errors
    /// `Path` when `src` or the parent of `dst` is not there; `MissingTree`, `CorruptTree`, `Malformed`, `Database`.
    pub fn graft(&mut self, dst: &GuestPath, from: TreeRef, src: &GuestPath) -> StoreResult<()> {
        let from = root::read(&*self.store, from.tree)?;
        match lookup_below(&self.store, root_entry(&from), src.names())? {
            None => return Err(problem(src, "not found")),
            Some(entry) => self.insert(dst, entry)?,
        }
        self.links.adopt(&from.links, src, dst);
        Ok(())
    }

    /// Puts the changed directories and the root. Not durable until `sync`.
    ///
    /// # Errors
    /// `MissingTree`, `CorruptTree`, `Malformed`, `NoSpace`, `Database`.
    pub fn finish(self) -> StoreResult<TreeRef> {
        let mut nodes = Vec::new();
        let directory = self.top.finish(&*self.store, &mut nodes)?;
        self.store.put_nodes(nodes)?;
        root::write(
            &*self.store,
            &Root {
                meta: self.meta,
                directory,
                links: self.links.into_links(),
            },
        )
    }

    /// Whether nothing below the directory `path` was changed.
    fn untouched(&self, path: &GuestPath) -> bool {
        let mut open = &self.top;
        for name in path.names() {
            match open.changes.get(name) {
                Some(Some(Child::Open(_, child))) => open = child,
                _ => return true,
            }
        }
        false
    }

    /// The directory at `path`, opened for changes.
    fn open(&mut self, path: &GuestPath) -> StoreResult<&mut Open> {
        self.descend(path, None)
    }

    /// Opens every directory down to `path`, making those that are missing when there is metadata for them.
    fn descend(&mut self, path: &GuestPath, missing: Option<&Meta>) -> StoreResult<&mut Open> {
        let mut open = &mut self.top;
        for (depth, name) in path.names().iter().enumerate() {
            let at = || path.names()[..=depth].iter().cloned().collect();
            match (open.enter(&self.store, name)?, missing) {
                (Entered::Open, _) => {}
                (Entered::Missing, Some(meta)) => open.create(name, meta),
                (Entered::Missing, None) => return Err(problem(&at(), "not found")),
                (Entered::NoDirectory, _) => return Err(problem(&at(), "not a directory")),
            }
            open = open.opened(name).ok_or_else(|| problem(&at(), "not found"))?;
        }
        Ok(open)
    }
}

fn problem(path: &GuestPath, problem: &'static str) -> StoreError {
    StoreError::Path {
        path: path.clone(),
        problem,
    }
}

/// The empty directory's id, for entries of directories not yet put.
fn nothing() -> TreeRef {
    directory::empty()
}
