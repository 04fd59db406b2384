//! The same random operations on our mount and on a tmpfs: every result and, after each, every path must agree; then the frozen
//! and sealed tree must be what the tmpfs holds, and serve as the next mount's base.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use silt_fuse::Base;

use crate::program::{Known, Op, Random, Runner};
use crate::scene::{Scene, assert_same, sealed_tree, tree};

/// What is refused here and works on tmpfs (`SEMANTICS.md`, "O_TMPFILE").
fn excused(op: &Op, ours: &Result<Vec<u8>, Errno>) -> bool {
    matches!((op, ours), (Op::Tmpfile { .. }, Err(Errno::EOPNOTSUPP)))
}

/// Runs `rounds` mounts of `count` operations, each on the last one's result: sealed first, or not.
fn compare(scene: &Scene, seed: u64, rounds: u64, count: usize) {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let tmpfs = scene.tmpfs();
    let mut random = Random(seed);
    let mut base = scene.scratch();
    for round in 0..rounds {
        let mounted = scene.mount(base.clone());
        let mut ours = Runner::new(&mounted.target);
        let mut theirs = Runner::new(&tmpfs);
        assert_same(
            &tree(&ours.top),
            &tree(&theirs.top),
            &format!("seed {seed}, round {round}, at the start"),
        );
        let mut seen = tree(&theirs.top);
        for step in 0..count {
            let op = Op::random(&mut random, &Known::new(&seen));
            let (our, their) = (ours.run(&op), theirs.run(&op));
            let context = format!("seed {seed}, round {round}, step {step}: {}", brief(&op));
            if std::env::var_os("SILT_DIFFERENTIAL_PRINT").is_some() {
                eprintln!("{context} -> {our:?}");
            }
            assert!(
                our == their || excused(&op, &our),
                "{context}: ours {our:?}, theirs {their:?}"
            );
            seen = tree(&theirs.top);
            assert_same(&tree(&ours.top), &seen, &context);
        }
        ours.let_go();
        theirs.let_go();
        let frozen = mounted.finish();
        if random.below(2) == 0 {
            let sealed = frozen.seal().unwrap();
            assert_same(
                &sealed_tree(&scene.store, sealed),
                &tree(&tmpfs),
                &format!("seed {seed}, round {round}, sealed"),
            );
            base = Base::Stored(sealed);
        } else {
            base = Base::Frozen(frozen);
        }
    }
    let frozen = scene.step(base, |_| {});
    assert_same(
        &sealed_tree(&scene.store, frozen.seal().unwrap()),
        &tree(&tmpfs),
        &format!("seed {seed}, at the end"),
    );
    drop(Arc::clone(&scene.store));
}

/// Gives every path one old time.
fn age(top: &Path) {
    let old = TimeSpec::new(1_000_000_000, 1);
    for path in tree(top).keys() {
        let path = top.join(path.trim_start_matches('/'));
        utimensat(AT_FDCWD, &path, &old, &old, UtimensatFlags::NoFollowSymlink).unwrap();
    }
}

/// The paths whose content has a new time.
fn renewed(top: &Path) -> BTreeSet<String> {
    let old = |path: &str| {
        let meta = std::fs::symlink_metadata(top.join(path.trim_start_matches('/'))).unwrap();
        (meta.mtime(), meta.mtime_nsec()) == (1_000_000_000, 1)
    };
    tree(top).into_keys().filter(|path| !old(path)).collect()
}

#[test]
fn root_and_fuse_times_move_where_they_move_on_tmpfs() {
    let scene = Scene::new();
    let tmpfs = scene.tmpfs();
    let mounted = scene.mount(scene.scratch());
    let (mut ours, mut theirs) = (Runner::new(&mounted.target), Runner::new(&tmpfs));
    let mut random = Random(5);
    for step in 0..500 {
        age(&ours.top);
        age(&theirs.top);
        let op = Op::random(&mut random, &Known::new(&tree(&theirs.top)));
        let (our, their) = (ours.run(&op), theirs.run(&op));
        assert!(our == their || excused(&op, &our));
        assert_eq!(
            renewed(&ours.top),
            renewed(&theirs.top),
            "step {step}: {}",
            brief(&op)
        );
    }
}

fn brief(op: &Op) -> String {
    let mut text = format!("{op:?}");
    if text.len() > 200 {
        text.truncate(200);
    }
    text
}

#[test]
fn root_and_fuse_random_operations_agree_with_tmpfs() {
    let rounds = std::env::var("SILT_DIFFERENTIAL_ROUNDS")
        .ok()
        .map_or(4, |rounds| rounds.parse().unwrap());
    let seed = std::env::var("SILT_DIFFERENTIAL_SEED")
        .ok()
        .map_or(1, |seed| seed.parse().unwrap());
    compare(&Scene::new(), seed, rounds, 150);
}

#[test]
fn root_and_fuse_many_short_mounts_agree_with_tmpfs() {
    compare(&Scene::new(), 7, 40, 25);
}

#[test]
fn root_and_fuse_mounts_over_a_store_on_disk_agree_with_tmpfs() {
    compare(&Scene::on_disk(), 11, 8, 60);
}
