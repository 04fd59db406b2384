//! Putting sources where COPY and ADD put them.
//!
//! In: a base, a destination, sources as entries of other trees. Out: a root. Effects: nodes; no file's bytes move. Spec: Dockerfile
//! reference, "COPY", "Destination"; where it is silent, BuildKit's copier: the destination's links are followed inside the
//! image, a directory's contents are merged, directories that exist below the destination take the source's metadata, a
//! directory never replaces a file nor a file a directory. Directories made on the way have mode 0755, the owner of
//! `--chown` or root, and time 0; directories that exist keep their time.

use std::sync::Arc;

use silt_store::{Edit, Entry, GuestPath, Meta, Name, Node, Store, StoreResult, TreeRef, directory};

use super::CopyError;

/// Links followed in a destination, as Linux does.
const MOST_LINKS: usize = 40;

/// An image being copied into.
pub(super) struct Place {
    store: Arc<dyn Store>,
    edit: Edit,
    destination: GuestPath,
    /// Whether sources go into the destination by name.
    into: bool,
    /// For directories made on the way.
    made: Meta,
    /// `--link`: no link is followed, none stays on the way.
    link: bool,
}

/// What must be done where a path goes on.
enum Next {
    Here(GuestPath),
    Link(Box<[u8]>),
}

impl Place {
    /// Prepares to copy to `destination`, absolute; a slash at its end means a directory.
    pub(super) fn new(
        store: &Arc<dyn Store>,
        base: TreeRef,
        destination: &str,
        owner: (u32, u32),
        link: bool,
    ) -> Result<Self, CopyError> {
        let mut edit = Edit::new(Arc::clone(store), base)?;
        let written = GuestPath::parse(destination.as_bytes()).map_err(|problem| CopyError::Destination {
            path: destination.to_owned(),
            problem,
        })?;
        let path = if link {
            clear(&mut edit, &written)?
        } else {
            settle(&edit, &written)?
        };
        let is_directory = matches!(
            edit.lookup(&path)?,
            Some(Entry {
                node: Node::Directory(_),
                ..
            })
        );
        Ok(Self {
            into: destination.ends_with('/') || destination.ends_with("/.") || is_directory,
            store: Arc::clone(store),
            edit,
            destination: path,
            made: Meta {
                mode: 0o755,
                uid: owner.0,
                gid: owner.1,
                ..Meta::default()
            },
            link,
        })
    }

    /// Whether several sources fit.
    pub(super) fn takes_several(&self) -> bool {
        self.into
    }

    /// Makes the destination itself a directory.
    pub(super) fn make(&mut self) -> Result<(), CopyError> {
        let path = self.destination.clone();
        self.make_directories(&path)
    }

    fn make_directories(&mut self, path: &GuestPath) -> Result<(), CopyError> {
        Ok(self.edit.make_directories(path, &self.made)?)
    }

    /// Makes the directory `below` under the destination like `like`, if it is not there.
    pub(super) fn make_like(&mut self, below: &[Name], like: &Meta) -> Result<(), CopyError> {
        let path = self.path(below);
        if self.edit.lookup(&path)?.is_none() {
            self.make_directories(&path)?;
            self.edit.set_meta(&path, like)?;
        }
        Ok(())
    }

    fn path(&self, below: &[Name]) -> GuestPath {
        self.destination.names().iter().chain(below).cloned().collect()
    }

    /// Copies a file, a link or a device called `name`.
    pub(super) fn file(&mut self, name: &Name, entry: Entry) -> Result<(), CopyError> {
        let path = if self.into {
            self.destination.child(name)
        } else {
            self.destination.clone()
        };
        self.file_at(&path, entry)
    }

    /// Copies it to `below` under the destination.
    pub(super) fn file_below(&mut self, below: &[Name], entry: Entry) -> Result<(), CopyError> {
        let path = self.path(below);
        self.file_at(&path, entry)
    }

    fn file_at(&mut self, path: &GuestPath, entry: Entry) -> Result<(), CopyError> {
        let Some((parent, _)) = path.split_last() else {
            return Err(CopyError::Replaces { path: path.clone() });
        };
        self.make_directories(&parent)?;
        match self.edit.lookup(path)? {
            Some(Entry {
                node: Node::Directory(_),
                ..
            }) if self.link => self.edit.remove(path)?,
            Some(Entry {
                node: Node::Directory(_),
                ..
            }) => return Err(CopyError::Replaces { path: path.clone() }),
            _ => {}
        }
        Ok(self.edit.insert(path, entry)?)
    }

