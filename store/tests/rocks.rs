//! The store in RocksDB against the store in memory, across reopening, damage and sweeps.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use proptest::prelude::*;
use silt_store::{
    ChunkId, ChunkWriter, Edit, MemoryStore, Options, Record, RecordKind, RocksStore, Store, StoreError,
    TreeRef, blob, root,
};

use crate::fixture::{file, flat, meta, noise, path, tree};

pub(crate) fn small() -> Options {
    Options {
        write_buffer: 1 << 20,
        reserve: 0,
        ..Options::default()
    }
}

pub(crate) fn open(dir: &Path) -> Arc<RocksStore> {
    Arc::new(RocksStore::open(dir, small()).unwrap())
}

pub(crate) fn shared(store: &Arc<RocksStore>) -> Arc<dyn Store> {
    Arc::clone(store) as Arc<dyn Store>
}

pub(crate) fn naming(root: TreeRef) -> Record {
    Record {
        roots: vec![root],
        ..Record::default()
    }
}

/// A root with a file of these bytes at `/d/file`.
pub(crate) fn tree_of(store: &Arc<dyn Store>, bytes: &[u8]) -> TreeRef {
    let content = blob::from_bytes(store, bytes).unwrap();
    let mut entry = file("");
    entry.node = silt_store::Node::File(content);
    tree(store, &[("/d/file", entry)])
}

#[test]
fn what_was_stored_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = noise(3_000_000, 1);
    let root = {
        let store = shared(&open(dir.path()));
        let root = tree_of(&store, &bytes);
        store
            .put_record(RecordKind::Image, b"name", &naming(root))
            .unwrap();
        root
    };
    let store = shared(&open(dir.path()));
    let record = store.record(RecordKind::Image, b"name").unwrap().unwrap();
    assert_eq!(record.roots, [root]);
    let content = match &flat(&store, root)[&path("/d/file")].node {
        silt_store::Node::File(content) => content.clone(),
        other => panic!("{other:?}"),
    };
    assert!(blob::read_all(&store, &content).unwrap() == bytes);
}

#[test]
fn a_second_opener_is_told_that_it_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path());
    let second = RocksStore::open(dir.path(), small());
    assert!(matches!(second, Err(StoreError::Locked { .. })));
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    {
        let families = rocksdb::DB::list_cf(&rocksdb::Options::default(), dir.path()).unwrap();
        let mut db = rocksdb::DB::open_cf(&rocksdb::Options::default(), dir.path(), &families).unwrap();
        db.create_cf("from-the-future", &rocksdb::Options::default())
            .unwrap();
        db.put_cf(db.cf_handle("meta").unwrap(), b"format", 9u32.to_le_bytes())
            .unwrap();
    }
    match RocksStore::open(dir.path(), small()) {
        Err(StoreError::Format {
            found: 9,
            supported: 1,
            ..
        }) => {}
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it opened"),
    }
}

#[test]
fn an_absent_chunk_and_an_absent_tree_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let chunk = ChunkId::of(b"nowhere");
    let error = store.chunk(chunk).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("chunk {chunk} is missing from the store")
    );
    let node = silt_store::TreeId::of(b"nowhere");
    assert!(matches!(store.node(node), Err(StoreError::MissingTree(id)) if id == node));
}

/// Flips a byte in the middle of every file of the store with this ending.
fn damage(dir: &Path, ending: &str) {
    let mut done = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let at = entry.unwrap().path();
        if at.to_string_lossy().ends_with(ending) {
            let mut bytes = std::fs::read(&at).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            std::fs::write(&at, bytes).unwrap();
            done += 1;
        }
    }
    assert!(done > 0, "no file ends with {ending}");
}

#[test]
fn a_damaged_chunk_is_named_and_healed_by_whoever_has_the_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = Bytes::from(noise(200_000, 4));
    let id = ChunkId::of(&bytes);
    {
        let store = open(dir.path());
        store.put_chunks(vec![(id, bytes.clone())]).unwrap();
    }
    damage(dir.path(), ".blob");
    let store = open(dir.path());
    assert_eq!(store.has_chunks(&[id]).unwrap(), [true]);
    let error = store.chunk(id).unwrap_err();
    assert!(error.to_string().contains(&id.to_string()), "{error}");
    assert!(matches!(
        error,
        StoreError::CorruptChunk { .. } | StoreError::UnreadableChunk { .. }
    ));
    assert_eq!(store.has_chunks(&[id]).unwrap(), [false]);
    store.put_chunks(vec![(id, bytes.clone())]).unwrap();
    assert_eq!(store.chunk(id).unwrap(), bytes);
}

#[test]
fn damage_is_found_with_the_record_that_needs_it() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path());
        let root = tree_of(&shared(&store), &noise(100_000, 4));
        store
            .put_record(RecordKind::Image, b"broken", &naming(root))
            .unwrap();
        assert!(store.verify().unwrap().is_empty());
    }
    damage(dir.path(), ".blob");
    let store = open(dir.path());
    let found = store.verify().unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].key, b"broken");
    let missing = Record {
        roots: vec![absent_root()],
        ..Record::default()
    };
    store.put_record(RecordKind::Image, b"missing", &missing).unwrap();
    assert!(
        matches!(store.gc(), Err(StoreError::MissingTree(_))),
        "what lies below is unknown"
    );
}

