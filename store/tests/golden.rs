//! Ids that may never change under one format number: a change here is a new format.

use silt_store::{
    Device, Edit, Entry, GuestPath, Links, MemoryStore, Meta, Node, Root, Store, Time, TreeRef, blob,
    directory, root,
};

use crate::fixture::{file, meta, name, noise, path, symlink};

fn ids(node: TreeRef) -> (String, String) {
    (node.tree.to_string(), node.content.to_string())
}

/// One entry of each kind.
fn everything(store: &dyn Store) -> Vec<(silt_store::Name, Entry)> {
    let mut capable = meta(0o4755, -1);
    capable.xattrs.set(b"security.capability", &[1, 0, 0, 2]);
    capable.xattrs.set(b"user.b", b"");
    let device = Device { major: 1, minor: 300 };
    let kinds = [
        Node::Directory(directory::empty()),
        Node::File(blob::from_bytes(store, b"short").unwrap()),
        Node::File(blob::from_bytes(store, &noise(1000, 1)).unwrap()),
        Node::File(blob::from_bytes(store, &[noise(300_000, 2), vec![0; 100_000]].concat()).unwrap()),
        Node::Symlink((*b"target").into()),
        Node::CharDevice(device),
        Node::BlockDevice(device),
        Node::Fifo,
        Node::Socket,
    ];
    let entries = kinds.into_iter().enumerate();
    entries
        .map(|(at, node)| {
            (
                name(&format!("{at}")),
                Entry {
                    meta: capable.clone(),
                    node,
                },
            )
        })
        .collect()
}

#[test]
fn the_bytes_of_a_leaf() {
    let store = MemoryStore::new();
    let entries = [(name("a"), file("hi")), (name("ln"), symlink("a"))];
    let written = directory::write(&store, entries).unwrap();
    let bytes = store.node(written.tree).unwrap();
    let expected: &[u8] = &[
        &[1, 1, 0, 0, 2, 0, 0, 0, 16, 0, 0, 0, 36, 0, 0, 0][..],
        // name, kind, mode, uid, gid, seconds, nanoseconds, length, bytes
        &[
            1, b'a', 1, 0xa4, 1, 0xe8, 7, 100, 0x80, 0xc4, 0x9f, 0xd5, 0x0c, 0x95, 0x9a, 0xef, 0x3a, 2, b'h',
            b'i',
        ],
        &[
            2, b'l', b'n', 4, 0xff, 1, 0xe8, 7, 100, 10, 0x95, 0x9a, 0xef, 0x3a, 1, b'a',
        ],
    ]
    .concat();
    assert_eq!(bytes[16..], expected[16..]);
    assert_eq!(bytes[..16], expected[..16]);
}

#[test]
fn ids_stay() {
    let store = MemoryStore::new();
    let top = directory::write(&store, everything(&store)).unwrap();
    let root = Root {
        meta: Meta {
            mode: 0o755,
            mtime: Time { seconds: 1, nanos: 2 },
            ..Meta::default()
        },
        directory: top,
        links: Links::new([vec![path("/1"), path("/2")]]),
    };
    let large = directory::write(
        &store,
        (0..10_000).map(|at| (name(&format!("{at:05}")), file(""))),
    )
    .unwrap();
    let found = [
        ids(directory::empty()),
        ids(root::scratch(&store).unwrap()),
        ids(top),
        ids(root::write(&store, &root).unwrap()),
        ids(large),
    ];
    let found: Vec<_> = found
        .iter()
        .map(|(tree, content)| format!("{} {}", &tree[..16], &content[..16]))
        .collect();
    assert_eq!(found, GOLDEN);
}

/// Tree and content ids: empty directory, scratch, one entry of each kind, a root with links, a split directory.
const GOLDEN: [&str; 5] = [
    "9aa0331bcdbab3fc 5679f559b85e0856",
    "e5faa7d34b3a43c7 a9d034c915b501e6",
    "7ad6ca946517d054 faf1846f771cfcdc",
    "66ca4c357d6bf8a0 16a70344a6f74d30",
    "c4adedfd465bd98e e1c38e77fc7c1c56",
];

#[test]
fn content_ids_leave_times_out_and_nothing_else() {
    let store = std::sync::Arc::new(MemoryStore::new());
    let plant = |change: &dyn Fn(&mut Meta)| {
        let mut edit = Edit::new(store.clone(), root::scratch(&*store).unwrap()).unwrap();
        let mut entry = file("x");
        change(&mut entry.meta);
        edit.make_directories(&path("/a/b"), &entry.meta).unwrap();
        edit.set_meta(&GuestPath::root(), &entry.meta).unwrap();
        edit.insert(&path("/a/b/c"), entry).unwrap();
        edit.finish().unwrap()
    };
    let plain = plant(&|_| {});
    let later = plant(&|meta| meta.mtime.nanos += 1);
    assert_ne!(later.tree, plain.tree);
    assert_eq!(later.content, plain.content);
    for change in [
        &(|meta: &mut Meta| meta.uid += 1) as &dyn Fn(&mut Meta),
        &|meta| meta.xattrs.set(b"user.x", b""),
    ] {
        let other = plant(change);
        assert_ne!(other.tree, plain.tree);
        assert_ne!(other.content, plain.content);
    }
}

#[test]
fn everything_comes_back() {
    let store: std::sync::Arc<dyn Store> = std::sync::Arc::new(MemoryStore::new());
    let entries = everything(&store);
    let written = directory::write(&store, entries.clone()).unwrap();
    let read: Vec<_> = silt_store::Directory::load(&store, written.tree)
        .unwrap()
        .entries()
        .map(Result::unwrap)
        .collect();
    assert_eq!(read, entries);
}
