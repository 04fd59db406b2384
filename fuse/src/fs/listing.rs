//! READDIR and READDIRPLUS, without directory handles.
//!
//! A cookie is a function of the name, as on ext4: a listing goes on after a name even when others came or went, whichever
//! descriptor or kernel cache began it. A listing is built when one begins and kept until one ends.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use silt_store::Name;

use super::Fs;
use crate::error::{Reply, store_errno};
use crate::protocol::{Attributes, InodeNo, Kind, Listed};
use crate::trace::Message;
use crate::upper::Upper;

/// Cookies of `.` and `..`; those of names are larger.
const DOT: u64 = 1;
const DOT_DOT: u64 = 2;

fn cookie(name: &Name) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.as_bytes().hash(&mut hasher);
    (hasher.finish() >> 1).max(DOT_DOT + 1)
}

impl Fs {
    /// READDIR from after `cookie` on; `add` says whether there was room.
    pub(crate) fn list(
        &self,
        ino: InodeNo,
        cookie: u64,
        mut add: impl FnMut(InodeNo, u64, Kind, &[u8]) -> bool,
    ) -> Reply<()> {
        self.trace.count(Message::ReadDir);
        let mut upper = self.upper();
        let parent = upper.table.get(ino)?.dir()?.place.parent;
        if cookie < DOT && !add(ino, DOT, Kind::Directory, b".") {
            return Ok(());
        }
        if cookie < DOT_DOT && !add(parent, DOT_DOT, Kind::Directory, b"..") {
            return Ok(());
        }
        for listed in rest(&upper.listing(ino, cookie)?, cookie) {
            if !add(listed.ino, listed.cookie, listed.kind, listed.name.as_bytes()) {
                return Ok(());
            }
        }
        upper.end_listing(ino, cookie)
    }

    /// READDIRPLUS: each name with its inode, which the kernel then knows.
    pub(crate) fn list_plus(
        &self,
        ino: InodeNo,
        cookie: u64,
        mut add: impl FnMut(&Attributes, u64, &[u8]) -> bool,
    ) -> Reply<()> {
        self.trace.count(Message::ReadDirPlus);
        let mut upper = self.upper();
        let parent = upper.table.get(ino)?.dir()?.place.parent;
        for (number, at, name) in [(ino, DOT, &b"."[..]), (parent, DOT_DOT, b"..")] {
            if cookie < at && !add(&upper.table.get(number)?.attributes(number), at, name) {
                return Ok(());
            }
        }
        for listed in rest(&upper.listing(ino, cookie)?, cookie) {
            // It may have gone since the listing began.
            let Some(child) = upper.child(ino, &listed.name)? else {
                continue;
            };
            let attributes = upper.table.get(child)?.attributes(child);
            if !add(&attributes, listed.cookie, listed.name.as_bytes()) {
                upper.table.collect(child);
                return Ok(());
            }
            upper.table.get_mut(child)?.lookups += 1;
        }
        upper.end_listing(ino, cookie)
    }
}

fn rest(listing: &Arc<[Listed]>, cookie: u64) -> impl Iterator<Item = Listed> + use<> {
    let first = listing.partition_point(|listed| listed.cookie <= cookie);
    let listing = Arc::clone(listing);
    (first..listing.len()).map(move |at| listing[at].clone())
}

impl Upper {
    /// The listing under way, or a new one where one begins.
    fn listing(&mut self, ino: InodeNo, cookie: u64) -> Reply<Arc<[Listed]>> {
        if cookie > DOT_DOT
            && let Some(listing) = &self.table.get(ino)?.dir()?.listing
        {
            return Ok(Arc::clone(listing));
        }
        let listing = self.build_listing(ino)?;
        self.table.get_mut(ino)?.dir_mut()?.listing = Some(Arc::clone(&listing));
        Ok(listing)
    }

    /// The kernel has all; it asks once more to learn that there is no more.
    fn end_listing(&mut self, ino: InodeNo, cookie: u64) -> Reply<()> {
        let dir = self.table.get_mut(ino)?.dir_mut()?;
        let last = dir.listing.as_ref().and_then(|listing| listing.last());
        if last.is_none_or(|last| last.cookie <= cookie) {
            dir.listing = None;
        }
        Ok(())
    }

    fn build_listing(&self, ino: InodeNo) -> Reply<Arc<[Listed]>> {
        let dir = self.table.get(ino)?.dir()?;
        let lower = match &dir.lower {
            Some(lower) => lower.list(self.contents.store()).map_err(store_errno)?,
            None => BTreeMap::new(),
        };
        let mut listing = Vec::with_capacity(lower.len() + dir.changes.len());
        for (name, entry) in lower {
            if !dir.changes.contains_key(&name)
                && let Some(number) = self.table.number(&dir.origin(ino, &name))
            {
                listing.push(Listed {
                    ino: number,
                    cookie: cookie(&name),
                    kind: entry.node.kind(),
                    name,
                });
            }
        }
        for (name, child) in &dir.changes {
            if let Some(child) = child {
                listing.push(Listed {
                    ino: *child,
                    cookie: cookie(name),
                    kind: self.table.get(*child)?.node.kind(),
                    name: name.clone(),
                });
            }
        }
        listing.sort_by(|a, b| (a.cookie, &a.name).cmp(&(b.cookie, &b.name)));
        // Names of one digest: the later ones move on, so that none is skipped.
        for at in 1..listing.len() {
            listing[at].cookie = listing[at].cookie.max(listing[at - 1].cookie + 1);
        }
        Ok(listing.into())
    }
}
