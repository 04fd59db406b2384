//! The canonical bytes of entries, directory leaves, directory indexes and roots, and views that read them in place.
//!
//! In: entries in order of names. Out: bytes with both ids; from bytes, one entry without decoding the rest. No effects.
//! Spec: `store/DESIGN.md`, "Trees". Changing anything here changes the format number.

use std::cmp::Ordering;

use bytes::Bytes;

use super::acl;
use super::wire::{Reader, put_number, put_signed, put_string};
use crate::{
    ChunkId, Content, ContentId, Data, Device, Entry, GuestPath, Links, Meta, Name, Node, Root, StoreError,
    StoreResult, Time, TreeId, TreeRef, Xattrs,
};

const LEAF: u8 = 1;
const INDEX: u8 = 2;
const ROOT: u8 = 3;
/// Added to the first byte of an encoding without times, whose digest is a `ContentId`; such bytes are never stored.
const CONTENT: u8 = 0x80;
const VERSION: u8 = 1;

const DIRECTORY: u8 = 0;
const INLINE: u8 = 1;
const CHUNK: u8 = 2;
const LIST: u8 = 3;
const SYMLINK: u8 = 4;
const CHAR_DEVICE: u8 = 5;
const BLOCK_DEVICE: u8 = 6;
const FIFO: u8 = 7;
const SOCKET: u8 = 8;
/// Added to an entry's kind when extended attributes follow its metadata.
const HAS_XATTRS: u8 = 0x80;

/// With times, as stored, or without, as digested for a `ContentId`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Tree,
    Content,
}

/// A node's bytes with both ids.
pub(crate) struct Encoded {
    pub(crate) id: TreeRef,
    pub(crate) bytes: Bytes,
}

fn both(write: impl Fn(&mut Vec<u8>, Form)) -> Encoded {
    let mut bytes = Vec::new();
    write(&mut bytes, Form::Content);
    bytes[0] |= CONTENT;
    let content = ContentId::of(&bytes);
    bytes.clear();
    write(&mut bytes, Form::Tree);
    let tree = TreeId::of(&bytes);
    Encoded {
        id: TreeRef { tree, content },
        bytes: bytes.into(),
    }
}

/// Encodes a leaf; `entries` are in strict order of names.
pub(crate) fn leaf(entries: &[(Name, Entry)]) -> Encoded {
    both(|out, form| {
        out.extend_from_slice(&[LEAF, VERSION, 0, 0]);
        put_table(out, entries, |out, (name, entry)| {
            put_name(out, name);
            put_entry(out, entry, form);
        });
    })
}

/// One child of an index: its smallest name, its node, how many entries lie below.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) first: Name,
    pub(crate) node: TreeRef,
    pub(crate) entries: u64,
}

/// Encodes an index of leaves (level 1) or of indexes (above).
pub(crate) fn index(level: u8, items: &[Item]) -> Encoded {
    both(|out, form| {
        out.extend_from_slice(&[INDEX, VERSION, level, 0]);
        put_table(out, items, |out, item| {
            put_name(out, &item.first);
            put_number(out, item.entries);
            put_ref(out, &item.node, form);
        });
    })
}

/// Encodes a root.
pub(crate) fn root(root: &Root) -> Encoded {
    both(|out, form| {
        out.extend_from_slice(&[ROOT, VERSION, 0, 0]);
        put_meta(out, 0, &root.meta, form);
        put_ref(out, &root.directory, form);
        put_number(out, root.links.groups().len() as u64);
        for group in root.links.groups() {
            put_number(out, group.len() as u64);
            for path in group {
                put_string(out, &path.to_bytes());
            }
        }
    })
}

/// The count, the offset of each element from the node's first byte, the elements.
fn put_table<T>(out: &mut Vec<u8>, elements: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    out.extend_from_slice(&(elements.len() as u32).to_le_bytes());
    let table = out.len();
    out.resize(table + 4 * elements.len(), 0);
    for (at, element) in elements.iter().enumerate() {
        let offset = (out.len() as u32).to_le_bytes();
        out[table + 4 * at..][..4].copy_from_slice(&offset);
        put(out, element);
    }
}