/// A root that no store has.
fn absent_root() -> TreeRef {
    let tree = silt_store::TreeId::of(b"absent");
    TreeRef {
        tree,
        content: silt_store::ContentId::of(b"absent"),
    }
}

#[test]
fn a_node_under_a_wrong_id_is_corrupt_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let right = Bytes::from_static(b"right");
    let id = silt_store::TreeId::of(&right);
    store.put_nodes(vec![(id, Bytes::from_static(b"wrong"))]).unwrap();
    drop(store);
    let store = open(dir.path());
    assert!(matches!(store.node(id), Err(StoreError::CorruptTree { expected, .. }) if expected == id));
    store.put_nodes(vec![(id, right.clone())]).unwrap();
    assert_eq!(store.node(id).unwrap(), right);
}

#[test]
fn a_chunk_under_a_wrong_id_is_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = ChunkId::of(b"right");
    store
        .put_chunks(vec![(id, Bytes::from_static(b"wrong"))])
        .unwrap();
    let error = store.chunk(id).unwrap_err();
    assert!(matches!(error, StoreError::CorruptChunk { expected, .. } if expected == id));
}

#[test]
fn a_sync_with_nothing_new_costs_nothing_and_small_commits_share_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let commit = |number: u32| {
        let shared = shared(&store);
        let root = tree_of(&shared, &noise(5000, u64::from(number)));
        store
            .put_record(RecordKind::Cache, &number.to_be_bytes(), &naming(root))
            .unwrap();
    };
    commit(0);
    let begin = Instant::now();
    for _ in 0..10_000 {
        store.sync().unwrap();
    }
    assert!(
        begin.elapsed().as_millis() < 500,
        "{:?} for 10,000 idle syncs",
        begin.elapsed()
    );

    let begin = Instant::now();
    (1..51).for_each(commit);
    println!("50 commits one after another: {:?}", begin.elapsed());
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..10u32 {
            let commit = &commit;
            scope.spawn(move || (0..5).for_each(|number| commit(100 + thread * 5 + number)));
        }
    });
    println!("50 commits of 10 threads: {:?}", begin.elapsed());
    assert_eq!(store.records(RecordKind::Cache, b"").unwrap().len(), 101);
}

#[test]
fn gc_takes_what_no_record_names_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let dynamic = shared(&store);
    let (kept, gone, leased) = {
        let _lease = store.lease();
        let kept = tree_of(&dynamic, &noise(2_000_000, 1));
        let gone = tree_of(&dynamic, &noise(2_000_000, 2));
        let leased = tree_of(&dynamic, &noise(50_000, 3));
        store
            .put_record(RecordKind::Image, b"kept", &naming(kept))
            .unwrap();
        store
            .put_record(RecordKind::Image, b"gone", &naming(gone))
            .unwrap();
        let layer = blob::from_bytes(&dynamic, &noise(500_000, 9)).unwrap();
        let record = Record {
            contents: vec![layer],
            ..Record::default()
        };
        store.put_record(RecordKind::Layer, b"layer", &record).unwrap();
        let none = store.gc().unwrap();
        assert_eq!((none.chunks, none.nodes), (0, 0), "a lease is open");
        (kept, gone, leased)
    };
    let lease = store.lease();
    lease.keep(leased);
    store.delete_record(RecordKind::Image, b"gone").unwrap();
    let swept = store.gc().unwrap();
    assert!(swept.chunks > 10 && swept.nodes >= 3, "{swept:?}");
    assert_eq!(flat(&dynamic, kept).len(), 2);
    assert_eq!(flat(&dynamic, leased).len(), 2);
    assert!(root::read(&dynamic, gone.tree).is_err());
    let layer = store.record(RecordKind::Layer, b"layer").unwrap().unwrap();
    assert!(blob::read_all(&dynamic, &layer.contents[0]).unwrap() == noise(500_000, 9));

    drop(lease);
    assert!(store.gc().unwrap().nodes >= 3);
    assert!(root::read(&dynamic, leased.tree).is_err());
    assert_eq!(
        tree_of(&dynamic, &noise(2_000_000, 2)),
        gone,
        "what was swept can come back"
    );
    check_readable(&dynamic, gone);
}

pub(crate) fn check_readable(store: &Arc<dyn Store>, root: TreeRef) {
    for step in silt_store::walk::walk(store, root) {
        if let silt_store::Node::File(content) = step.unwrap().1.node {
            assert_eq!(blob::read_all(store, &content).unwrap().len() as u64, content.len);
        }
    }
}

