//! Walks, look-ups and links followed.

use silt_store::{GuestPath, Node, walk};

use crate::fixture::{empty_directory, file, memory, path, symlink, tree};

#[test]
fn a_walk_is_in_order_and_can_skip() {
    let store = memory();
    let entries = [
        ("/b/x/1", file("1")),
        ("/b/y", file("y")),
        ("/a", file("a")),
        ("/b.txt", file("")),
        ("/c", empty_directory()),
    ];
    let root = tree(&store, &entries);
    let paths: Vec<_> = walk::walk(&store, root)
        .map(|step| step.unwrap().0.to_string())
        .collect();
    assert_eq!(paths, ["/a", "/b", "/b/x", "/b/x/1", "/b/y", "/b.txt", "/c"]);

    let mut walk = walk::walk(&store, root);
    let mut paths = Vec::new();
    while let Some(step) = walk.next() {
        let (at, _) = step.unwrap();
        if at == path("/b/x") {
            walk.skip_directory();
        }
        paths.push(at.to_string());
    }
    assert_eq!(paths, ["/a", "/b", "/b/x", "/b/y", "/b.txt", "/c"]);
}

#[test]
fn a_lookup_follows_no_link_and_resolve_follows_them_beneath_the_root() {
    let store = memory();
    let root = tree(
        &store,
        &[
            ("/usr/bin/sh", file("sh")),
            ("/bin", symlink("usr/bin")),
            ("/etc/up", symlink("../../../../bin/./sh")),
            ("/etc/absolute", symlink("/bin/sh")),
            ("/etc/dangling", symlink("nowhere")),
            ("/loop", symlink("loop")),
        ],
    );
    let found = |at: &str| walk::lookup(&store, root, &path(at)).unwrap();
    assert!(matches!(found("/bin").unwrap().node, Node::Symlink(_)));
    assert_eq!(found("/bin/sh"), None);
    assert_eq!(found("/usr/bin/sh/x"), None);
    assert!(matches!(
        walk::lookup(&store, root, &GuestPath::root())
            .unwrap()
            .unwrap()
            .node,
        Node::Directory(_)
    ));

    let resolved = |at: &str| {
        walk::resolve(&store, root, &path(at))
            .unwrap()
            .map(|(at, _)| at.to_string())
    };
    for at in ["/bin/sh", "/etc/up", "/etc/absolute"] {
        assert_eq!(resolved(at).as_deref(), Some("/usr/bin/sh"), "{at}");
    }
    assert_eq!(resolved("/"), Some("/".to_owned()));
    assert_eq!(resolved("/etc/dangling"), None);
    assert_eq!(resolved("/usr/bin/sh/x"), None);
    let error = walk::resolve(&store, root, &path("/loop")).unwrap_err();
    assert_eq!(error.to_string(), "/loop: too many levels of symbolic links");
}