fn put_name(out: &mut Vec<u8>, name: &Name) {
    out.push(name.as_bytes().len() as u8);
    out.extend_from_slice(name.as_bytes());
}

fn put_ref(out: &mut Vec<u8>, node: &TreeRef, form: Form) {
    if form == Form::Tree {
        out.extend_from_slice(node.tree.as_bytes());
    }
    out.extend_from_slice(node.content.as_bytes());
}

fn put_meta(out: &mut Vec<u8>, kind: u8, meta: &Meta, form: Form) {
    let xattrs = acl::kept(meta);
    let count = xattrs.clone().count();
    out.push(kind | if count > 0 { HAS_XATTRS } else { 0 });
    out.extend_from_slice(&meta.mode.to_le_bytes());
    put_number(out, meta.uid.into());
    put_number(out, meta.gid.into());
    if form == Form::Tree {
        put_signed(out, meta.mtime.seconds);
        put_number(out, meta.mtime.nanos.into());
    }
    if count > 0 {
        put_number(out, count as u64);
        for (name, value) in xattrs {
            put_string(out, name);
            put_string(out, value);
        }
    }
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry, form: Form) {
    let kind = match &entry.node {
        Node::Directory(_) => DIRECTORY,
        Node::File(content) => content_kind(content),
        Node::Symlink(_) => SYMLINK,
        Node::CharDevice(_) => CHAR_DEVICE,
        Node::BlockDevice(_) => BLOCK_DEVICE,
        Node::Fifo => FIFO,
        Node::Socket => SOCKET,
    };
    put_meta(out, kind, &entry.meta, form);
    match &entry.node {
        Node::Directory(node) => put_ref(out, node, form),
        Node::File(content) => put_content(out, content),
        Node::Symlink(target) => put_string(out, target),
        Node::CharDevice(device) | Node::BlockDevice(device) => {
            put_number(out, device.major.into());
            put_number(out, device.minor.into());
        }
        Node::Fifo | Node::Socket => {}
    }
}

/// The kind byte of a file with this content.
pub(crate) fn content_kind(content: &Content) -> u8 {
    match content.data {
        Data::Inline(_) => INLINE,
        Data::Chunk(_) => CHUNK,
        Data::List(_) => LIST,
    }
}

/// The length, then the bytes or the id.
pub(crate) fn put_content(out: &mut Vec<u8>, content: &Content) {
    put_number(out, content.len);
    match &content.data {
        Data::Inline(bytes) => out.extend_from_slice(bytes),
        Data::Chunk(id) | Data::List(id) => out.extend_from_slice(id.as_bytes()),
    }
}

/// Reads what `put_content` wrote for a file of `kind`.
pub(crate) fn content(reader: &mut Reader<'_>, kind: u8) -> StoreResult<Content> {
    let len = reader.number()?;
    let data = match kind {
        INLINE => {
            let len = usize::try_from(len).map_err(|_| reader.malformed("a length is too large"))?;
            Data::Inline(Bytes::copy_from_slice(reader.bytes(len)?))
        }
        CHUNK => Data::Chunk(ChunkId::from_bytes(reader.array()?)),
        LIST => Data::List(ChunkId::from_bytes(reader.array()?)),
        _ => return Err(reader.malformed("a file is of an unknown kind")),
    };
    Ok(Content { len, data })
}

fn node_ref(reader: &mut Reader<'_>) -> StoreResult<TreeRef> {
    Ok(TreeRef {
        tree: TreeId::from_bytes(reader.array()?),
        content: ContentId::from_bytes(reader.array()?),
    })
}

