//! COPY and ADD: tree algebra over a base and sources.
//!
//! In: the op, its base, its source tree, what was downloaded. Out: a root. Effects: nodes; content of inline files and unpacked
//! archives. No mount, and no bytes that the store already has.

use std::io::Read;
use std::sync::Arc;

use silt_store::{
    Content, ContentId, Entry, GuestPath, Meta, Name, Node, Store, Time, TreeRef, blob, directory, root, walk,
};

use super::CopyError;
use super::dress::{Dress, relative};
use super::place::Place;
use super::select::{Match, select};
use crate::dockerfile::ignore::Ignore;
use crate::layer::{self, Whiteouts};
use crate::plan::{CopyItem, CopyOp};
use crate::source::pattern::Pattern;

/// What ADD fetched for one URL.
#[derive(Debug, Clone)]
pub(super) struct Download {
    /// The last part of the URL's path.
    pub(super) name: Name,
    pub(super) content: Content,
    /// `Last-Modified`, or the epoch.
    pub(super) modified: Time,
}

/// A COPY with all it needs.
pub(super) struct Copy<'a> {
    pub(super) store: &'a Arc<dyn Store>,
    pub(super) op: &'a CopyOp,
    /// Holds the `Path` sources.
    pub(super) source: Option<TreeRef>,
    /// One for each `Url` source, in order.
    pub(super) downloads: &'a [Download],
    /// `--chown`, looked up.
    pub(super) owner: Option<(u32, u32)>,
}

/// A source, found.
enum Found {
    Match(Match),
    /// Called so, with its entry; whether an archive is unpacked.
    File(Name, Entry, bool),
}

/// `--exclude` as patterns.
pub(super) fn exclude(op: &CopyOp) -> Result<Ignore, CopyError> {
    Ignore::parse(&op.exclude.join("\n")).map_err(|error| CopyError::Pattern {
        problem: error.to_string(),
    })
}

/// A `Path` source as a pattern, and how many of its components `--parents` drops.
pub(super) fn pattern(written: &str) -> Result<(Pattern, usize), CopyError> {
    let parse = |text: &str| {
        Pattern::parse(text).map_err(|error| CopyError::Pattern {
            problem: error.to_string(),
        })
    };
    let dropped = match written.split_once("/./") {
        Some((before, _)) => parse(before)?.components().len(),
        None => 0,
    };
    Ok((parse(written)?, dropped))
}