#[test]
fn builds_go_on_while_gc_sweeps() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let finished = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !finished.load(std::sync::atomic::Ordering::Relaxed) {
                store.gc().unwrap();
            }
        });
        let builders: Vec<_> = (0..3u64)
            .map(|thread| {
                let store = Arc::clone(&store);
                scope.spawn(move || {
                    for round in 0..25u64 {
                        let _lease = store.lease();
                        let dynamic = shared(&store);
                        // The same few contents come and go, so that finds race with deletions.
                        let root = tree_of(&dynamic, &noise(300_000, (thread + round) % 4));
                        let key = [thread as u8];
                        store.put_record(RecordKind::Cache, &key, &naming(root)).unwrap();
                        check_readable(&dynamic, root);
                        if round % 3 == 0 {
                            store.delete_record(RecordKind::Cache, &key).unwrap();
                        }
                    }
                })
            })
            .collect();
        for builder in builders {
            builder.join().unwrap();
        }
        finished.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    for (_, record) in store.records(RecordKind::Cache, b"").unwrap() {
        check_readable(&shared(&store), record.roots[0]);
    }
}

#[derive(Debug, Clone)]
enum Op {
    Put(u8),
    Record(u8, u8),
    Lazy(u8, u8),
    Delete(u8),
    Sync,
    Reopen,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => any::<u8>().prop_map(Op::Put),
        3 => (0u8..20, any::<u8>()).prop_map(|(key, value)| Op::Record(key, value)),
        1 => (0u8..20, any::<u8>()).prop_map(|(key, value)| Op::Lazy(key, value)),
        2 => (0u8..20).prop_map(Op::Delete),
        1 => Just(Op::Sync),
        1 => Just(Op::Reopen),
    ];
    prop::collection::vec(op, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn it_does_what_the_store_in_memory_does(ops in ops()) {
        let dir = tempfile::tempdir().unwrap();
        let model = MemoryStore::new();
        let mut store = open(dir.path());
        let mut chunks = BTreeMap::new();
        for op in ops {
            let both: [&dyn Store; 2] = [&model, &store];
            match op {
                Op::Put(seed) => {
                    let bytes = Bytes::from(noise(usize::from(seed) * 997, seed.into()));
                    chunks.insert(ChunkId::of(&bytes), bytes.clone());
                    for store in both {
                        let twice = vec![(ChunkId::of(&bytes), bytes.clone()); 2];
                        store.put_chunks(twice).unwrap();
                        store.put_nodes(vec![(silt_store::TreeId::of(&bytes), bytes.clone())]).unwrap();
                    }
                }
                Op::Record(key, value) => {
                    let record = Record { value: vec![value; 10], ..Record::default() };
                    for store in both {
 store.put_record(RecordKind::Cache, &[key / 5, key], &record).unwrap();
}
                }
                Op::Lazy(key, value) => {
                    let record = Record { value: vec![value; 10], ..Record::default() };
                    let records = vec![(vec![key / 5, key], record)];
                    for store in both {
 store.put_records_lazily(RecordKind::Stat, records.clone()).unwrap();
}
                }
                Op::Delete(key) => {
                    let slot = vec![key / 5, key];
                    for store in both {
                        if key % 2 == 0 {
                            store.delete_record(RecordKind::Cache, &slot).unwrap();
                        } else {
                            store.delete_records_lazily(RecordKind::Cache, std::slice::from_ref(&slot)).unwrap();
                        }
                    }
                }
                Op::Sync => store.sync().unwrap(),
                Op::Reopen => {
                    drop(store);
                    store = open(dir.path());
                }
            }
            for kind in [RecordKind::Cache, RecordKind::Stat, RecordKind::Build] {
                for prefix in [&b""[..], &[1], &[9]] {
                    prop_assert_eq!(store.records(kind, prefix).unwrap(), model.records(kind, prefix).unwrap());
                }
            }
        }
        let absent = ChunkId::of(b"absent");
        let ids: Vec<_> = chunks.keys().copied().chain([absent]).collect();
        prop_assert_eq!(store.has_chunks(&ids).unwrap(), model.has_chunks(&ids).unwrap());
        for (id, bytes) in &chunks {
            prop_assert_eq!(&store.chunk(*id).unwrap(), bytes);
            prop_assert_eq!(&store.node(silt_store::TreeId::of(bytes)).unwrap(), bytes);
        }
    }
}

#[test]
fn many_small_files_are_ingested_by_several_threads() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let store = &store;
            scope.spawn(move || {
                let mut writer = ChunkWriter::new(store);
                for number in 0..500 {
                    writer.bytes(noise(5000, number % 400 + thread)).unwrap();
                }
                writer.flush().unwrap();
            });
        }
    });
    store.sync().unwrap();
    for number in 0..403 {
        let bytes = noise(5000, number);
        assert_eq!(store.chunk(ChunkId::of(&bytes)).unwrap(), bytes);
    }
}

#[test]
fn a_large_edit_on_disk_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = shared(&open(dir.path()));
    let mut edit = Edit::new(Arc::clone(&store), root::scratch(&store).unwrap()).unwrap();
    edit.make_directories(&path("/many"), &meta(0o755, 1)).unwrap();
    for number in 0..20_000 {
        edit.insert(&path(&format!("/many/{number}")), file("x")).unwrap();
    }
    let root = edit.finish().unwrap();
    assert_eq!(flat(&store, root).len(), 20_001);
}
