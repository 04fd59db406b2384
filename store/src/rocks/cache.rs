//! Verified bytes kept in memory, bounded.
//!
//! In: ids and bytes. Out: bytes. Effects: memory. Two generations: what is used moves to the young one, and when that is full
//! the old one is dropped. Each operation is two look-ups at most, and one long scan cannot push out more than half.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// What an element costs besides its bytes.
const OVERHEAD: usize = 96;

pub(super) struct Cache<K> {
    limit: usize,
    inner: Mutex<Generations<K>>,
}

struct Generations<K> {
    young: HashMap<K, Bytes>,
    old: HashMap<K, Bytes>,
    /// Of the young ones.
    weight: usize,
}

impl<K: Copy + Eq + Hash> Cache<K> {
    /// Keeps at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        let inner = Mutex::new(Generations {
            young: HashMap::new(),
            old: HashMap::new(),
            weight: 0,
        });
        Self { limit, inner }
    }

    pub(super) fn get(&self, key: &K) -> Option<Bytes> {
        let mut inner = self.lock();
        if let Some(bytes) = inner.young.get(key) {
            return Some(bytes.clone());
        }
        let bytes = inner.old.remove(key)?;
        self.add(&mut inner, *key, bytes.clone());
        Some(bytes)
    }

    /// Keeps `bytes` unless they are too many.
    pub(super) fn insert(&self, key: K, bytes: &Bytes) {
        if bytes.len() + OVERHEAD <= self.limit / 2 {
            self.add(&mut self.lock(), key, bytes.clone());
        }
    }

    pub(super) fn remove(&self, key: &K) {
        let mut inner = self.lock();
        inner.old.remove(key);
        if let Some(bytes) = inner.young.remove(key) {
            inner.weight -= bytes.len() + OVERHEAD;
        }
    }

    fn add(&self, inner: &mut Generations<K>, key: K, bytes: Bytes) {
        let weight = bytes.len() + OVERHEAD;
        if inner.weight + weight > self.limit / 2 {
            inner.old = std::mem::take(&mut inner.young);
            inner.weight = 0;
        }
        if inner.young.insert(key, bytes).is_none() {
            inner.weight += weight;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Generations<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_bounded_and_keeps_what_is_used() {
        let cache = Cache::new(1 << 20);
        let bytes = Bytes::from(vec![1; 1000]);
        for key in 0..100_000u32 {
            cache.insert(key, &bytes);
            assert!(cache.get(&0).is_some(), "what is used each time stays");
        }
        let inner = cache.lock();
        let kept = inner.young.len() + inner.old.len();
        assert!(kept * (1000 + OVERHEAD) <= 1 << 20, "{kept} are kept");
        drop(inner);
        cache.remove(&0);
        assert!(cache.get(&0).is_none());
        cache.insert(0, &Bytes::from(vec![0; 1 << 20]));
        assert!(cache.get(&0).is_none(), "too large to be kept");
    }
}
