//! What a step changed, as a layer's tar.
//!
//! In: two trees. Out: deterministic bytes. Effects: reads the store; costs what changed. Spec: image-spec, "Creating",
//! "Whiteouts". The canonical form: directories in order of names, each followed by its whiteouts and then its entries; the
//! parents of whatever changed are there too, unchanged or not, because overlay-based clients unpack a layer by itself and
//! would make up their metadata. An opaque marker replaces the whiteouts of a directory that lost all of at least two entries.
//! If any member of a hard-link group changed, all are there, the first as the file. Sockets have no form in a tar: they count
//! as absent on both sides. Holes are written as zeros.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Write;
use std::sync::Arc;

use silt_store::{Content, Directory, Entry, GuestPath, Links, Meta, Name, Node, Root, Store, TreeRef, root};

use super::copy::copy_range;
use super::error::LayerError;
use super::writer::{Member, TarWriter};

/// Writes the layer that turns `lower` into `upper`; an empty archive when nothing changed.
///
/// # Errors
/// `Unpackable` for names that begin with `.wh.` and attribute names with `=`; `Write`, `Store`.
pub fn pack(
    store: &Arc<dyn Store>,
    lower: TreeRef,
    upper: TreeRef,
    out: &mut dyn Write,
) -> Result<(), LayerError> {
    let mut writer = TarWriter::new(out);
    if lower.tree != upper.tree {
        let old = root::read(store.as_ref(), lower.tree)?;
        let new = root::read(store.as_ref(), upper.tree)?;
        let mut packer = Packer::new(store, &mut writer, &old.links, &new.links);
        packer.root(&old, &new)?;
    }
    writer.finish().map_err(LayerError::Write)
}

struct Packer<'a, 'w> {
    store: &'a Arc<dyn Store>,
    writer: &'a mut TarWriter<'w>,
    /// Members of groups that were joined, left or made: written whether their entries changed or not.
    relinked: BTreeSet<GuestPath>,
    /// Each path of the new tree that has other names, and the number of its group.
    groups: HashMap<&'a GuestPath, usize>,
    /// The member of each group that was written as the file.
    written: HashMap<usize, GuestPath>,
    /// The directories from the root to where we are that are not written yet.
    pending: Vec<(GuestPath, Meta)>,
}

/// What is at one name on both sides.
struct Pair {
    name: Name,
    old: Option<Entry>,
    new: Entry,
}