/// Reads what `put_meta` wrote; the kind comes back without its flag.
fn meta(reader: &mut Reader<'_>) -> StoreResult<(u8, Meta)> {
    let kind = reader.byte()?;
    let mut meta = Meta {
        mode: u16::from_le_bytes(reader.array()?),
        uid: reader.number32()?,
        gid: reader.number32()?,
        mtime: Time {
            seconds: reader.signed()?,
            nanos: reader.number32()?,
        },
        xattrs: Xattrs::default(),
    };
    if meta.mode > 0o7777 || meta.mtime.nanos >= 1_000_000_000 {
        return Err(reader.malformed("a mode or a time is out of range"));
    }
    if kind & HAS_XATTRS != 0 {
        for _ in 0..reader.number()? {
            let name = reader.string()?;
            let value = reader.string()?;
            meta.xattrs.set(name, value);
        }
    }
    Ok((kind & !HAS_XATTRS, meta))
}

fn entry(reader: &mut Reader<'_>) -> StoreResult<Entry> {
    let (kind, meta) = meta(reader)?;
    let node = match kind {
        DIRECTORY => Node::Directory(node_ref(reader)?),
        INLINE | CHUNK | LIST => Node::File(content(reader, kind)?),
        SYMLINK => Node::Symlink(reader.string()?.into()),
        CHAR_DEVICE | BLOCK_DEVICE => {
            let device = Device {
                major: reader.number32()?,
                minor: reader.number32()?,
            };
            if kind == CHAR_DEVICE {
                Node::CharDevice(device)
            } else {
                Node::BlockDevice(device)
            }
        }
        FIFO => Node::Fifo,
        SOCKET => Node::Socket,
        _ => return Err(reader.malformed("an entry is of an unknown kind")),
    };
    Ok(Entry { meta, node })
}

fn name<'a>(reader: &mut Reader<'a>) -> StoreResult<&'a [u8]> {
    let len = reader.byte()?;
    reader.bytes(len.into())
}

fn owned_name(reader: &Reader<'_>, bytes: &[u8]) -> StoreResult<Name> {
    Name::new(bytes).map_err(|_| reader.malformed("a name is no name"))
}

/// Reads a root.
pub(crate) fn read_root(bytes: &[u8]) -> StoreResult<Root> {
    let mut reader = Reader::new(bytes, "root");
    if reader.array()? != [ROOT, VERSION, 0, 0] {
        return Err(reader.malformed("it does not begin as a root does"));
    }
    let (_, meta) = meta(&mut reader)?;
    let directory = node_ref(&mut reader)?;
    let mut groups = Vec::new();
    for _ in 0..reader.number()? {
        let mut group = Vec::new();
        for _ in 0..reader.number()? {
            let path = GuestPath::parse(reader.string()?);
            group.push(path.map_err(|_| reader.malformed("a path is no path"))?);
        }
        groups.push(group);
    }
    reader.end()?;
    Ok(Root {
        meta,
        directory,
        links: Links::new(groups),
    })
}

/// The bytes of a leaf or an index, read in place. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Table {
    bytes: Bytes,
    what: &'static str,
}

impl Table {
    fn u32_at(&self, at: usize) -> Option<u32> {
        self.bytes
            .get(at..)?
            .first_chunk()
            .copied()
            .map(u32::from_le_bytes)
    }

    /// An index's height above the leaves; 0 for a leaf.
    pub(crate) fn level(&self) -> u8 {
        self.bytes.get(2).copied().unwrap_or(0)
    }

    /// How many elements it has.
    pub(crate) fn len(&self) -> usize {
        self.u32_at(4).unwrap_or(0) as usize
    }

