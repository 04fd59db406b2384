use silt_store::{Content, Edit, Meta, Time, directory};

use super::*;

fn file(store: &Arc<dyn Store>, text: &str) -> Entry {
    Entry {
        meta: Meta {
            mode: 0o644,
            ..Meta::default()
        },
        node: Node::File(blob::from_bytes(store.as_ref(), text.as_bytes()).unwrap()),
    }
}

fn dir() -> Entry {
    Entry {
        meta: Meta {
            mode: 0o755,
            ..Meta::default()
        },
        node: Node::Directory(directory::empty()),
    }
}

fn changed(store: &Arc<dyn Store>, base: TreeRef, change: impl FnOnce(&mut Edit)) -> TreeRef {
    let mut edit = Edit::new(store.clone(), base).unwrap();
    change(&mut edit);
    edit.finish().unwrap()
}

/// /d/{a,b,sub/c}, /e/x, /f
fn base(store: &Arc<dyn Store>) -> TreeRef {
    changed(store, scratch(store), |edit| {
        for directory in ["/d", "/d/sub", "/e"] {
            edit.insert(&path(directory), dir()).unwrap();
        }
        for name in ["/d/a", "/d/b", "/d/sub/c", "/e/x", "/f"] {
            edit.insert(&path(name), file(store, name)).unwrap();
        }
    })
}

#[test]
fn no_change_is_the_empty_archive() {
    let store = store();
    let base = base(&store);
    let bytes = packed(&store, base, base);
    assert_eq!(bytes, [0; 1024]);
    let layer = packed::describe(&store, base, base).unwrap();
    // The digest that every builder gives an empty layer.
    assert_eq!(
        layer.diff_id.to_string(),
        "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
    );
}

#[test]
fn parents_come_first_then_whiteouts_then_entries() {
    let store = store();
    let lower = base(&store);
    let upper = changed(&store, lower, |edit| {
        edit.remove(&path("/d/b")).unwrap();
        edit.insert(&path("/d/0"), file(&store, "new")).unwrap();
        edit.insert(&path("/d/sub/c"), file(&store, "changed")).unwrap();
        edit.remove(&path("/f")).unwrap();
    });
    let names = members(&packed(&store, lower, upper));
    assert_eq!(
        names,
        ["./", ".wh.f", "d/", "d/.wh.b", "d/0", "d/sub/", "d/sub/c"]
    );
}

#[test]
fn a_directory_that_lost_all_is_opaque_and_a_changed_kind_needs_no_whiteout() {
    let store = store();
    let lower = base(&store);
    let upper = changed(&store, lower, |edit| {
        edit.insert(&path("/d"), dir()).unwrap();
        edit.insert(&path("/d/n"), file(&store, "n")).unwrap();
        edit.insert(&path("/e"), file(&store, "was a directory")).unwrap();
        edit.insert(&path("/f"), dir()).unwrap();
        edit.insert(&path("/f/y"), file(&store, "y")).unwrap();
    });
    let bytes = packed(&store, lower, upper);
    assert_eq!(
        members(&bytes),
        ["./", "d/", "d/.wh..wh..opq", "d/n", "e", "f/", "f/y"]
    );
    assert_eq!(apply(&store, lower, &bytes).unwrap(), upper);
}

#[test]
fn a_group_is_written_whole_when_a_member_changes() {
    let store = store();
    let lower = changed(&store, base(&store), |edit| {
        edit.link(&path("/e/x"), &[path("/d/x"), path("/z")]).unwrap();
    });
    let touched = changed(&store, lower, |edit| {
        let mut meta = entry(&store, lower, "/z").meta;
        meta.mtime = Time { seconds: 9, nanos: 1 };
        edit.set_meta(&path("/z"), &meta).unwrap();
    });
    let bytes = packed(&store, lower, touched);
    assert_eq!(members(&bytes), ["./", "d/", "d/x", "e/", "e/x->d/x", "z->d/x"]);
    assert_eq!(apply(&store, lower, &bytes).unwrap(), touched);
    // A new member of the group.
    let joined = changed(&store, lower, |edit| {
        edit.link(&path("/z"), &[path("/d/w")]).unwrap();
    });
    let bytes = packed(&store, lower, joined);
    assert_eq!(
        members(&bytes),
        ["./", "d/", "d/w", "d/x->d/w", "e/", "e/x->d/w", "z->d/w"]
    );
    assert_eq!(apply(&store, lower, &bytes).unwrap(), joined);
    // A member that became a file of its own with the same content: nothing in the directories differs.
    let severed = changed(&store, lower, |edit| {
        edit.insert(&path("/z"), entry(&store, lower, "/z")).unwrap();
    });
    let bytes = packed(&store, lower, severed);
    assert_eq!(members(&bytes), ["./", "d/", "d/x", "e/", "e/x->d/x", "z"]);
    assert_eq!(apply(&store, lower, &bytes).unwrap(), severed);
}

