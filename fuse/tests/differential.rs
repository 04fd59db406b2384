//! The same random operations on our mount and on a tmpfs: every result and, after each, every path must agree; then the frozen
//! and sealed tree must be what the tmpfs holds, and serve as the next mount's base.

use std::sync::Arc;

use nix::errno::Errno;
use silt_fuse::Base;

use crate::program::{Op, Random, Runner};
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
        for step in 0..count {
            let op = Op::random(&mut random);
            let (our, their) = (ours.run(&op), theirs.run(&op));
            let context = format!("seed {seed}, round {round}, step {step}: {}", brief(&op));
            if std::env::var_os("SILT_DIFFERENTIAL_PRINT").is_some() {
                eprintln!("{context} -> {our:?}");
            }
            assert!(
                our == their || excused(&op, &our),
                "{context}: ours {our:?}, theirs {their:?}"
            );
            assert_same(&tree(&ours.top), &tree(&theirs.top), &context);
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
        .map_or(6, |rounds| rounds.parse().unwrap());
    let seed = std::env::var("SILT_DIFFERENTIAL_SEED")
        .ok()
        .map_or(1, |seed| seed.parse().unwrap());
    compare(&Scene::new(), seed, rounds, 300);
}

#[test]
fn root_and_fuse_many_short_mounts_agree_with_tmpfs() {
    compare(&Scene::new(), 7, 40, 25);
}

#[test]
fn root_and_fuse_mounts_over_a_store_on_disk_agree_with_tmpfs() {
    compare(&Scene::on_disk(), 11, 8, 60);
}
