//! A layer's tar onto a tree.
//!
//! In: an untrusted tar stream and a base tree. Out: the tree with the layer applied. Effects: puts content; records nothing,
//! so a failed unpack leaves only unreferenced chunks for the next collection. Spec: image-spec, "Applying Changesets".
//! Devices, fifos and links are entries in a tree, nothing is created on this machine, so hostile members can harm nobody:
//! they are refused only where a filesystem could not hold them.

use std::io::Read;
use std::sync::Arc;

use silt_store::{Content, Entry, GuestPath, Name, Node, Store, TreeRef, blob, directory};

use super::archive::Archive;
use super::error::{LayerError, MemberError};
use super::header::{Kind, Member};
use super::place::{Missing, Parents, Problem, names};
use super::recipe::Recorder;
use super::sparse::Expand;
use super::tree::Tree;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Bookkeeping of a filesystem long gone (AUFS) that some old layers carry.
const AUFS: &[u8] = b".wh..wh.";

/// What `.wh.` names mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteouts {
    /// Image layers: they remove what lower layers have.
    Apply,
    /// Root filesystem tars: names like others. Such an archive must have its end mark, since no digest vouches for it.
    Literal,
}

/// Applies the tar in `input` onto `base`; the stream is read to its end. Later members of one name win.
///
/// # Errors
/// `Truncated`, `NotTar`, `Member`, `Read`, `Store`.
pub fn unpack(
    store: &Arc<dyn Store>,
    base: TreeRef,
    input: &mut dyn Read,
    mode: Whiteouts,
) -> Result<TreeRef, LayerError> {
    let (tree, _) = run(
        store,
        base,
        Archive::new(input, mode == Whiteouts::Literal, None),
        mode,
    )?;
    Ok(tree)
}

/// What `unpack_recorded` yields.
#[derive(Debug)]
pub struct Unpacked {
    /// The tree with the layer applied.
    pub tree: TreeRef,
    /// How to write the same tar again: the recipe, then what it needs besides the tree. To be kept by the layer's record.
    pub contents: Vec<Content>,
}

/// Like `unpack` with `Whiteouts::Apply`, and keeps what is needed to write the tar again byte for byte.
///
/// # Errors
/// As `unpack`.
pub fn unpack_recorded(
    store: &Arc<dyn Store>,
    base: TreeRef,
    input: &mut dyn Read,
) -> Result<Unpacked, LayerError> {
    let archive = Archive::new(input, false, Some(Recorder::new().map_err(LayerError::Write)?));
    let (tree, kept) = run(store, base, archive, Whiteouts::Apply)?;
    let (recorder, replaced) = kept.ok_or(LayerError::Recipe)?;
    let (recipe, written) = recorder.finish().map_err(LayerError::Write)?;
    let mut contents: Vec<Content> = if replaced.directory {
        written.into_iter().collect()
    } else {
        replaced
            .files
            .into_iter()
            .filter(|file| written.contains(file))
            .collect()
    };
    contents.insert(0, blob::from_bytes(store.as_ref(), &recipe)?);
    Ok(Unpacked { tree, contents })
}

fn run(
    store: &Arc<dyn Store>,
    base: TreeRef,
    mut archive: Archive<'_>,
    mode: Whiteouts,
) -> Result<(TreeRef, Option<(Recorder, Replaced)>), LayerError> {
    let mut unpacker = Unpacker {
        chunks: blob::ChunkWriter::new(store.as_ref()),
        tree: Tree::new(store, base)?,
        parents: Parents::default(),
        mode,
        replaced: Replaced::default(),
    };
    while let Some(member) = archive.next()? {
        unpacker.member(&member, &mut archive)?;
    }
    unpacker.chunks.flush()?;
    let tree = unpacker.tree.finish()?;
    let recipe = archive
        .into_recorder()
        .map(|recorder| (recorder, unpacker.replaced));
    Ok((tree, recipe))
}

/// What the tar brought and then replaced itself, so that the tree no longer keeps it.
#[derive(Default)]
struct Replaced {
    files: Vec<Content>,
    directory: bool,
}

struct Unpacker<'s> {
    chunks: blob::ChunkWriter<'s>,
    tree: Tree,
    parents: Parents,
    mode: Whiteouts,
    replaced: Replaced,
}