impl<'a, 'w> Packer<'a, 'w> {
    fn new(store: &'a Arc<dyn Store>, writer: &'a mut TarWriter<'w>, old: &Links, new: &'a Links) -> Self {
        let members =
            |(number, group): (usize, &'a Vec<GuestPath>)| group.iter().map(move |path| (path, number));
        Self {
            store,
            writer,
            relinked: relinked(old, new),
            groups: new.groups().iter().enumerate().flat_map(members).collect(),
            written: HashMap::new(),
            pending: Vec::new(),
        }
    }

    fn root(&mut self, old: &Root, new: &Root) -> Result<(), LayerError> {
        let path = GuestPath::root();
        self.pending.push((path.clone(), new.meta.clone()));
        if old.meta != new.meta {
            self.write_pending()?;
        }
        self.directory(&path, Some(old.directory), new.directory)
    }

    /// Compares a directory's entries; the directory itself is pending or written.
    fn directory(&mut self, path: &GuestPath, old: Option<TreeRef>, new: TreeRef) -> Result<(), LayerError> {
        let (removed, pairs) = self.compare(old, new)?;
        let kept = pairs.iter().any(|pair| pair.old.is_some());
        if removed.len() > 1 && !kept && !path.names().is_empty() {
            self.whiteout(path, b".wh..wh..opq")?;
        } else {
            for name in removed {
                check_name(path, &name)?;
                self.whiteout(path, &[b".wh.", name.as_bytes()].concat())?;
            }
        }
        for pair in pairs {
            let child = path.child(&pair.name);
            match (&pair.old, &pair.new.node) {
                (
                    Some(Entry {
                        node: Node::Directory(old),
                        meta,
                    }),
                    Node::Directory(new),
                ) => {
                    let same = old.tree == new.tree && !self.relinked_below(&child);
                    if same && *meta == pair.new.meta {
                        continue;
                    }
                    let (old, new, changed) = (*old, *new, *meta != pair.new.meta);
                    self.enter(&child, pair.new.meta, changed, Some(old), new, same)?;
                }
                (_, Node::Directory(new)) => {
                    check_name(path, &pair.name)?;
                    let new = *new;
                    self.enter(&child, pair.new.meta, true, None, new, false)?;
                }
                (Some(old), _) if *old == pair.new && !self.relinked.contains(&child) => {}
                _ => {
                    check_name(path, &pair.name)?;
                    self.entry(&child, &pair.new)?;
                }
            }
        }
        Ok(())
    }

    fn enter(
        &mut self,
        path: &GuestPath,
        meta: Meta,
        changed: bool,
        old: Option<TreeRef>,
        new: TreeRef,
        same: bool,
    ) -> Result<(), LayerError> {
        let depth = self.pending.len();
        self.pending.push((path.clone(), meta));
        if changed {
            self.write_pending()?;
        }
        if !same {
            self.directory(path, old, new)?;
        }
        // Still there if nothing below it was written.
        self.pending.truncate(depth);
        Ok(())
    }

    /// The names that went, and the entries that are there with what they were; sockets left out.
    fn compare(&self, old: Option<TreeRef>, new: TreeRef) -> Result<(Vec<Name>, Vec<Pair>), LayerError> {
        let entries = |directory: TreeRef| -> Result<_, LayerError> {
            let entries = Directory::load(self.store, directory.tree)?.entries();
            Ok(entries.filter(|entry| {
                !matches!(
                    entry,
                    Ok((
                        _,
                        Entry {
                            node: Node::Socket,
                            ..
                        }
                    ))
                )
            }))
        };
        let mut removed = Vec::new();
        let mut pairs = Vec::new();
        let mut old = old.map(entries).transpose()?.into_iter().flatten().peekable();
        for entry in entries(new)? {
            let (name, new) = entry?;
            let mut was = None;
            while let Some(next) = old.next_if(|next| next.as_ref().map_or(true, |(old, _)| *old <= name)) {
                let (old_name, entry) = next?;
                if old_name == name {
                    was = Some(entry);
                } else {
                    removed.push(old_name);
                }
            }
            pairs.push(Pair { name, old: was, new });
        }
        for entry in old {
            removed.push(entry?.0);
        }
        Ok((removed, pairs))
    }

    fn entry(&mut self, path: &GuestPath, entry: &Entry) -> Result<(), LayerError> {
        self.write_pending()?;
        let group = self.groups.get(path).copied();
        let first = group.and_then(|group| self.written.get(&group).cloned());
        if let Some(first) = first {
            return self.member(path, &entry.meta, Member::Link(&first));
        }
        if let Some(group) = group {
            self.written.insert(group, path.clone());
        }
        match &entry.node {
            Node::File(content) => self.file(path, &entry.meta, content),
            Node::Symlink(target) => self.member(path, &entry.meta, Member::Symlink(target)),
            Node::CharDevice(device) => self.member(path, &entry.meta, Member::CharDevice(*device)),
            Node::BlockDevice(device) => self.member(path, &entry.meta, Member::BlockDevice(*device)),
            Node::Fifo => self.member(path, &entry.meta, Member::Fifo),
            Node::Directory(_) => self.member(path, &entry.meta, Member::Directory),
            Node::Socket => Ok(()),
        }
    }

    fn file(&mut self, path: &GuestPath, meta: &Meta, content: &Content) -> Result<(), LayerError> {
        self.member(path, meta, Member::File(content.len))?;
        copy_range(self.store, content, 0, content.len, self.writer.out())?;
        self.writer.pad(content.len).map_err(LayerError::Write)
    }

    fn whiteout(&mut self, directory: &GuestPath, name: &[u8]) -> Result<(), LayerError> {
        self.write_pending()?;
        let name = Name::new(name).map_err(|_| LayerError::Unpackable {
            path: directory.clone(),
            problem: "the name of an entry that was removed from it is too long for a whiteout",
        })?;
        self.member(&directory.child(&name), &Meta::default(), Member::File(0))
    }

    fn write_pending(&mut self) -> Result<(), LayerError> {
        for (path, meta) in std::mem::take(&mut self.pending) {
            self.member(&path, &meta, Member::Directory)?;
        }
        Ok(())
    }

    fn member(&mut self, path: &GuestPath, meta: &Meta, member: Member<'_>) -> Result<(), LayerError> {
        if meta.xattrs.iter().any(|(name, _)| name.contains(&b'=')) {
            return Err(LayerError::Unpackable {
                path: path.clone(),
                problem: "it has an extended attribute with `=` in its name, which the format cannot express",
            });
        }
        self.writer.member(path, meta, member).map_err(LayerError::Write)
    }

    fn relinked_below(&self, path: &GuestPath) -> bool {
        self.relinked
            .range(path..)
            .next()
            .is_some_and(|next| next.starts_with(path))
    }
}

/// The members of all groups that are on one side only.
fn relinked(old: &Links, new: &Links) -> BTreeSet<GuestPath> {
    if old == new {
        return BTreeSet::new();
    }
    let set = |links: &'_ Links| links.groups().iter().cloned().collect::<HashSet<_>>();
    let (old, new) = (set(old), set(new));
    old.symmetric_difference(&new).flatten().cloned().collect()
}

fn check_name(directory: &GuestPath, name: &Name) -> Result<(), LayerError> {
    if name.as_bytes().starts_with(b".wh.") {
        return Err(LayerError::Unpackable {
            path: directory.child(name),
            problem: "names that begin with `.wh.` mean removals there; rename the file, or remove it in the same step",
        });
    }
    Ok(())
}
