//! What a COPY selects in a tree.
//!
//! In: a root and patterns. Out: the matches, by the name that matched and by where that leads. Effects: reads nodes on the way of the
//! patterns only. A link that matches, or is met on the way, is followed inside the tree.

use std::collections::BTreeSet;
use std::sync::Arc;

use silt_store::{Directory, Entry, GuestPath, Name, Node, Store, TreeRef, root, walk};

use super::CopyError;
use crate::source::pattern::{Component, Pattern};

/// A match.
#[derive(Debug, Clone)]
pub(super) struct Match {
    /// As the pattern named it: its last component is the copy's name.
    pub(super) name: GuestPath,
    /// Where it stands, links followed.
    pub(super) path: GuestPath,
    /// What stands there.
    pub(super) entry: Entry,
}

struct Search<'a> {
    store: &'a Arc<dyn Store>,
    tree: TreeRef,
    pattern: &'a Pattern,
    seen: BTreeSet<GuestPath>,
    matches: Vec<Match>,
}

/// The matches of `pattern` in order of names; none for a pattern without a match, which is an error if it is no glob.
pub(super) fn select(
    store: &Arc<dyn Store>,
    tree: TreeRef,
    pattern: &Pattern,
    written: &str,
) -> Result<Vec<Match>, CopyError> {
    let root = root::read(&**store, tree.tree)?;
    let top = Entry {
        meta: root.meta,
        node: Node::Directory(root.directory),
    };
    let mut search = Search {
        store,
        tree,
        pattern,
        seen: BTreeSet::new(),
        matches: Vec::new(),
    };
    search.visit(&GuestPath::root(), &GuestPath::root(), &top, &pattern.start())?;
    if search.matches.is_empty() && !pattern.is_wild() {
        return Err(CopyError::Missing {
            path: written.to_owned(),
        });
    }
    Ok(search.matches)
}

impl Search<'_> {
    fn visit(
        &mut self,
        name: &GuestPath,
        path: &GuestPath,
        entry: &Entry,
        positions: &[usize],
    ) -> Result<(), CopyError> {
        if self.pattern.ends(positions) && self.seen.insert(name.clone()) {
            self.matches.push(Match {
                name: name.clone(),
                path: path.clone(),
                entry: entry.clone(),
            });
        }
        let Node::Directory(node) = &entry.node else {
            return Ok(());
        };
        let ahead: Vec<_> = positions
            .iter()
            .filter_map(|at| self.pattern.components().get(*at))
            .collect();
        if ahead.is_empty() {
            return Ok(());
        }
        let directory = Directory::load(self.store, node.tree)?;
        let literal = ahead.iter().map(|component| match component {
            Component::Literal(name) => Some(name),
            Component::Glob(_) | Component::Any => None,
        });
        if let Some(names) = literal.collect::<Option<Vec<&Name>>>() {
            for child in names {
                if let Some(entry) = directory.get(child.as_bytes())? {
                    self.child(name, path, child, &entry, positions)?;
                }
            }
            return Ok(());
        }
        for found in directory.entries() {
            let (child, entry) = found?;
            self.child(name, path, &child, &entry, positions)?;
        }
        Ok(())
    }

    fn child(
        &mut self,
        name: &GuestPath,
        path: &GuestPath,
        child: &Name,
        entry: &Entry,
        positions: &[usize],
    ) -> Result<(), CopyError> {
        let next = self.pattern.step(positions, child.as_bytes());
        if next.is_empty() {
            return Ok(());
        }
        let (name, path) = (name.child(child), path.child(child));
        if !matches!(entry.node, Node::Symlink(_)) {
            return self.visit(&name, &path, entry, &next);
        }
        // `**` does not walk through links: they may lead round in circles.
        let through_any = next
            .iter()
            .any(|at| self.pattern.components().get(*at) == Some(&Component::Any));
        match walk::resolve(self.store, self.tree, &path)? {
            Some((path, entry)) if !through_any || !matches!(entry.node, Node::Directory(_)) => {
                self.visit(&name, &path, &entry, &next)
            }
            None if self.pattern.ends(&next) => Err(CopyError::Dangling {
                path: name.to_string(),
            }),
            _ => Ok(()),
        }
    }
}