#[test]
fn what_a_layer_cannot_say_is_an_error_and_sockets_are_left_out() {
    let store = store();
    let lower = scratch(&store);
    let upper = changed(&store, lower, |edit| {
        edit.insert(&path("/.wh.x"), file(&store, "")).unwrap();
    });
    let error = pack(&store, lower, upper, &mut Vec::new()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/.wh.x cannot be put into an image layer"),
        "{error}"
    );
    let upper = changed(&store, lower, |edit| {
        let mut odd = file(&store, "");
        odd.meta.xattrs.set(b"user.a=b", b"");
        edit.insert(&path("/a"), odd).unwrap();
    });
    assert!(pack(&store, lower, upper, &mut Vec::new()).is_err());
    let socket = |edit: &mut Edit| {
        let node = Node::Socket;
        edit.insert(
            &path("/f"),
            Entry {
                meta: Meta::default(),
                node,
            },
        )
        .unwrap();
    };
    let lower = base(&store);
    assert_eq!(
        members(&packed(&store, lower, changed(&store, lower, socket))),
        ["./", ".wh.f"]
    );
}

#[test]
fn values_beyond_ustar_are_extended() {
    let store = store();
    let lower = scratch(&store);
    let upper = changed(&store, lower, |edit| {
        let mut odd = file(&store, "x");
        odd.meta.uid = 3_000_000;
        odd.meta.mtime = Time {
            seconds: -5,
            nanos: 250_000_000,
        };
        odd.meta.xattrs.set(b"user.x", b"\0=\n");
        edit.insert(&path(&format!("/{}", "ü".repeat(120))), odd.clone())
            .unwrap();
        odd.node = Node::Symlink("t".repeat(300).as_bytes().into());
        odd.meta.mode = 0o777;
        edit.insert(&path("/link"), odd).unwrap();
    });
    assert_eq!(
        apply(&store, lower, &packed(&store, lower, upper)).unwrap(),
        upper
    );
}

#[test]
fn layers_are_packed_once_and_forgotten_with_their_images() {
    let store = store();
    let lower = base(&store);
    let upper = changed(&store, lower, |edit| {
        let node = Node::File(Content::empty());
        edit.insert(
            &path("/n"),
            Entry {
                meta: Meta::default(),
                node,
            },
        )
        .unwrap();
    });
    let layer = packed::describe(&store, lower, upper).unwrap();
    assert_eq!(packed::describe(&store, lower, upper).unwrap(), layer);
    for compression in crate::oci::manifest::Compression::ALL {
        let blob = packed::blob(&store, &layer, compression).unwrap();
        let again = packed::blob(&store, &layer, compression).unwrap();
        assert_eq!(blob.descriptor, again.descriptor);
        let mut bytes = Vec::new();
        blob.write(&store, &layer, &mut bytes).unwrap();
        assert_eq!(
            crate::oci::manifest::Descriptor::of(compression.layer_type(), &bytes),
            blob.descriptor
        );
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut decompress(&*bytes).unwrap(), &mut plain).unwrap();
        assert_eq!(plain, packed(&store, lower, upper));
    }
    let blobs = || {
        store
            .records(silt_store::RecordKind::Layer, b"blob/")
            .unwrap()
            .len()
    };
    assert_eq!(blobs(), 2);
    packed::prune(store.as_ref(), &[layer.diff_id.clone()].into()).unwrap();
    assert_eq!(blobs(), 2);
    packed::prune(store.as_ref(), &[].into()).unwrap();
    assert_eq!(blobs(), 0);
}
