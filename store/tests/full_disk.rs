//! A disk that is full: a clear error, and what was there before stays.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use silt_store::{Options, RecordKind, RocksStore, Store, StoreError, StoreResult};

use crate::fixture::noise;
use crate::rocks::{check_readable, naming, shared, tree_of};

/// A small tmpfs, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(mounted.success(), "this test mounts a tmpfs: run it as root");
        Self(dir)
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("store")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "a tmpfs stays at {}",
            self.0.path().display()
        );
    }
}

fn open(dir: &Path, reserve: u64) -> Arc<RocksStore> {
    let options = Options {
        write_buffer: 1 << 20,
        reserve,
        ..Options::default()
    };
    Arc::new(RocksStore::open(dir, options).unwrap())
}

/// Commits until the disk is full; how many went well, and the error.
fn fill(store: &Arc<RocksStore>) -> (u64, StoreError) {
    for number in 0.. {
        let bytes = noise(400_000, 1000 + number);
        let commit = || -> StoreResult<()> {
            let content = silt_store::blob::from_bytes(store, &bytes)?;
            let record = silt_store::Record {
                contents: vec![content],
                ..Default::default()
            };
            store.put_record(RecordKind::Layer, &number.to_be_bytes(), &record)
        };
        if let Err(error) = commit() {
            return (number, error);
        }
        assert!(number < 10_000, "the disk never fills");
    }
    unreachable!()
}

/// The store after it was reopened: everything acknowledged is there.
fn check(store: &Arc<RocksStore>, before: silt_store::TreeRef, written: u64) {
    let image = store.record(RecordKind::Image, b"before").unwrap().unwrap();
    assert_eq!(image.roots, [before]);
    check_readable(&shared(store), before);
    for number in 0..written {
        let layer = store
            .record(RecordKind::Layer, &number.to_be_bytes())
            .unwrap()
            .unwrap();
        let bytes = silt_store::blob::read_all(store, &layer.contents[0]).unwrap();
        assert!(bytes == noise(400_000, 1000 + number));
    }
}

fn begin(store: &Arc<RocksStore>) -> silt_store::TreeRef {
    let before = tree_of(&shared(store), &noise(1_000_000, 1));
    store
        .put_record(RecordKind::Image, b"before", &naming(before))
        .unwrap();
    before
}

#[test]
fn a_full_disk_is_said_and_heals_needs_root() {
    let disk = SmallDisk::new("64m");
    let store = open(&disk.store(), 16 << 20);
    let before = begin(&store);
    let (written, error) = fill(&store);
    assert!(matches!(error, StoreError::NoSpace(_)), "{error:?}");
    assert!(written > 20, "{written}");
    check_readable(&shared(&store), before);
    drop(store);

    let store = open(&disk.store(), 16 << 20);
    check(&store, before, written);
    // Space comes back by deleting records and sweeping.
    for number in 0..written {
        store
            .delete_record(RecordKind::Layer, &number.to_be_bytes())
            .unwrap();
    }
    assert!(store.gc().unwrap().chunks > written);
    let (again, _) = fill(&store);
    assert!(again > written / 2, "{again} after a sweep, {written} before");
    check_readable(&shared(&store), before);
}

fn commit(store: &Arc<RocksStore>, number: u64) -> StoreResult<()> {
    let content = silt_store::blob::from_bytes(store, &noise(400_000, 1000 + number))?;
    let record = silt_store::Record {
        contents: vec![content],
        ..Default::default()
    };
    store.put_record(RecordKind::Layer, &number.to_be_bytes(), &record)
}

/// Somebody else fills the disk, so that the database itself meets its end in the middle of a flush.
#[test]
fn writes_that_fail_halfway_lose_nothing_acknowledged_needs_root() {
    for new in [5_000_000, 3_000_000] {
        let disk = SmallDisk::new("64m");
        let options = Options {
            write_buffer: 32 << 20,
            reserve: 0,
            ..Options::default()
        };
        let store = Arc::new(RocksStore::open(&disk.store(), options).unwrap());
        let before = begin(&store);
        (0..10).for_each(|number| commit(&store, number).unwrap());
        silt_store::blob::from_bytes(&store, &noise(new, 7)).unwrap();
        let ballast = disk.0.path().join("ballast");
        std::fs::write(&ballast, vec![1; 80 << 20]).unwrap_err();
        let error = store.sync().unwrap_err();
        assert!(matches!(error, StoreError::NoSpace(_)), "{error:?}");
        assert!(matches!(commit(&store, 10), Err(StoreError::NoSpace(_))));
        check(&store, before, 10);
        drop(store);
        std::fs::remove_file(&ballast).unwrap();
        let store = open(&disk.store(), 0);
        check(&store, before, 10);
        commit(&store, 10).unwrap();
    }
}