impl Copy<'_> {
    /// Copies onto `base`.
    pub(super) fn onto(&self, base: TreeRef) -> Result<TreeRef, CopyError> {
        let exclude = exclude(self.op)?;
        let dress = Dress {
            owner: self.owner,
            chmod: self.op.chmod.as_ref(),
            exclude: &exclude,
        };
        let found = self.find(&exclude)?;
        if found.is_empty() {
            // Patterns may match nothing: then not even the destination is made.
            return Ok(base);
        }
        let owner = self.owner.unwrap_or((0, 0));
        let mut place = Place::new(self.store, base, &self.op.destination, owner, self.op.link)?;
        if found.len() > 1 && !place.takes_several() && !self.op.parents {
            return Err(CopyError::Several {
                count: found.len(),
                destination: self.op.destination.clone(),
            });
        }
        for (source, dropped) in found {
            self.place(&mut place, &dress, source, dropped)?;
        }
        Ok(place.finish()?)
    }

    fn find(&self, exclude: &Ignore) -> Result<Vec<(Found, usize)>, CopyError> {
        let mut found = Vec::new();
        let mut downloads = self.downloads.iter();
        for item in &self.op.sources {
            match item {
                CopyItem::Path(written) => {
                    let (pattern, dropped) = pattern(written)?;
                    let tree = self.source.ok_or(CopyError::NoSource)?;
                    let matches = select(self.store, tree, &pattern, written)?.into_iter();
                    let left = matches.filter(|one| !exclude.matches(&relative(&one.name)));
                    found.extend(left.map(|one| (Found::Match(one), dropped)));
                }
                CopyItem::Inline(name, content) => {
                    let name = file_name(name)?;
                    let content = blob::from_bytes(&**self.store, content.as_bytes())?;
                    found.push((Found::File(name, file(content, 0o644, Time::default()), false), 0));
                }
                CopyItem::Url(_) => {
                    let download = downloads.next().ok_or(CopyError::NoSource)?;
                    let entry = file(download.content.clone(), 0o600, download.modified);
                    found.push((
                        Found::File(download.name.clone(), entry, self.op.unpack_downloads),
                        0,
                    ));
                }
            }
        }
        Ok(found)
    }

    fn place(
        &self,
        place: &mut Place,
        dress: &Dress<'_>,
        source: Found,
        dropped: usize,
    ) -> Result<(), CopyError> {
        let (name, path, entry, unpack) = match source {
            Found::File(name, entry, unpack) => (Some(name), None, entry, unpack),
            Found::Match(one) => {
                if self.op.parents {
                    return self.place_with_parents(place, dress, &one, dropped);
                }
                let name = one.name.split_last().map(|(_, name)| name.clone());
                (name, Some(one.path), one.entry, self.op.unpack)
            }
        };
        match (&entry.node, path, name) {
            (Node::Directory(node), Some(path), _) => self.place_directory(place, dress, &[], &path, *node),
            (Node::File(content), _, _) if unpack && self.is_archive(content) => {
                self.unpack(place, dress, content)
            }
            (_, _, Some(name)) => {
                let meta = dress.meta(&entry);
                place.file(&name, Entry { meta, ..entry })
            }
            _ => Err(CopyError::NoSource),
        }
    }

    fn place_directory(
        &self,
        place: &mut Place,
        dress: &Dress<'_>,
        below: &[Name],
        path: &GuestPath,
        node: TreeRef,
    ) -> Result<(), CopyError> {
        let source = self.source.ok_or(CopyError::NoSource)?;
        let from = if dress.changes() {
            dress.directory(self.store, source, path, node)?
        } else {
            source
        };
        place.directory(below, from, path, false)
    }

    fn place_with_parents(
        &self,
        place: &mut Place,
        dress: &Dress<'_>,
        one: &Match,
        dropped: usize,
    ) -> Result<(), CopyError> {
        let source = self.source.ok_or(CopyError::NoSource)?;
        let names = one.name.names();
        let kept = &names[dropped.min(names.len())..];
        place.make()?;
        for end in 1..=kept.len() {
            let path = names[..names.len() - kept.len() + end].iter().cloned().collect();
            let Some((_, entry)) = walk::resolve(self.store, source, &path)? else {
                continue;
            };
            if matches!(entry.node, Node::Directory(_)) {
                place.make_like(&kept[..end], &dress.meta(&entry))?;
            }
        }
        if let Node::Directory(node) = &one.entry.node {
            return self.place_directory(place, dress, kept, &one.path, *node);
        }
        let meta = dress.meta(&one.entry);
        let node = one.entry.node.clone();
        place.file_below(kept, Entry { meta, node })
    }

    fn reader(&self, content: &Content) -> std::io::Result<Box<dyn Read + Send>> {
        layer::decompress(blob::Reader::new(Arc::clone(self.store), content.clone()))
    }

    /// Whether it is a tar, compressed or not: by its bytes, whatever its name.
    fn is_archive(&self, content: &Content) -> bool {
        let mut header = [0; 512];
        let read = self
            .reader(content)
            .and_then(|mut reader| reader.read_exact(&mut header));
        read.is_ok() && is_header(&header)
    }

    fn unpack(&self, place: &mut Place, dress: &Dress<'_>, content: &Content) -> Result<(), CopyError> {
        let mut reader = self.reader(content).map_err(CopyError::Read)?;
        let scratch = root::scratch(&**self.store)?;
        let mut tree = layer::unpack(self.store, scratch, &mut reader, Whiteouts::Literal)?;
        if dress.owner.is_some() {
            let directory = root::read(&**self.store, tree.tree)?.directory;
            let owner = Dress {
                chmod: None,
                exclude: &Ignore::default(),
                ..*dress
            };
            tree = owner.directory(self.store, tree, &GuestPath::root(), directory)?;
        }
        place.directory(&[], tree, &GuestPath::root(), true)
    }

    /// What the copy depends on of its source tree: the content of what it selects, by name.
    pub(super) fn selected(&self) -> Result<ContentId, CopyError> {
        let tree = self.source.ok_or(CopyError::NoSource)?;
        let exclude = exclude(self.op)?;
        let dress = Dress {
            owner: None,
            chmod: None,
            exclude: &exclude,
        };
        let links = root::read(&**self.store, tree.tree)?.links;
        let mut digested = Vec::new();
        let mut add = |bytes: &[u8]| {
            digested.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            digested.extend_from_slice(bytes);
        };
        for (found, _) in self.find(&exclude)? {
            let Found::Match(one) = found else { continue };
            add(&one.name.to_bytes());
            let mut entry = one.entry;
            if let Node::Directory(node) = entry.node {
                // Its own metadata is not copied, but for `--parents`.
                if !self.op.parents {
                    entry.meta = Meta::default();
                }
                if dress.changes() {
                    let dressed = dress.directory(self.store, tree, &one.path, node)?;
                    let below = walk::lookup(self.store, dressed, &one.path)?;
                    entry.node = below.map_or(entry.node, |below| below.node);
                }
                let inside = links
                    .groups()
                    .iter()
                    .filter(|group| group.iter().all(|path| path.starts_with(&one.path)));
                for path in inside.flatten() {
                    add(&path.to_bytes());
                }
            }
            add(content_of(&**self.store, entry)?.as_bytes());
        }
        Ok(ContentId::of(&digested))
    }
}

/// An entry's content, times left out.
pub(super) fn content_of(store: &dyn Store, entry: Entry) -> Result<ContentId, CopyError> {
    let name = Name::new(b"source").map_err(CopyError::Name)?;
    Ok(directory::write(store, [(name, entry)])?.content)
}

fn file(content: Content, mode: u16, mtime: Time) -> Entry {
    Entry {
        meta: Meta {
            mode,
            mtime,
            ..Meta::default()
        },
        node: Node::File(content),
    }
}

fn file_name(text: &str) -> Result<Name, CopyError> {
    let last = text.rsplit('/').next().unwrap_or(text);
    Name::new(last.as_bytes()).map_err(CopyError::Name)
}

/// Whether a block is a tar header: its checksum is right.
fn is_header(block: &[u8; 512]) -> bool {
    let field = String::from_utf8_lossy(&block[148..156]);
    let Ok(expected) = u64::from_str_radix(field.trim_matches([' ', '\0']), 8) else {
        return false;
    };
    let counted = block.iter().enumerate().map(|(at, byte)| {
        if (148..156).contains(&at) {
            32
        } else {
            u64::from(*byte)
        }
    });
    counted.sum::<u64>() == expected
}
