//! A directory copied onto a directory, as `COPY dir/ /there/` does.
//!
//! In: a directory of another root. Out: changes of the edit. Effects: reads the nodes of both sides where both have a
//! directory; what only one side has is never entered. Spec: `BuildKit`'s copier: the destination itself keeps its metadata if
//! it was there, directories below it take the source's, files are replaced, and a directory never replaces anything else.

use super::{Edit, problem};
use crate::walk::{lookup_below, root_entry};
use crate::{Directory, Entry, GuestPath, Node, StoreResult, TreeRef, root};

impl Edit {
    /// Copies the directory `src` of the root `from` onto `dst`: everything in it appears in `dst`, and what `dst` had besides
    /// stays. When `dst` is not there, this is `graft`. Hard-link groups that lie wholly inside `src` come along.
    ///
    /// # Errors
    /// `Path` when `src` is no directory, when the parent of `dst` is not there, when a directory would replace a file or a
    /// link, or a file a directory; `MissingTree`, `CorruptTree`, `Malformed`, `Database`.
    pub fn merge_directory(&mut self, dst: &GuestPath, from: TreeRef, src: &GuestPath) -> StoreResult<()> {
        let root = root::read(&*self.store, from.tree)?;
        let Some(source) = lookup_below(&self.store, root_entry(&root), src.names())? else {
            return Err(problem(src, "not found"));
        };
        let Node::Directory(node) = source.node else {
            return Err(problem(src, "not a directory"));
        };
        match self.lookup(dst)? {
            None => self.insert(dst, source)?,
            Some(Entry {
                node: Node::Directory(_),
                ..
            }) => self.merge(dst, node)?,
            Some(_) => return Err(problem(dst, "a directory cannot be copied onto what is none")),
        }
        self.links.adopt(&root.links, src, dst);
        Ok(())
    }

    /// Both are directories.
    fn merge(&mut self, dst: &GuestPath, source: TreeRef) -> StoreResult<()> {
        for entry in Directory::load(&self.store, source.tree)?.entries() {
            let (name, entry) = entry?;
            let path = dst.child(&name);
            let Some(here) = self.lookup(&path)? else {
                self.insert(&path, entry)?;
                continue;
            };
            match (&here.node, &entry.node) {
                (Node::Directory(node), Node::Directory(below)) => {
                    let same = *node == *below && self.untouched(&path) && !self.links.any_below(&path);
                    let below = *below;
                    if here.meta != entry.meta {
                        self.set_meta(&path, &entry.meta)?;
                    }
                    if !same {
                        self.merge(&path, below)?;
                    }
                }
                (_, Node::Directory(_)) => {
                    return Err(problem(&path, "a directory cannot be copied onto what is none"));
                }
                (Node::Directory(_), _) => {
                    return Err(problem(&path, "a directory cannot be replaced by what is none"));
                }
                _ if here == entry && !self.links.any_below(&path) => {}
                _ => self.insert(&path, entry)?,
            }
        }
        Ok(())
    }
}
