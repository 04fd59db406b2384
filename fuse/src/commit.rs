//! The upper becomes an immutable tree: in time proportional to what changed, without reading or digesting content.
//!
//! In: the upper of one mount. Out: a `Frozen` that the next mount can start on. No effects on the store.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use nix::errno::Errno;
use silt_store::{GuestPath, Links, Meta};

use crate::error::Reply;
use crate::inode::{Inode, Node, State};
use crate::lower::{FrozenDir, LowerDir, LowerEntry, LowerNode};
use crate::protocol::InodeNo;
use crate::upper::Upper;

/// How much a step changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Names that are there and new or changed, the directories above them included.
    pub written: u64,
    /// Names of the base that are gone.
    pub removed: u64,
    /// Bytes of content that were staged.
    pub staged_bytes: u64,
}

/// What `freeze` makes of an upper.
pub(crate) struct Tree {
    pub(crate) meta: Meta,
    pub(crate) root: LowerDir,
    pub(crate) links: Arc<Links>,
    pub(crate) stats: Stats,
}

impl Upper {
    /// The tree as it is now. The mount may go on: what it writes later stands over what was frozen.
    pub(crate) fn freeze(&self) -> Reply<Tree> {
        let directories = self.changed_directories()?;
        let mut frozen: HashMap<InodeNo, LowerDir> = HashMap::with_capacity(directories.len());
        let mut linked: BTreeMap<InodeNo, Vec<GuestPath>> = BTreeMap::new();
        let mut stats = Stats::default();
        for (ino, path) in directories.iter().rev() {
            let dir = self.table.get(*ino)?.dir()?;
            if let (true, Some(lower)) = (dir.changes.is_empty(), &dir.lower) {
                frozen.insert(*ino, lower.clone());
                continue;
            }
            let mut changes = BTreeMap::new();
            for (name, child) in &dir.changes {
                let entry = match child {
                    None => {
                        stats.removed += 1;
                        None
                    }
                    Some(child) => {
                        stats.written += 1;
                        let inode = self.table.get(*child)?;
                        if inode.nlink > 1 && inode.dir().is_err() {
                            linked.entry(*child).or_default().push(path.child(name));
                        }
                        Some(freeze_inode(inode, frozen.remove(child), &mut stats))
                    }
                };
                changes.insert(name.clone(), entry);
            }
            frozen.insert(*ino, LowerDir::Frozen(FrozenDir::new(dir.lower.clone(), changes)));
        }
        let root = self.table.get(InodeNo::ROOT)?;
        Ok(Tree {
            meta: root.meta.clone(),
            root: frozen.remove(&InodeNo::ROOT).ok_or(Errno::EIO)?,
            links: self.freeze_links(linked)?,
            stats,
        })
    }

    /// Every changed directory and where it is, parents before what stands in them.
    fn changed_directories(&self) -> Reply<Vec<(InodeNo, GuestPath)>> {
        let mut pending = vec![(InodeNo::ROOT, GuestPath::root())];
        let mut ordered = Vec::new();
        while let Some((ino, path)) = pending.pop() {
            for (name, child) in &self.table.get(ino)?.dir()?.changes {
                if let Some(child) = child
                    && let inode = self.table.get(*child)?
                    && inode.state == State::Changed
                    && inode.dir().is_ok()
                {
                    pending.push((*child, path.child(name)));
                }
            }
            ordered.push((ino, path));
        }
        Ok(ordered)
    }

    fn freeze_links(&self, linked: BTreeMap<InodeNo, Vec<GuestPath>>) -> Reply<Arc<Links>> {
        if linked.is_empty() && self.detached.is_empty() && !self.moved {
            return Ok(Arc::clone(&self.links));
        }
        let mut groups: Vec<Vec<GuestPath>> = linked.into_values().collect();
        for (group, paths) in self.links.groups().iter().enumerate() {
            if self.detached.contains(&group) {
                continue;
            }
            groups.push(if self.moved {
                paths
                    .iter()
                    .map(|path| self.current_path(path))
                    .collect::<Reply<_>>()?
            } else {
                paths.clone()
            });
        }
        Ok(Arc::new(Links::new(groups)))
    }
}

/// An inode as an entry. A directory comes frozen, or is as the base has it.
fn freeze_inode(inode: &Inode, directory: Option<LowerDir>, stats: &mut Stats) -> LowerEntry {
    let node = match &inode.node {
        Node::Directory(dir) => LowerNode::Directory(
            directory
                .or_else(|| dir.lower.clone())
                .unwrap_or_else(|| LowerDir::Frozen(FrozenDir::new(None, BTreeMap::new()))),
        ),
        Node::File(file) => {
            let content = file.freeze();
            if content.sealed().is_none() {
                stats.staged_bytes += content.allocated();
            }
            LowerNode::File(content)
        }
        Node::Symlink(target) => LowerNode::Symlink(target.as_ref().into()),
        Node::CharDevice(device) => LowerNode::CharDevice(*device),
        Node::BlockDevice(device) => LowerNode::BlockDevice(*device),
        Node::Fifo => LowerNode::Fifo,
        Node::Socket => LowerNode::Socket,
    };
    LowerEntry {
        meta: inode.meta.clone(),
        node,
    }
}
