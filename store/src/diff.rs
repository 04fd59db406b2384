//! What changed between two roots.
//!
//! In: two `TreeRef`s of roots. Out: changes in path order. Effects: reads nodes, never those below equal ids, so that it
//! costs what changed. The writers of layers and `silt diff` share it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter::Peekable;
use std::sync::Arc;

use crate::directory::Entries;
use crate::walk::{lookup_below, root_entry};
use crate::{Directory, Entry, GuestPath, Links, Name, Node, Root, Store, StoreResult, TreeRef, root};

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: GuestPath,
    /// How.
    pub kind: ChangeKind,
}

/// How a path differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// New. What lies below a new directory follows, each its own change.
    Added(Entry),
    /// Gone, with all that lay below it: one change for a whole directory.
    Removed(Entry),
    /// Another kind, content or metadata. A directory of which only entries changed is not modified. `old` equals `new` when
    /// only the hard-link group of the path changed.
    Modified {
        /// What it was.
        old: Entry,
        /// What it is.
        new: Entry,
    },
}

/// Iterates over changes in path order; ends after an error.
pub struct Diff {
    store: Arc<dyn Store>,
    start: Option<(TreeRef, TreeRef)>,
    stack: Vec<Frame>,
    queue: VecDeque<Change>,
    /// Paths whose hard-link group changed.
    relinked: BTreeSet<GuestPath>,
}

struct Frame {
    path: GuestPath,
    old: Option<Peekable<Entries>>,
    new: Peekable<Entries>,
}

/// The changes that lead from the root `old` to the root `new`.
pub fn diff(store: &Arc<dyn Store>, old: TreeRef, new: TreeRef) -> Diff {
    Diff {
        store: Arc::clone(store),
        start: Some((old, new)),
        stack: Vec::new(),
        queue: VecDeque::new(),
        relinked: BTreeSet::new(),
    }
}

impl Diff {
    fn begin(&mut self, old: TreeRef, new: TreeRef) -> StoreResult<()> {
        if old.tree == new.tree {
            return Ok(());
        }
        let old: Root = root::read(&*self.store, old.tree)?;
        let new: Root = root::read(&*self.store, new.tree)?;
        self.relinked = relinked(&old.links, &new.links);
        self.pair(GuestPath::root(), root_entry(&old), root_entry(&new))
    }

    /// Compares two entries of one path and enters them when directories differ.
    fn pair(&mut self, path: GuestPath, old: Entry, new: Entry) -> StoreResult<()> {
        let descend = match (&old.node, &new.node) {
            (Node::Directory(a), Node::Directory(b)) if a.tree == b.tree => {
                self.relinked_below(&path, &new)?;
                None
            }
            (Node::Directory(a), Node::Directory(b)) => Some((Some(a.tree), b.tree)),
            (_, Node::Directory(b)) => Some((None, b.tree)),
            _ => None,
        };
        let both_directories = matches!((&old.node, &new.node), (Node::Directory(_), Node::Directory(_)));
        let modified = if both_directories {
            old.meta != new.meta
        } else {
            old != new || self.relinked.contains(&path)
        };
        if let Some((old, new)) = descend {
            let load =
                |id| Ok::<_, crate::StoreError>(Directory::load(&self.store, id)?.entries().peekable());
            self.stack.push(Frame {
                path: path.clone(),
                old: old.map(load).transpose()?,
                new: load(new)?,
            });
        }
        if modified {
            let kind = ChangeKind::Modified { old, new };
            self.queue.push_front(Change { path, kind });
        }
        Ok(())
    }

    /// Queues the members of changed groups inside a directory that is otherwise equal.
    fn relinked_below(&mut self, path: &GuestPath, directory: &Entry) -> StoreResult<()> {
        let inside = self
            .relinked
            .range(path..)
            .take_while(|member| member.starts_with(path));
        for member in inside {
            let names = &member.names()[path.names().len()..];
            if let Some(entry) = lookup_below(&self.store, directory.clone(), names)? {
                let kind = ChangeKind::Modified {
                    old: entry.clone(),
                    new: entry,
                };
                let path = member.clone();
                self.queue.push_back(Change { path, kind });
            }
        }
        Ok(())
    }

    fn step(&mut self) -> StoreResult<Option<Change>> {
        if let Some((old, new)) = self.start.take() {
            self.begin(old, new)?;
        }
        loop {
            if let Some(change) = self.queue.pop_front() {
                return Ok(Some(change));
            }
            let Some(frame) = self.stack.last_mut() else {
                return Ok(None);
            };
            let (old, new) = frame.next()?;
            let at = |name: &Name| frame.path.child(name);
            match (old, new) {
                (None, None) => drop(self.stack.pop()),
                (Some((name, old)), None) => {
                    let kind = ChangeKind::Removed(old);
                    return Ok(Some(Change {
                        path: at(&name),
                        kind,
                    }));
                }
                (Some((name, old)), Some((_, new))) => {
                    let path = at(&name);
                    self.pair(path, old, new)?;
                }
                (None, Some((name, new))) => {
                    let path = at(&name);
                    if let Node::Directory(node) = new.node {
                        self.stack.push(Frame {
                            path: path.clone(),
                            old: None,
                            new: Directory::load(&self.store, node.tree)?.entries().peekable(),
                        });
                    }
                    let kind = ChangeKind::Added(new);
                    return Ok(Some(Change { path, kind }));
                }
            }
        }
    }
}

type Named = Option<(Name, Entry)>;

impl Frame {
    /// The entries of the next name on either side.
    fn next(&mut self) -> StoreResult<(Named, Named)> {
        let order = match (self.old.as_mut().and_then(Peekable::peek), self.new.peek()) {
            (Some(Ok((old, _))), Some(Ok((new, _)))) => old.cmp(new),
            // An error comes out by taking it.
            (Some(_), None) | (Some(Err(_)), _) => Ordering::Less,
            (_, Some(_)) => Ordering::Greater,
            (None, None) => return Ok((None, None)),
        };
        let old = if order.is_le() {
            self.old.as_mut().and_then(Iterator::next).transpose()?
        } else {
            None
        };
        let new = if order.is_ge() {
            self.new.next().transpose()?
        } else {
            None
        };
        Ok((old, new))
    }
}

fn relinked(old: &Links, new: &Links) -> BTreeSet<GuestPath> {
    let groups = |links: &Links| -> BTreeMap<GuestPath, Vec<GuestPath>> {
        let members = links
            .groups()
            .iter()
            .flat_map(|group| group.iter().map(move |path| (path, group)));
        members
            .map(|(path, group)| (path.clone(), group.clone()))
            .collect()
    };
    let (old, new) = (groups(old), groups(new));
    let paths = old.keys().chain(new.keys());
    paths
        .filter(|path| old.get(*path) != new.get(*path))
        .cloned()
        .collect()
}

impl Iterator for Diff {
    type Item = StoreResult<Change>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.stack.clear();
            self.queue.clear();
        }
        step.transpose()
    }
}
