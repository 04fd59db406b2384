//! A build context: a host directory, of which a COPY selects some, becomes a tree.
//!
//! In: an open directory (`O_PATH` is enough), an ignore file's patterns, what is wanted. Out: a tree that holds the selected paths
//! where they are in the context, and whose `ContentId` is the key of what was selected. Effects: reads files; stat records.
//!
//! | file    | holds                                                   |
//! |---------|---------------------------------------------------------|
//! | `stat`  | the stat cache: unchanged files are not read again      |
//! | `walk`  | the parallel walk over what the patterns can reach      |
//! | `visit` | one directory of it: which entries, what becomes of them |
//! | `gather`| what the walk found -> directories of the store         |
//!
//! Decisions. Entries are owned by 0:0 and have no extended attributes: host owners, labels and ACLs are the host's. Type, mode,
//! content and link target are the key; a file's time is kept in the tree, as BuildKit keeps it in the layer, and is no
//! part of the key. Directories that only lead to something selected, and a selected directory itself (COPY takes its
//! contents), have mode 0755 and time 0, so that their metadata is no part of it either. Hard links of the host become
//! separate files: a checkout's accidental links must not change a layer. Sockets are left out. Nothing outside the directory
//! is reached: every open is beneath it and follows no link; a selected link's target is selected with it, as after `chroot`.

mod gather;
mod stat;
mod visit;
mod walk;

#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use silt_store::{Content, Data, Meta, Root, Store, StoreError, StoreResult, Time, TreeRef, blob, root};

use super::pattern::Pattern;
use crate::dockerfile::ignore::Ignore;
use crate::solve::Cancel;

/// A directory whose files a build may copy.
#[derive(Debug)]
pub struct Context {
    directory: OwnedFd,
    ignore: Ignore,
}

/// What a COPY wants of a context.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Relative to the context.
    pub patterns: &'a [Pattern],
    /// `--exclude`.
    pub exclude: &'a Ignore,
    /// Whether directories that lead to what is selected keep their metadata (`--parents`).
    pub parents: bool,
}

/// Whether files that look unchanged are read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// No: the stat cache knows them.
    Stat,
    /// Yes.
    Nothing,
}

/// What was selected.
#[derive(Debug, Clone)]
pub struct Selection {
    /// A root that holds the selected paths.
    pub tree: TreeRef,
    /// How many files it has.
    pub files: u64,
    /// How many of them were read.
    pub read: u64,
    /// Content that was taken from the stat cache, unseen.
    unseen: Vec<Content>,
}

/// Why a context could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The system refused.
    #[error("{doing} {path} in the build context")]
    Io {
        /// Relative to the context.
        path: String,
        /// `reading`, `listing`.
        doing: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// The store refused.
    #[error("the build context could not be stored")]
    Store(#[from] StoreError),
    /// A name that is no name: nothing that a Linux directory lists.
    #[error("a name in the build context: {0}")]
    Name(#[from] silt_store::NameError),
    /// The build was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// Links that lead to links without end.
    #[error("too many levels of symbolic links in the build context")]
    Links,
}

/// Links followed one after the other, at most.
const MOST_LINKS: usize = 40;

impl Context {
    /// A context beneath `directory`, without what `ignore` leaves out.
    pub fn new(directory: OwnedFd, ignore: Ignore) -> Self {
        Self { directory, ignore }
    }

    /// Whether the ignore file leaves out `path`, relative to the context: then it is as if it were not there.
    pub fn ignores(&self, path: &str) -> bool {
        self.ignore.matches(path.trim_start_matches('/'))
    }

    /// Selects; content that the store lacks is put. `watch` is called now and then with the number of files seen.
    ///
    /// # Errors
    /// `Io`, `Store`, `Links`, `Cancelled`. A pattern that selects nothing is no error here.
    pub fn select(
        &self,
        store: &Arc<dyn Store>,
        wanted: &Wanted<'_>,
        trust: Trust,
        cancel: &Cancel,
        watch: &(dyn Fn(u64) + Sync),
    ) -> Result<Selection, ContextError> {
        let mut patterns = wanted.patterns.to_vec();
        // A link that a pattern meets is selected with what it leads to: another pattern, for another walk.
        for _ in 0..MOST_LINKS {
            let walk = walk::Walk::new(store, self, wanted, &patterns, trust, cancel, watch);
            let found = walk.run()?;
            let mut met: Vec<_> = found
                .links
                .into_iter()
                .filter(|link| !patterns.contains(link))
                .collect();
            if met.is_empty() {
                let gathered = gather::gather(&**store, found.directories)?;
                let tree = root::write(
                    &**store,
                    &Root {
                        meta: plain_directory(),
                        directory: gathered.directory,
                        links: silt_store::Links::default(),
                    },
                )?;
                return Ok(Selection {
                    tree,
                    files: found.files,
                    read: found.read,
                    unseen: gathered.unseen,
                });
            }
            patterns.append(&mut met);
        }
        Err(ContextError::Links)
    }
}

impl Selection {
    /// Whether the store has all the content, which is pinned then. What the stat cache remembers may have been collected since.
    ///
    /// # Errors
    /// The store's.
    pub fn is_present(&self, store: &dyn Store) -> StoreResult<bool> {
        let mut whole = Vec::new();
        for content in &self.unseen {
            match &content.data {
                Data::Inline(_) => {}
                Data::Chunk(id) => whole.push(*id),
                Data::List(_) => {
                    if !blob::present(store, content)? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(store.has_chunks(&whole)?.into_iter().all(|here| here))
    }
}

/// A directory that is there to hold something.
fn plain_directory() -> Meta {
    Meta {
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        xattrs: silt_store::Xattrs::default(),
    }
}
