//! unpack(lower, pack(lower, upper)) is upper, for random trees and changes, hard links included.

use proptest::prelude::*;
use silt_store::{Device, Edit, Meta, Time, directory};

use super::*;

/// One random change; indexes are taken modulo what there is.
#[derive(Debug, Clone)]
enum Step {
    Put { at: usize, name: u8, kind: u8, seed: u8 },
    Remove { at: usize },
    Link { from: usize, at: usize, name: u8 },
    Touch { at: usize, seed: u8 },
    Sever { at: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (any::<usize>(), 0..6u8, 0..8u8, any::<u8>()).prop_map(|(at, name, kind, seed)| Step::Put { at, name, kind, seed }),
        2 => any::<usize>().prop_map(|at| Step::Remove { at }),
        2 => (any::<usize>(), any::<usize>(), 0..6u8).prop_map(|(from, at, name)| Step::Link { from, at, name }),
        1 => (any::<usize>(), any::<u8>()).prop_map(|(at, seed)| Step::Touch { at, seed }),
        1 => any::<usize>().prop_map(|at| Step::Sever { at }),
    ]
}

fn meta(seed: u8, kind: u8) -> Meta {
    let mut meta = Meta {
        mode: if kind == 3 {
            0o777
        } else {
            [0o644, 0o4755, 0o1777, 0o000][usize::from(seed % 4)]
        },
        uid: u32::from(seed) * 100_000,
        gid: u32::from(seed / 16),
        mtime: Time {
            seconds: i64::from(seed) - 100,
            nanos: u32::from(seed % 3) * 1_000_001,
        },
        ..Meta::default()
    };
    if seed.is_multiple_of(5) {
        meta.xattrs.set(b"user.seed", &[seed, 0, b'\n']);
    }
    meta
}

#[expect(clippy::too_many_lines, reason = "one arm for each kind of step")]
fn run(store: &Arc<dyn Store>, base: TreeRef, steps: &[Step]) -> TreeRef {
    let mut tree = base;
    for step in steps {
        let paths: Vec<(GuestPath, Entry)> = walk::walk(store, tree).map(Result::unwrap).collect();
        let mut directories = vec![GuestPath::root()];
        directories.extend(
            paths
                .iter()
                .filter(|(_, entry)| matches!(entry.node, Node::Directory(_)))
                .map(|(path, _)| path.clone()),
        );
        let child = |at: usize, name: u8| {
            let name = silt_store::Name::new(&[b'a' + name]).unwrap();
            directories[at % directories.len()].child(&name)
        };
        let some = |at: usize| (!paths.is_empty()).then(|| &paths[at % paths.len()]);
        let mut edit = Edit::new(store.clone(), tree).unwrap();
        match step {
            Step::Put { at, name, kind, seed } => {
                let device = Device {
                    major: u32::from(*seed),
                    minor: 7,
                };
                let node = match kind {
                    0 | 1 => Node::File(
                        blob::from_bytes(store.as_ref(), &vec![*seed; usize::from(*seed) * 9]).unwrap(),
                    ),
                    2 => Node::CharDevice(device),
                    3 => Node::Symlink(vec![b'x'; usize::from(*seed) + 1].into()),
                    4 => Node::Fifo,
                    _ => Node::Directory(directory::empty()),
                };
                edit.insert(
                    &child(*at, *name),
                    Entry {
                        meta: meta(*seed, *kind),
                        node,
                    },
                )
                .unwrap();
            }
            Step::Remove { at } => {
                if let Some((path, _)) = some(*at) {
                    edit.remove(path).unwrap();
                }
            }
            Step::Link { from, at, name } => {
                let target = child(*at, *name);
                if let Some((path, entry)) = some(*from)
                    && !matches!(entry.node, Node::Directory(_))
                    && !path.starts_with(&target)
                {
                    edit.link(path, &[target]).unwrap();
                }
            }
            Step::Touch { at, seed } => {
                if let Some((path, entry)) = some(*at) {
                    let kind = if matches!(entry.node, Node::Symlink(_)) {
                        3
                    } else {
                        0
                    };
                    edit.set_meta(path, &meta(*seed, kind)).unwrap();
                }
            }
            Step::Sever { at } => {
                if let Some((path, entry)) = some(*at)
                    && !matches!(entry.node, Node::Directory(_))
                {
                    edit.insert(path, entry.clone()).unwrap();
                }
            }
        }
        tree = edit.finish().unwrap();
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_packed_layer_applied_to_its_lower_tree_is_its_upper_tree(
        first in proptest::collection::vec(step(), 0..25),
        second in proptest::collection::vec(step(), 0..25),
    ) {
        let store = store();
        let scratch = scratch(&store);
        let lower = run(&store, scratch, &first);
        let upper = run(&store, lower, &second);
        for (from, to) in [(scratch, lower), (lower, upper), (upper, lower), (scratch, upper)] {
            let bytes = packed(&store, from, to);
            let applied = apply(&store, from, &bytes).unwrap();
            prop_assert_eq!(list(&store, applied), list(&store, to));
            prop_assert_eq!(applied, to);
            prop_assert_eq!(&packed(&store, from, applied), &bytes);
        }
    }
}
