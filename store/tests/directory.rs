//! Split directories against sorted maps: the same entries and the same ids however a directory came about.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use silt_store::{Directory, Entry, MemoryStore, Name, Store, directory};

use crate::fixture::{file, memory, name};

fn numbered(range: impl Iterator<Item = u32>) -> BTreeMap<Name, Entry> {
    range
        .map(|number| (name(&format!("file-{number:06}")), file(&number.to_string())))
        .collect()
}

fn check(store: &Arc<dyn Store>, id: silt_store::TreeId, model: &BTreeMap<Name, Entry>) {
    let directory = Directory::load(store, id).unwrap();
    assert_eq!(directory.len(), model.len() as u64);
    let entries: Vec<_> = directory.entries().map(Result::unwrap).collect();
    assert!(
        entries.iter().map(|(name, entry)| (name, entry)).eq(model),
        "entries differ"
    );
    for (name, entry) in model.iter().step_by(1 + model.len() / 50) {
        assert_eq!(directory.get(name.as_bytes()).unwrap().as_ref(), Some(entry));
        let after = directory.page(Some(name.as_bytes()), 3).unwrap();
        let wanted = model.range(name.clone()..).skip(1).take(3);
        assert!(after.iter().map(|(name, entry)| (name, entry)).eq(wanted));
    }
    for missing in [&b"\x01"[..], b"file-0000", b"file-000000x", b"zzz"] {
        assert_eq!(directory.get(missing).unwrap(), None);
    }
    assert_eq!(directory.page(None, 2).unwrap().len(), model.len().min(2));
    assert_eq!(directory.page(Some(b"zzz"), 2).unwrap(), []);
}

#[test]
fn directories_of_every_size_come_back() {
    for count in [0, 1, 2, 511, 512, 513, 1000, 5000, 60_000] {
        let store = memory();
        let model = numbered(0..count);
        let written = directory::write(&store, model.clone()).unwrap();
        check(&store, written.tree, &model);
    }
}

#[test]
fn names_out_of_order_are_refused() {
    let store = memory();
    let twice = [(name("a"), file("")), (name("a"), file(""))];
    assert!(directory::write(&store, twice).is_err());
}

#[test]
fn a_change_in_a_directory_of_50k_entries_writes_kilobytes() {
    let store = Arc::new(Counting::default());
    let model = numbered(0..50_000);
    let old = directory::write(&*store, model).unwrap();
    let whole = store.written();
    for number in [0, 7, 24_999, 49_999, 50_001] {
        let change = BTreeMap::from([(name(&format!("file-{number:06}")), Some(file("changed")))]);
        let before = store.written();
        directory::rewrite(&*store, old.tree, &change).unwrap();
        let cost = store.written() - before;
        assert!(
            cost < 64 * 1024,
            "one change wrote {cost} bytes; the whole directory is {whole}"
        );
    }
}

/// Counts the bytes of nodes that were not there.
#[derive(Default)]
struct Counting(MemoryStore, std::sync::atomic::AtomicU64);

impl Counting {
    fn written(&self) -> u64 {
        self.1.load(std::sync::atomic::Ordering::Relaxed)
    }
}

mod counting {
    use bytes::Bytes;
    use silt_store::{ChunkId, Record, RecordKind, Store, StoreResult, TreeId};

    impl Store for super::Counting {
        fn chunk(&self, id: ChunkId) -> StoreResult<Bytes> {
            self.0.chunk(id)
        }
        fn has_chunks(&self, ids: &[ChunkId]) -> StoreResult<Vec<bool>> {
            self.0.has_chunks(ids)
        }
        fn put_chunks(&self, chunks: Vec<(ChunkId, Bytes)>) -> StoreResult<()> {
            self.0.put_chunks(chunks)
        }
        fn node(&self, id: TreeId) -> StoreResult<Bytes> {
            self.0.node(id)
        }
        fn put_nodes(&self, nodes: Vec<(TreeId, Bytes)>) -> StoreResult<()> {
            for (id, bytes) in &nodes {
                if self.0.node(*id).is_err() {
                    self.1
                        .fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
                }
            }
            self.0.put_nodes(nodes)
        }
        fn sync(&self) -> StoreResult<()> {
            self.0.sync()
        }
        fn record(&self, kind: RecordKind, key: &[u8]) -> StoreResult<Option<Record>> {
            self.0.record(kind, key)
        }
        fn put_record(&self, kind: RecordKind, key: &[u8], record: &Record) -> StoreResult<()> {
            self.0.put_record(kind, key, record)
        }
        fn delete_records_lazily(&self, kind: RecordKind, keys: &[Vec<u8>]) -> StoreResult<()> {
            self.0.delete_records_lazily(kind, keys)
        }
        fn put_records_lazily(&self, kind: RecordKind, records: Vec<(Vec<u8>, Record)>) -> StoreResult<()> {
            self.0.put_records_lazily(kind, records)
        }
        fn delete_record(&self, kind: RecordKind, key: &[u8]) -> StoreResult<()> {
            self.0.delete_record(kind, key)
        }
        fn records(&self, kind: RecordKind, prefix: &[u8]) -> StoreResult<Vec<(Vec<u8>, Record)>> {
            self.0.records(kind, prefix)
        }
    }
}

/// Ranges of numbers to add or to remove; ranges make leaves vanish and directories grow and shrink across the split.
fn steps() -> impl Strategy<Value = Vec<Vec<(u32, u32, u32, bool)>>> {
    let range = (0u32..4000, 1u32..1500, 1u32..40, any::<bool>());
    prop::collection::vec(prop::collection::vec(range, 1..4), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rewriting_gives_what_writing_from_scratch_gives(steps in steps()) {
        let store = memory();
        let mut model = BTreeMap::new();
        let mut current = directory::write(&store, []).unwrap();
        for (number, ranges) in steps.into_iter().enumerate() {
            let mut changes = BTreeMap::new();
            for (from, len, step, add) in ranges {
                for (name, _) in numbered((from..from + len).step_by(step as usize)) {
                    changes.insert(name, add.then(|| file(&number.to_string())));
                }
            }
            for (name, change) in &changes {
                match change {
                    Some(entry) => model.insert(name.clone(), entry.clone()),
                    None => model.remove(name),
                };
            }
            current = directory::rewrite(&store, current.tree, &changes).unwrap();
            prop_assert_eq!(current, directory::write(&store, model.clone()).unwrap());
            check(&store, current.tree, &model);
        }
    }
}