    fn reader(&self, at: usize) -> StoreResult<Reader<'_>> {
        let begin = self.u32_at(8 + 4 * at).unwrap_or(0) as usize;
        let end = if at + 1 < self.len() {
            self.u32_at(12 + 4 * at).unwrap_or(0) as usize
        } else {
            self.bytes.len()
        };
        match self.bytes.get(begin..end) {
            Some(bytes) => Ok(Reader::new(bytes, self.what)),
            None => Err(StoreError::Malformed {
                what: self.what,
                detail: "an offset points outside",
            }),
        }
    }

    /// The name of element `at`.
    pub(crate) fn name(&self, at: usize) -> StoreResult<&[u8]> {
        name(&mut self.reader(at)?)
    }

    /// Where `wanted` stands, or where it would.
    pub(crate) fn search(&self, wanted: &[u8]) -> StoreResult<Result<usize, usize>> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.name(middle)?.cmp(wanted) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(Ok(middle)),
                Ordering::Greater => high = middle,
            }
        }
        Ok(Err(low))
    }

    /// Element `at` of a leaf.
    pub(crate) fn entry(&self, at: usize) -> StoreResult<(Name, Entry)> {
        let mut reader = self.reader(at)?;
        let bytes = name(&mut reader)?;
        let name = owned_name(&reader, bytes)?;
        let entry = entry(&mut reader)?;
        reader.end()?;
        Ok((name, entry))
    }

    /// Element `at` of a leaf, its name apart.
    pub(crate) fn unnamed_entry(&self, at: usize) -> StoreResult<Entry> {
        let mut reader = self.reader(at)?;
        name(&mut reader)?;
        let entry = entry(&mut reader)?;
        reader.end()?;
        Ok(entry)
    }

    /// The child node of element `at` of an index, and how many entries lie below it.
    pub(crate) fn child(&self, at: usize) -> StoreResult<(TreeId, u64)> {
        let mut reader = self.reader(at)?;
        name(&mut reader)?;
        let entries = reader.number()?;
        Ok((TreeId::from_bytes(reader.array()?), entries))
    }

    /// Element `at` of an index.
    pub(crate) fn item(&self, at: usize) -> StoreResult<Item> {
        let mut reader = self.reader(at)?;
        let bytes = name(&mut reader)?;
        let item = Item {
            first: owned_name(&reader, bytes)?,
            entries: reader.number()?,
            node: node_ref(&mut reader)?,
        };
        reader.end()?;
        Ok(item)
    }
}

/// A directory's node, opened.
#[derive(Clone)]
pub(crate) enum View {
    Leaf(Table),
    Index(Table),
}

impl View {
    /// Looks at a node's first bytes and its offset table; elements are checked when they are read.
    pub(crate) fn open(bytes: Bytes) -> StoreResult<Self> {
        let malformed = |detail| StoreError::Malformed {
            what: "directory",
            detail,
        };
        let leaf = match bytes.first_chunk() {
            Some(&[LEAF, VERSION, 0, 0]) => true,
            Some(&[INDEX, VERSION, _, 0]) => false,
            _ => return Err(malformed("it does not begin as a directory does")),
        };
        let what = if leaf { "directory" } else { "directory index" };
        let table = Table { bytes, what };
        let Some(count) = table.u32_at(4) else {
            return Err(malformed("it ends early"));
        };
        if table.bytes.len() < 8 + 4 * count as usize {
            return Err(malformed("it ends early"));
        }
        Ok(if leaf {
            Self::Leaf(table)
        } else {
            Self::Index(table)
        })
    }
}

/// What a node names: for garbage collection and checks.
pub(crate) enum Named {
    /// A node of a directory.
    Node(TreeId),
    /// Chunks of a file.
    Content(Content),
}

/// Calls `visit` for each node and each content that `bytes`, a node of any kind, names.
pub(crate) fn visit_named(bytes: Bytes, visit: &mut dyn FnMut(Named) -> StoreResult<()>) -> StoreResult<()> {
    if bytes.first() == Some(&ROOT) {
        return visit(Named::Node(read_root(&bytes)?.directory.tree));
    }
    match View::open(bytes)? {
        View::Index(table) => {
            for at in 0..table.len() {
                visit(Named::Node(table.child(at)?.0))?;
            }
        }
        View::Leaf(table) => {
            for at in 0..table.len() {
                match table.unnamed_entry(at)?.node {
                    Node::Directory(node) => visit(Named::Node(node.tree))?,
                    Node::File(content) => visit(Named::Content(content))?,
                    _ => {}
                }
            }
        }
    }
    Ok(())
}