impl Unpacker<'_> {
    fn member(&mut self, member: &Member, archive: &mut Archive<'_>) -> Result<(), LayerError> {
        let at = |error: MemberError| error.at(&member.name);
        let located = |problem: Problem| match problem {
            Problem::Member(error) => at(error),
            Problem::Store(error) => error.into(),
        };
        let names = names(&member.name).map_err(at)?;
        let Some((name, parents)) = names.split_last() else {
            if member.kind != Kind::Directory {
                return Err(at(MemberError::Root));
            }
            return Ok(self.tree.set_meta(&GuestPath::root(), &member.meta)?);
        };
        if self.mode == Whiteouts::Apply {
            if names
                .iter()
                .any(|name| name.as_bytes().starts_with(AUFS) && name.as_bytes() != OPAQUE)
            {
                return Ok(());
            }
            if parents.iter().any(|name| name.as_bytes().starts_with(WHITEOUT)) {
                return Err(at(MemberError::Whiteout));
            }
            if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
                return self.whiteout(name, hidden, parents).map_err(located);
            }
        }
        let parent = self
            .parents
            .resolve(&mut self.tree, parents, Missing::Create)
            .map_err(located)?;
        let path = parent.unwrap_or_default().child(name);
        let node = match &member.kind {
            Kind::Directory => return self.directory(&path, member).map_err(located),
            Kind::File => Node::File(self.content(member, archive)?),
            Kind::Symlink(target) => Node::Symlink(target.as_slice().into()),
            Kind::CharDevice(device) => Node::CharDevice(*device),
            Kind::BlockDevice(device) => Node::BlockDevice(*device),
            Kind::Fifo => Node::Fifo,
            Kind::Link(target) => return self.link(&path, target).map_err(located),
        };
        self.clear(&path).map_err(located)?;
        let meta = member.meta.clone();
        self.tree.insert(&path, Entry { meta, node })?;
        self.tree.own(&path);
        Ok(())
    }

    fn whiteout(&mut self, name: &Name, hidden: &[u8], parents: &[Name]) -> Result<(), Problem> {
        let Some(directory) = self.parents.resolve(&mut self.tree, parents, Missing::Leave)? else {
            return Ok(());
        };
        self.parents.forget();
        if name.as_bytes() == OPAQUE {
            return Ok(self.tree.make_opaque(&directory)?);
        }
        let hidden = Name::new(hidden).map_err(|_| MemberError::Whiteout)?;
        Ok(self.tree.white_out(&directory.child(&hidden))?)
    }

    fn directory(&mut self, path: &GuestPath, member: &Member) -> Result<(), Problem> {
        if let Some(Node::Directory(_)) = self.tree.lookup(path)?.map(|entry| entry.node) {
            self.tree.set_meta(path, &member.meta)?;
        } else {
            self.clear(path)?;
            let node = Node::Directory(directory::empty());
            let meta = member.meta.clone();
            self.tree.insert(path, Entry { meta, node })?;
        }
        self.tree.own(path);
        Ok(())
    }

    /// A hard link names what its target is; the metadata in its own header is ignored, as GNU tar does.
    fn link(&mut self, path: &GuestPath, target: &[u8]) -> Result<(), Problem> {
        let text = || String::from_utf8_lossy(target).into_owned();
        let names = names(target)?;
        let (name, parents) = names
            .split_last()
            .ok_or_else(|| MemberError::LinkDirectory { target: text() })?;
        let found = match self.parents.resolve(&mut self.tree, parents, Missing::Leave)? {
            Some(parent) => {
                let found = parent.child(name);
                self.tree.lookup(&found)?.map(|entry| (found, entry.node))
            }
            None => None,
        };
        let Some((found, node)) = found else {
            return Err(MemberError::LinkTarget { target: text() }.into());
        };
        if matches!(node, Node::Directory(_)) {
            return Err(MemberError::LinkDirectory { target: text() }.into());
        }
        if found == *path {
            return Ok(());
        }
        self.clear(path)?;
        self.tree.link(&found, path)?;
        self.tree.own(path);
        Ok(())
    }

    /// Takes away what stands where an entry shall be.
    fn clear(&mut self, path: &GuestPath) -> Result<(), Problem> {
        match self.tree.lookup(path)?.map(|entry| entry.node) {
            None => return Ok(()),
            Some(Node::Directory(_)) => {
                self.parents.forget();
                self.replaced.directory = true;
            }
            Some(Node::Symlink(_)) => self.parents.forget(),
            Some(Node::File(content)) => self.replaced.files.push(content),
            Some(_) => {}
        }
        Ok(self.tree.remove(path)?)
    }

    fn content(&mut self, member: &Member, archive: &mut Archive<'_>) -> Result<Content, LayerError> {
        let written = match &member.sparse {
            Some(map) => self.chunks.write(&mut Expand::new(archive, map), 0),
            None => self.chunks.write(archive, member.stored),
        };
        let content = match written {
            Ok(content) => content,
            Err(error) => return Err(archive.failure().unwrap_or(LayerError::Store(error))),
        };
        archive.stored_as(&content, member.sparse.as_ref())?;
        Ok(content)
    }
}