    /// Merges the directory `src` of `from` into `below` under the destination; whether what is in the way goes.
    pub(super) fn directory(
        &mut self,
        below: &[Name],
        from: TreeRef,
        src: &GuestPath,
        replace: bool,
    ) -> Result<(), CopyError> {
        let path = self.path(below);
        if self.link
            && !matches!(
                self.edit.lookup(&path)?,
                None | Some(Entry {
                    node: Node::Directory(_),
                    ..
                })
            )
        {
            self.edit.remove(&path)?;
        }
        self.make_directories(&path)?;
        if self.edit.list(&path)?.is_empty()
            && let Some(here) = self.edit.lookup(&path)?
        {
            self.edit.graft(&path, from, src)?;
            return Ok(self.edit.set_meta(&path, &here.meta)?);
        }
        if replace || self.link {
            self.make_room(&path, from, src)?;
        }
        Ok(self.edit.merge_directory(&path, from, src)?)
    }

    /// Removes what is of another kind than what comes: the archive wins.
    fn make_room(&mut self, path: &GuestPath, from: TreeRef, src: &GuestPath) -> Result<(), CopyError> {
        let source = Edit::new(Arc::clone(&self.store), from)?;
        let mut rest = vec![(path.clone(), src.clone())];
        while let Some((here, there)) = rest.pop() {
            for (name, coming) in source.list(&there)? {
                let path = here.child(&name);
                let Some(present) = self.edit.lookup(&path)? else {
                    continue;
                };
                let is_directory = |entry: &Entry| matches!(entry.node, Node::Directory(_));
                match (is_directory(&present), is_directory(&coming)) {
                    (true, true) => rest.push((path, there.child(&name))),
                    (false, false) => {}
                    _ => self.edit.remove(&path)?,
                }
            }
        }
        Ok(())
    }

    /// The new root.
    pub(super) fn finish(self) -> StoreResult<TreeRef> {
        self.edit.finish()
    }
}

/// The directory `path`, made with its missing parents: WORKDIR.
pub(super) fn make_directory(
    store: &Arc<dyn Store>,
    base: TreeRef,
    path: &str,
    owner: (u32, u32),
) -> Result<TreeRef, CopyError> {
    let mut place = Place::new(store, base, path, owner, false)?;
    place.make()?;
    Ok(place.finish()?)
}

/// Where `path` leads, links followed inside the image; what is not there is taken as written.
fn settle(edit: &Edit, path: &GuestPath) -> Result<GuestPath, CopyError> {
    let mut here = GuestPath::root();
    let mut ahead: Vec<Name> = path.names().iter().rev().cloned().collect();
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        match next(edit, &here, &name)? {
            Next::Here(path) => here = path,
            Next::Link(target) => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(CopyError::Links { path: path.clone() });
                }
                // Links in what a target names are met in their turn; `..` there goes up from where the link stands.
                let target = here
                    .join(&target)
                    .map_err(|_| CopyError::Links { path: path.clone() })?;
                ahead.extend(target.names().iter().rev().cloned());
                here = GuestPath::root();
            }
        }
    }
    Ok(here)
}

fn next(edit: &Edit, here: &GuestPath, name: &Name) -> Result<Next, CopyError> {
    let path = here.child(name);
    Ok(match edit.lookup(&path)? {
        Some(Entry {
            node: Node::Symlink(target),
            ..
        }) => Next::Link(target),
        _ => Next::Here(path),
    })
}

/// Takes away what is no directory on the way to `path`, its parents: `--link` makes directories there.
fn clear(edit: &mut Edit, path: &GuestPath) -> Result<GuestPath, CopyError> {
    for end in 1..path.names().len() {
        let parent: GuestPath = path.names()[..end].iter().cloned().collect();
        match edit.lookup(&parent)? {
            None => break,
            Some(Entry {
                node: Node::Directory(_),
                ..
            }) => {}
            Some(_) => {
                let node = Node::Directory(directory::empty());
                let meta = Meta {
                    mode: 0o755,
                    ..Meta::default()
                };
                edit.insert(&parent, Entry { meta, node })?;
                break;
            }
        }
    }
    Ok(path.clone())
}
