//! Processes killed in the middle: what was acknowledged is there and whole, and nothing names what is not there.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use silt_store::{Record, RecordKind, RocksStore, Store, StoreError, blob};

use crate::fixture::noise;
use crate::rocks::{check_readable, naming, open, shared, small, tree_of};

const DIR: &str = "SILT_STORE_CRASH_DIR";

/// Sizes that go through the log, sizes that are flushed, and one that is cut into chunks.
fn size(number: u64) -> usize {
    [300, 40_000, 3_000, 5_000_000, 700_000][number as usize % 5]
}

#[test]
#[ignore = "the process that the tests below kill"]
fn child_that_commits_until_it_is_killed() {
    let dir = std::env::var_os(DIR).expect("run by the other tests of this file");
    let store = open(Path::new(&dir));
    std::thread::scope(|scope| {
        for thread in 0..3u64 {
            let store = &store;
            scope.spawn(move || {
                for number in 0.. {
                    let seed = thread << 32 | number | u64::from(std::process::id()) << 40;
                    let root = tree_of(&shared(store), &noise(size(number + thread), seed));
                    let key = seed.to_be_bytes();
                    store.put_record(RecordKind::Cache, &key, &naming(root)).unwrap();
                    println!("durable {seed}");
                    let content =
                        blob::from_bytes(store, &noise(20_000 * (number as usize % 9), !seed)).unwrap();
                    let lazy = Record {
                        contents: vec![content],
                        ..Record::default()
                    };
                    store
                        .put_records_lazily(RecordKind::Stat, vec![(key.to_vec(), lazy)])
                        .unwrap();
                }
            });
        }
    });
}

/// Runs the child until it said so many records are durable, kills it, and gives their keys.
fn run_and_kill(dir: &Path, records: usize, then: Duration) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "crash::child_that_commits_until_it_is_killed",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let seed = |line: String| line.strip_prefix("durable ").map(|seed| seed.parse().unwrap());
    let mut durable: Vec<u64> = lines.by_ref().filter_map(seed).take(records).collect();
    let second = RocksStore::open(dir, small());
    assert!(
        matches!(second, Err(StoreError::Locked { .. })),
        "another process has it"
    );
    std::thread::sleep(then);
    child.kill().unwrap();
    child.wait().unwrap();
    // What it said before it died counts too.
    durable.extend(lines.filter_map(|line| line.strip_prefix("durable ")?.parse::<u64>().ok()));
    durable
}

fn check(dir: &Path, durable: &[u64], cut: bool) {
    let store = open(dir);
    let dynamic = shared(&store);
    let records = store.records(RecordKind::Cache, b"").unwrap();
    for (key, record) in &records {
        let seed = u64::from_be_bytes(key.as_slice().try_into().unwrap());
        check_readable(&dynamic, record.roots[0]);
        let (thread, number) = (seed >> 32 & 0xff, seed & 0xffff_ffff);
        let again = tree_of(&dynamic, &noise(size(number + thread), seed));
        assert_eq!(again, record.roots[0]);
    }
    if !cut {
        for seed in durable {
            let found = store.record(RecordKind::Cache, &seed.to_be_bytes()).unwrap();
            assert!(found.is_some(), "{seed} was durable and is gone");
        }
    }
    let damages = store.verify().unwrap();
    assert!(damages.is_empty(), "{damages:?}");
    store.gc().unwrap();
    for (_, record) in &records {
        check_readable(&dynamic, record.roots[0]);
    }
}

#[test]
fn after_kill_9_every_acknowledged_record_is_there_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut durable = Vec::new();
    for round in 0..6u64 {
        let more = run_and_kill(
            dir.path(),
            5 + 7 * round as usize,
            Duration::from_millis(round * 3),
        );
        assert!(more.len() >= 5);
        durable.extend(more);
        check(dir.path(), &durable, false);
    }
}

/// A power cut loses the tail of the log at any byte; what is left must still be whole.
#[test]
fn a_log_cut_anywhere_leaves_whole_records() {
    let dir = tempfile::tempdir().unwrap();
    run_and_kill(dir.path(), 20, Duration::ZERO);
    let copy = |to: &Path| {
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let from = entry.unwrap().path();
            std::fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
        }
    };
    for cut in [1, 7, 100, 1000, 30_000, 60_000, 500_000, 5_000_000] {
        let other = tempfile::tempdir().unwrap();
        copy(other.path());
        let logs = std::fs::read_dir(other.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let newest = logs
            .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
            .max()
            .unwrap();
        let log = std::fs::OpenOptions::new().write(true).open(newest).unwrap();
        log.set_len(log.metadata().unwrap().len().saturating_sub(cut))
            .unwrap();
        check(other.path(), &[], true);
    }
}

#[test]
fn what_was_synced_without_a_record_is_there_too() {
    let dir = tempfile::tempdir().unwrap();
    let root = {
        let store = open(dir.path());
        let root = tree_of(&shared(&store), &noise(100_000, 1));
        store.sync().unwrap();
        // The store is never closed, as if the process had died here; a copy of its files is what a crash leaves.
        std::mem::forget(Arc::clone(&store));
        root
    };
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let from = entry.unwrap().path();
        std::fs::copy(&from, copy.path().join(from.file_name().unwrap())).unwrap();
    }
    check_readable(&shared(&open(copy.path())), root);
}
