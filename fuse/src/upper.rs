//! What this mount changed over its base: an overlay of names and inodes.
//!
//! In: names, numbers. Out: inodes, marked as changed when they are about to be. Effects: reads base directories when they are
//! first needed. Invariant: an inode is `Changed` if and only if changes lead to it from the root, so freezing visits these only.
//! A clean inode stands where the base has it, relative to its parent.

use std::collections::BTreeSet;
use std::sync::Arc;

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};
use silt_store::{GuestPath, Links, Meta, Name, Time};

use crate::content::Contents;
use crate::error::{Reply, store_errno};
use crate::inode::{Dir, Inode, Node, Origin, Place, State, Table};
use crate::links;
use crate::lower::LowerDir;
use crate::protocol::InodeNo;

/// The overlay.
#[derive(Debug)]
pub(crate) struct Upper {
    pub(crate) table: Table,
    pub(crate) contents: Arc<Contents>,
    /// The base's hard links, and which groups are no longer as the base has them.
    pub(crate) links: Arc<Links>,
    pub(crate) detached: BTreeSet<usize>,
    /// Whether a directory of the base has moved: paths of untouched hard links must then be looked up.
    pub(crate) moved: bool,
}

/// The time changes get.
pub(crate) fn now() -> Time {
    let now = clock_gettime(ClockId::CLOCK_REALTIME);
    now.map_or_else(
        |_| Time::default(),
        |now| Time {
            seconds: now.tv_sec(),
            nanos: now.tv_nsec() as u32,
        },
    )
}

impl Upper {
    /// An unchanged view of a base.
    pub(crate) fn new(contents: Arc<Contents>, meta: Meta, root: LowerDir, links: Arc<Links>) -> Reply<Self> {
        let place = Place {
            parent: InodeNo::ROOT,
            name: Name::new(b"-").map_err(|_| Errno::EINVAL)?,
        };
        let mut dir = Dir::new(Some(root), place);
        dir.links = links::index(&links);
        let root = Inode {
            atime: meta.mtime,
            ctime: meta.mtime,
            meta,
            nlink: 1,
            node: Node::Directory(Box::new(dir)),
            origin: Origin::New,
            state: State::Changed,
            lookups: 0,
            held: 0,
        };
        Ok(Self {
            table: Table::new(root),
            contents,
            links,
            detached: BTreeSet::new(),
            moved: false,
        })
    }

    /// The inode called `name` in a directory, loaded if need be.
    pub(crate) fn child(&mut self, parent: InodeNo, name: &Name) -> Reply<Option<InodeNo>> {
        match self.table.get(parent)?.dir()?.changes.get(name) {
            Some(change) => Ok(*change),
            None => self.below(parent, name),
        }
    }

    /// Whether a directory has `name`; loads no inode.
    pub(crate) fn exists(&self, parent: InodeNo, name: &Name) -> Reply<bool> {
        match self.table.get(parent)?.dir()?.changes.get(name) {
            Some(change) => Ok(change.is_some()),
            None => self.exists_below(parent, name),
        }
    }

    fn exists_below(&self, parent: InodeNo, name: &Name) -> Reply<bool> {
        match &self.table.get(parent)?.dir()?.lower {
            Some(lower) => Ok(lower
                .get(self.contents.store(), name)
                .map_err(store_errno)?
                .is_some()),
            None => Ok(false),
        }
    }

    /// The inode that the base calls `name` in a directory.
    fn below(&mut self, parent: InodeNo, name: &Name) -> Reply<Option<InodeNo>> {
        let dir = self.table.get(parent)?.dir()?;
        let Some(lower) = &dir.lower else { return Ok(None) };
        let origin = dir.origin(parent, name);
        let ino = self.table.number(&origin).ok_or(Errno::EIO)?;
        if self.table.contains(ino) {
            return Ok(Some(ino));
        }
        let Some(entry) = lower.get(self.contents.store(), name).map_err(store_errno)? else {
            return Ok(None);
        };
        let links = dir
            .links
            .as_ref()
            .and_then(|links| links.directories.get(name))
            .cloned();
        let nlink = match origin {
            Origin::Group(group) => self.links.groups()[group].len() as u32,
            _ => 1,
        };
        let held = matches!(origin, Origin::Below(_));
        let place = Place {
            parent,
            name: name.clone(),
        };
        let mut inode = Inode::below(entry, origin, place, nlink);
        if let Node::Directory(dir) = &mut inode.node {
            dir.links = links;
        }
        self.table.insert(ino, inode);
        if held {
            self.table.get_mut(parent)?.held += 1;
        }
        Ok(Some(ino))
    }

    /// Makes `ino` the upper's own, and all directories above it: to be called before anything about it changes.
    pub(crate) fn change(&mut self, mut ino: InodeNo) -> Reply<&mut Inode> {
        let changed = ino;
        while self.table.get(ino)?.state == State::Clean {
            match self.table.get(ino)?.origin.clone() {
                Origin::Group(group) => {
                    self.change_group(group, ino)?;
                    break;
                }
                Origin::Below(place) => {
                    self.table.get_mut(ino)?.state = State::Changed;
                    let parent = self.table.get_mut(place.parent)?;
                    parent.held -= 1;
                    parent.dir_mut()?.changes.insert(place.name, Some(ino));
                    ino = place.parent;
                }
                Origin::New => return Err(Errno::EIO),
            }
        }
        self.table.get_mut(changed)
    }

