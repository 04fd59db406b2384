//! What a sweep must not take although no record names it yet, and what is known to be there without asking the database.
//!
//! In: ids put or found, roots that builds stand on. Out: whether an id is pinned, whether it is known. Effects: memory: for a pin
//! the first 8 bytes of its id, since a collision keeps garbage and loses nothing; for a known id all 32, so many at most.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::TreeRef;

/// A digest's bytes are a hash already.
#[derive(Default)]
pub(super) struct Verbatim(u64);

impl Hasher for Verbatim {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// A set of ids by their first 8 bytes.
pub(super) type ShortIds = HashSet<u64, BuildHasherDefault<Verbatim>>;

/// The first 8 bytes of an id.
pub(super) fn short(id: &[u8; 32]) -> u64 {
    id.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// So many ids of a kind are known at once; then knowledge begins anew. 12 MB when full.
const MOST_KNOWN: usize = 1 << 18;

/// Whose ids.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Chunk,
    Node,
}

/// All of the id, hashed by its last bytes.
type Known = HashSet<[u8; 32], BuildHasherDefault<Verbatim>>;

#[derive(Default)]
pub(super) struct Pins(Mutex<Inner>);

#[derive(Default)]
pub(super) struct Inner {
    ids: ShortIds,
    leases: usize,
    /// Roots with how often they are kept.
    roots: HashMap<TreeRef, usize>,
    chunks: Known,
    nodes: Known,
    /// Grows when pins fall or something turns out to be damaged: what was found before may be gone.
    epoch: u64,
}

impl Inner {
    pub(super) fn contains(&self, id: &[u8; 32]) -> bool {
        self.ids.contains(&short(id))
    }

    /// No longer known to be there.
    pub(super) fn forget(&mut self, kind: Kind, id: &[u8; 32]) {
        self.known(kind).remove(id);
    }

    fn known(&mut self, kind: Kind) -> &mut Known {
        match kind {
            Kind::Chunk => &mut self.chunks,
            Kind::Node => &mut self.nodes,
        }
    }
}

/// What pinning told.
pub(super) struct Pinned {
    /// For each id, whether it is there for sure; otherwise the database must be asked.
    pub(super) known: Vec<bool>,
    epoch: u64,
}

impl Pins {
    /// Pins ids. Only after this may their presence be looked up: a sweep deletes under the same lock.
    pub(super) fn add<'a>(&self, kind: Kind, ids: impl Iterator<Item = &'a [u8; 32]>) -> Pinned {
        let inner = &mut *self.lock();
        let mut known = Vec::new();
        for id in ids {
            inner.ids.insert(short(id));
            known.push(inner.known(kind).contains(id));
        }
        Pinned {
            known,
            epoch: inner.epoch,
        }
    }

    /// Remembers that these of the ids pinned are there: found, or written. They still are if no pin fell meanwhile.
    pub(super) fn learn<'a>(&self, kind: Kind, pinned: &Pinned, ids: impl Iterator<Item = &'a [u8; 32]>) {
        let inner = &mut *self.lock();
        if inner.epoch != pinned.epoch {
            return;
        }
        let known = inner.known(kind);
        for id in ids {
            if known.len() >= MOST_KNOWN {
                known.clear();
            }
            known.insert(*id);
        }
    }

    /// Notes that what was thought to be there is damaged.
    pub(super) fn unlearn(&self, kind: Kind, id: &[u8; 32]) {
        let mut inner = self.lock();
        inner.epoch += 1;
        inner.forget(kind, id);
    }

    /// Roots kept by leases.
    pub(super) fn roots(&self) -> Vec<TreeRef> {
        self.lock().roots.keys().copied().collect()
    }

    /// While this is held, nothing is pinned.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open build's hold on the store: what anyone puts or finds while some lease is open stays until the last one is dropped,
/// and so do the roots it keeps. What is put while there is no lease stays until the next last one is dropped.
pub struct Lease {
    pins: Arc<Pins>,
    roots: Mutex<Vec<TreeRef>>,
}

impl Lease {
    pub(super) fn new(pins: &Arc<Pins>) -> Self {
        pins.lock().leases += 1;
        Self {
            pins: Arc::clone(pins),
            roots: Mutex::default(),
        }
    }

    /// Keeps a root and all it reaches: a base or a cache hit that this build stands on, whose record may be deleted meanwhile.
    pub fn keep(&self, root: TreeRef) {
        self.roots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(root);
        *self.pins.lock().roots.entry(root).or_default() += 1;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let roots = self.roots.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut pins = self.pins.lock();
        for root in roots {
            if let Some(times) = pins.roots.get_mut(root) {
                *times -= 1;
                if *times == 0 {
                    pins.roots.remove(root);
                }
            }
        }
        pins.leases -= 1;
        if pins.leases == 0 {
            pins.ids = ShortIds::default();
            pins.epoch += 1;
        }
    }
}
