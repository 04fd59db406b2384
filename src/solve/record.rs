//! The cache's index: keys -> what a step took and gave, as records of the store.
//!
//! In: keys and outcomes. Out: outcomes. Effects: cache records. One outcome stands under its definition key (`d`) and its
//! content key (`c`); an empty mark under its op key (`o`) says that asking for a content key is worth waiting for the inputs'
//! digests. A record names its trees as roots, so they live as long as it does. Records are written lazily, after a `sync` of
//! all they name: a crash may take the youngest, never leave one whose trees are gone.

use std::sync::Arc;

use silt_store::{Record, RecordKind, Store, StoreResult, Time, TreeRef};

use super::encode::{Decoder, Encoder};
use super::key::{CacheKey, OpKey, Part};

/// The encoding of records.
const FORMAT: u64 = 1;

/// What one step took and gave, and why its keys are what they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheRecord {
    /// The vertex as it was shown when it ran.
    pub name: String,
    /// When it ran: the layer's time in history.
    pub created: Time,
    /// What its keys were digested from, the inputs apart.
    pub parts: Vec<Part>,
    /// The inputs' definition keys and outputs taken.
    pub input_keys: Vec<(CacheKey, usize)>,
    /// The inputs as they were.
    pub inputs: Vec<TreeRef>,
    /// What it gave, by output index.
    pub outputs: Vec<TreeRef>,
    /// What it took from outside the plan, as trees: a context's selection.
    pub outside: Vec<TreeRef>,
}

impl CacheRecord {
    fn encode(&self) -> Record {
        let mut encoder = Encoder::default();
        encoder.number(FORMAT);
        encoder.bytes(self.name.as_bytes());
        encoder.time(self.created);
        encoder.list(&self.parts, |encoder, part| part.encode(encoder));
        encoder.list(&self.input_keys, |encoder, (key, output)| {
            encoder.digest(key.as_bytes());
            encoder.number(*output as u64);
        });
        for trees in [&self.inputs, &self.outputs, &self.outside] {
            encoder.list(trees, |encoder, tree| encoder.tree(*tree));
        }
        let mut roots: Vec<_> = [&self.inputs, &self.outputs, &self.outside]
            .into_iter()
            .flatten()
            .copied()
            .collect();
        roots.sort_unstable();
        roots.dedup();
        Record {
            roots,
            contents: Vec::new(),
            value: encoder.finish(),
        }
    }

    /// `None` when another version of silt wrote it.
    fn decode(record: &Record) -> StoreResult<Option<Self>> {
        let mut decoder = Decoder::new(&record.value, "cache record");
        if decoder.number()? != FORMAT {
            return Ok(None);
        }
        let outcome = Self {
            name: decoder.text()?,
            created: decoder.time()?,
            parts: decoder.list(|decoder| {
                Ok(Part {
                    label: decoder.text()?,
                    values: decoder.list(|decoder| decoder.bytes().map(<[u8]>::to_vec))?,
                })
            })?,
            input_keys: decoder.list(|decoder| {
                let key = CacheKey::from_bytes(decoder.digest()?);
                Ok((key, decoder.number()? as usize))
            })?,
            inputs: decoder.list(Decoder::tree)?,
            outputs: decoder.list(Decoder::tree)?,
            outside: decoder.list(Decoder::tree)?,
        };
        decoder.end()?;
        Ok(Some(outcome))
    }
}

/// An outcome with its definition key, and its op and content keys unless those stand already.
pub type Recordable = (CacheKey, Option<(OpKey, CacheKey)>, CacheRecord);

/// The records of one store.
#[derive(Clone)]
pub struct Index(Arc<dyn Store>);

fn slot(space: u8, key: &[u8; 32]) -> Vec<u8> {
    let mut slot = vec![space];
    slot.extend_from_slice(key);
    slot
}

impl Index {
    /// The index in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    fn find(&self, space: u8, key: CacheKey) -> StoreResult<Option<CacheRecord>> {
        match self.0.record(RecordKind::Cache, &slot(space, key.as_bytes()))? {
            Some(record) => CacheRecord::decode(&record),
            None => Ok(None),
        }
    }

    /// The outcome under a definition key.
    ///
    /// # Errors
    /// The store's.
    pub fn by_definition(&self, key: CacheKey) -> StoreResult<Option<CacheRecord>> {
        self.find(b'd', key)
    }

    /// The outcome under a content key.
    ///
    /// # Errors
    /// The store's.
    pub fn by_content(&self, key: CacheKey) -> StoreResult<Option<CacheRecord>> {
        self.find(b'c', key)
    }

    /// Whether any outcome of this op was ever recorded.
    ///
    /// # Errors
    /// The store's.
    pub fn knows(&self, op: OpKey) -> StoreResult<bool> {
        Ok(self
            .0
            .record(RecordKind::Cache, &slot(b'o', op.as_bytes()))?
            .is_some())
    }

    /// Drops the outcome under a definition key: `--no-cache` must not leave it for the next build.
    /// Gone at once; a crash may bring it back until the next `put`, which syncs before it writes.
    ///
    /// # Errors
    /// The store's.
    pub fn forget(&self, key: CacheKey) -> StoreResult<()> {
        let slot = slot(b'd', key.as_bytes());
        if self.0.record(RecordKind::Cache, &slot)?.is_some() {
            self.0.delete_records_lazily(RecordKind::Cache, &[slot])?;
        }
        Ok(())
    }

    /// Records outcomes, each under its definition key, and under its op and content keys unless those stand already. All they
    /// name is durable before any of them is written.
    ///
    /// # Errors
    /// The store's; then none of them is recorded.
    pub fn put(&self, outcomes: &[Recordable]) -> StoreResult<()> {
        let mut records = Vec::with_capacity(outcomes.len() * 3);
        for (definition, fresh, outcome) in outcomes {
            let record = outcome.encode();
            if let Some((op, content)) = fresh {
                records.push((slot(b'o', op.as_bytes()), Record::default()));
                records.push((slot(b'c', content.as_bytes()), record.clone()));
            }
            records.push((slot(b'd', definition.as_bytes()), record));
        }
        self.0.sync()?;
        self.0.put_records_lazily(RecordKind::Cache, records)
    }
}

#[cfg(test)]
mod tests {
    use silt_store::{ContentId, TreeId};

    use super::*;

    #[test]
    fn records_come_back_whole_and_name_their_roots_once() {
        let tree = |text: &[u8]| TreeRef {
            tree: TreeId::of(text),
            content: ContentId::of(text),
        };
        let record = CacheRecord {
            name: "[1/2] RUN make".into(),
            created: Time {
                seconds: -3,
                nanos: 7,
            },
            parts: vec![Part::one("op", "run"), Part::many("argv", ["a", ""])],
            input_keys: vec![(CacheKey::from_bytes([7; 32]), 1)],
            inputs: vec![tree(b"in")],
            outputs: vec![tree(b"out"), tree(b"in")],
            outside: vec![tree(b"context")],
        };
        let encoded = record.encode();
        assert_eq!(encoded.roots.len(), 3);
        assert_eq!(CacheRecord::decode(&encoded).unwrap(), Some(record));
        let mut longer = encoded.clone();
        longer.value.push(0);
        assert!(CacheRecord::decode(&longer).is_err());
        let mut other = encoded;
        other.value[0] = 9;
        assert_eq!(CacheRecord::decode(&other).unwrap(), None);
    }
}