    /// Makes a hard-link group of the base the upper's own, in every directory that holds a member.
    fn change_group(&mut self, group: usize, ino: InodeNo) -> Reply<()> {
        let links = Arc::clone(&self.links);
        let mut members = Vec::new();
        for path in &links.groups()[group] {
            let Some((last, directories)) = path.names().split_last() else {
                continue;
            };
            let mut dir = InodeNo::ROOT;
            for name in directories {
                dir = self.below(dir, name)?.ok_or(Errno::EIO)?;
            }
            members.push((dir, last.clone()));
        }
        self.detached.insert(group);
        self.table.get_mut(ino)?.state = State::Changed;
        for (dir, name) in members {
            self.change(dir)?.dir_mut()?.changes.insert(name, Some(ino));
        }
        Ok(())
    }

    /// Gives `ino` the name. The directory gets a new time.
    pub(crate) fn link_in(&mut self, parent: InodeNo, name: &Name, ino: InodeNo, time: Time) -> Reply<()> {
        let directory = self.change(parent)?;
        directory.meta.mtime = time;
        directory.ctime = time;
        directory.dir_mut()?.changes.insert(name.clone(), Some(ino));
        if let Node::Directory(dir) = &mut self.table.get_mut(ino)?.node {
            dir.place = Place {
                parent,
                name: name.clone(),
            };
        }
        Ok(())
    }

    /// Takes the name away. The directory gets a new time.
    pub(crate) fn link_out(&mut self, parent: InodeNo, name: &Name, time: Time) -> Reply<()> {
        let whiteout = self.stands_where_the_base_has_it(parent, name)? || self.exists_below(parent, name)?;
        let directory = self.change(parent)?;
        directory.meta.mtime = time;
        directory.ctime = time;
        let changes = &mut directory.dir_mut()?.changes;
        if whiteout {
            changes.insert(name.clone(), None);
        } else {
            changes.remove(name);
        }
        Ok(())
    }

    /// Spares a look into the base for the common case.
    fn stands_where_the_base_has_it(&self, parent: InodeNo, name: &Name) -> Reply<bool> {
        let Some(Some(ino)) = self.table.get(parent)?.dir()?.changes.get(name) else {
            return Ok(false);
        };
        let origin = &self.table.get(*ino)?.origin;
        Ok(matches!(origin, Origin::Below(place) if place.parent == parent && place.name == *name))
    }

    /// Counts one name less; the last makes an orphan, which goes when the kernel forgets it.
    pub(crate) fn unlinked(&mut self, ino: InodeNo, time: Time) -> Reply<()> {
        let inode = self.table.get_mut(ino)?;
        inode.nlink -= 1;
        inode.ctime = time;
        if inode.nlink == 0 {
            inode.state = State::Orphan;
        }
        Ok(())
    }

    /// Whether a directory has no names.
    pub(crate) fn is_empty(&self, ino: InodeNo) -> Reply<bool> {
        let dir = self.table.get(ino)?.dir()?;
        if dir.changes.values().any(Option::is_some) {
            return Ok(false);
        }
        let Some(lower) = &dir.lower else { return Ok(true) };
        let entries = lower.list(self.contents.store()).map_err(store_errno)?;
        Ok(entries.keys().all(|name| dir.changes.contains_key(name)))
    }

    /// Whether directory `ino` is `ancestor` or lies below it.
    pub(crate) fn is_below(&self, mut ino: InodeNo, ancestor: InodeNo) -> Reply<bool> {
        while ino != ancestor {
            if ino == InodeNo::ROOT {
                return Ok(false);
            }
            ino = self.table.get(ino)?.dir()?.place.parent;
        }
        Ok(true)
    }

    /// Where a directory is now.
    pub(crate) fn path(&self, mut ino: InodeNo) -> Reply<GuestPath> {
        let mut names = Vec::new();
        while ino != InodeNo::ROOT {
            let place = &self.table.get(ino)?.dir()?.place;
            names.push(place.name.clone());
            ino = place.parent;
        }
        Ok(names.into_iter().rev().collect())
    }

    /// Where the base's `path`, which this mount did not touch, is now: below the nearest directory that may have moved.
    pub(crate) fn current_path(&self, path: &GuestPath) -> Reply<GuestPath> {
        let mut ino = InodeNo::ROOT;
        let mut nearest = (InodeNo::ROOT, 0);
        for (depth, name) in path.names().iter().enumerate() {
            let place = Place {
                parent: ino,
                name: name.clone(),
            };
            ino = self.table.number(&Origin::Below(place)).ok_or(Errno::EIO)?;
            if self.table.get(ino).is_ok_and(|inode| inode.dir().is_ok()) {
                nearest = (ino, depth + 1);
            }
        }
        let (directory, depth) = nearest;
        let mut current = self.path(directory)?;
        for name in &path.names()[depth..] {
            current = current.child(name);
        }
        Ok(current)
    }
}
