use silt_store::{Device, Time};

use super::*;

#[test]
fn every_kind_arrives_with_its_metadata() {
    let store = store();
    let mut char_device = header("dev/null", b'3', "", 0);
    char_device.set_device_major(1).unwrap();
    char_device.set_device_minor(3).unwrap();
    let mut suid = header("bin/su", b'0', "", 0);
    suid.set_mode(0o104_755);
    let long = "n".repeat(150);
    let tar = Tar::default()
        .dir("./")
        .dir("dev/")
        .header(char_device)
        .add("pipe", b'6', "", b"")
        .header(suid)
        .symlink("lib", "usr/lib")
        .pax(&[
            ("path", format!("long/{long}").as_bytes()),
            ("mtime", b"1350244992.023960108"),
            ("uid", b"3000000"),
            ("SCHILY.xattr.security.capability", b"\x01\0\0\x02"),
            ("LIBARCHIVE.xattr.user.b", b"aGk"),
            ("SCHILY.xattr.user.empty", b""),
        ])
        .file("short", b"data")
        .add("././@LongLink", b'L', "", format!("gnu/{long}\0").as_bytes())
        .file("gnu", b"")
        .add("old-directory/", 0, "", b"")
        .end();
    let tree = apply(&store, scratch(&store), &tar).unwrap();
    let null = entry(&store, tree, "/dev/null");
    assert_eq!(null.node, Node::CharDevice(Device { major: 1, minor: 3 }));
    assert_eq!(entry(&store, tree, "/bin/su").meta.mode, 0o4755);
    assert_eq!(entry(&store, tree, "/lib").meta.mode, 0o777);
    assert_eq!(entry(&store, tree, "/pipe").node, Node::Fifo);
    assert!(matches!(
        entry(&store, tree, "/old-directory").node,
        Node::Directory(_)
    ));
    assert_eq!(entry(&store, tree, &format!("/gnu/{long}")).meta.mode, 0o644);
    let meta = entry(&store, tree, &format!("/long/{long}")).meta;
    assert_eq!(meta.uid, 3_000_000);
    let time = Time {
        seconds: 1_350_244_992,
        nanos: 23_960_108,
    };
    assert_eq!(meta.mtime, time);
    assert_eq!(
        meta.xattrs.get(b"security.capability"),
        Some(&b"\x01\0\0\x02"[..])
    );
    assert_eq!(meta.xattrs.get(b"user.b"), Some(&b"hi"[..]));
    assert_eq!(meta.xattrs.get(b"user.empty"), Some(&b""[..]));
    // A parent that the archive does not mention.
    let parent = entry(&store, tree, "/long").meta;
    assert_eq!(
        (parent.mode, parent.uid, parent.mtime),
        (0o755, 0, Time::default())
    );
}

#[test]
fn whiteouts_hide_lower_layers_only_wherever_they_stand() {
    let store = store();
    let base = Tar::default()
        .file("a/b/c/bar", b"1")
        .file("a/x", b"2")
        .file("gone", b"3")
        .file("kept", b"4")
        .end();
    let base = apply(&store, scratch(&store), &base).unwrap();
    let expected = ["/a/", "/a/b/", "/a/b/c/", "/a/b/c/foo=5", "/kept=4"];
    let before = Tar::default()
        .file(".wh.gone", b"")
        .dir("a/")
        .file("a/.wh..wh..opq", b"")
        .file("a/b/c/foo", b"5")
        .end();
    assert_eq!(list(&store, apply(&store, base, &before).unwrap()), expected);
    let after = Tar::default()
        .dir("a/")
        .file("a/b/c/foo", b"5")
        .file("a/.wh..wh..opq", b"")
        .file(".wh.gone", b"")
        .end();
    assert_eq!(list(&store, apply(&store, base, &after).unwrap()), expected);
    let explicit = Tar::default()
        .file("a/b/c/foo", b"5")
        .file(".wh.a", b"")
        .file(".wh.gone", b"")
        .end();
    assert_eq!(list(&store, apply(&store, base, &explicit).unwrap()), expected);
    let all = Tar::default().file("new", b"6").file(".wh..wh..opq", b"").end();
    assert_eq!(list(&store, apply(&store, base, &all).unwrap()), ["/new=6"]);
    let nothing_there = Tar::default()
        .file("no/such/.wh.file", b"")
        .file("no/.wh..wh..opq", b"")
        .end();
    assert_eq!(apply(&store, base, &nothing_there).unwrap(), base);
}

#[test]
fn whiteouts_keep_the_layers_own_hard_links() {
    let store = store();
    let base = apply(&store, scratch(&store), &Tar::default().file("d/old", b"1").end()).unwrap();
    let tar = Tar::default()
        .file("d/a", b"2")
        .hard("d/b", "d/a")
        .hard("c", "d/a")
        .file("d/.wh..wh..opq", b"")
        .end();
    let tree = apply(&store, base, &tar).unwrap();
    assert_eq!(
        list(&store, tree),
        ["/c=2", "/d/", "/d/a links /c", "/d/b links /c"]
    );
}

#[test]
fn in_a_root_filesystem_whiteout_names_are_plain() {
    let store = store();
    let tar = Tar::default().file("a", b"1").file(".wh.a", b"2").end();
    let tree = unpack(&store, scratch(&store), &mut &*tar, Whiteouts::Literal).unwrap();
    assert_eq!(list(&store, tree), ["/.wh.a=2", "/a=1"]);
}

#[test]
fn the_last_of_several_members_wins() {
    let store = store();
    let tar = Tar::default()
        .file("a", b"1")
        .file("a", b"2")
        .dir("b/")
        .file("b/c", b"3")
        .file("b", b"4")
        .file("d", b"5")
        .dir("d/")
        .dir("e/")
        .file("e/f", b"6")
        .dir("e/")
        .end();
    let tree = apply(&store, scratch(&store), &tar).unwrap();
    assert_eq!(list(&store, tree), ["/a=2", "/b=4", "/d/", "/e/", "/e/f=6"]);
}

#[test]
fn hard_links_join_and_replacing_a_member_leaves_the_others() {
    let store = store();
    let base = Tar::default()
        .file("a", b"1")
        .hard("b", "./a")
        .hard("c", "/a")
        .end();
    let base = apply(&store, scratch(&store), &base).unwrap();
    assert_eq!(list(&store, base), ["/a=1", "/b links /a", "/c links /a"]);
    let upper = apply(&store, base, &Tar::default().file("b", b"2").hard("d", "c").end()).unwrap();
    assert_eq!(
        list(&store, upper),
        ["/a=1", "/b=2", "/c links /a", "/d links /a"]
    );
}

#[test]
fn writing_through_a_link_stays_in_the_tree() {
    let store = store();
    let base = Tar::default()
        .dir("usr/")
        .symlink("lib", "usr/lib")
        .symlink("abs", "/../../etc")
        .end();
    let base = apply(&store, scratch(&store), &base).unwrap();
    let tar = Tar::default()
        .file("lib/x", b"1")
        .file("abs/passwd", b"2")
        .hard("y", "lib/x")
        .end();
    let tree = apply(&store, base, &tar).unwrap();
    let expected = [
        "/abs->/../../etc",
        "/etc/",
        "/etc/passwd=2",
        "/lib->usr/lib",
        "/usr/",
        "/usr/lib/",
        "/usr/lib/x=1",
        "/y links /usr/lib/x",
    ];
    assert_eq!(list(&store, tree), expected);
}

#[test]
fn a_foreign_tar_is_written_again_byte_for_byte() {
    let store = store();
    let big: Vec<u8> = (0..3_000_000u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let tar = Tar::default()
        .pax(&[("comment", b"kept as it is")])
        .file("big", &big)
        .file(
            "twice",
            b"a file that is long enough to be no inline content"
                .repeat(9)
                .as_slice(),
        )
        .file("twice", b"2")
        .file(
            "dir/x",
            &b"another file that is long enough to be no inline content".repeat(9),
        )
        .file("dir", b"")
        .file(".wh.gone", b"with data")
        .hard("link", "big")
        .end();
    let tar = [tar, vec![0; 8192]].concat();
    let base = scratch(&store);
    let unpacked = unpack_recorded(&store, base, &mut &*tar).unwrap();
    assert_eq!(unpacked.tree, apply(&store, base, &tar).unwrap());
    assert!(
        unpacked.contents.len() >= 3,
        "the recipe and what the tree no longer has"
    );
    let diff_id = crate::oci::digest::DiffId(crate::oci::digest::Digest::sha256(&tar));
    let layer = packed::remember_foreign(&store, base, unpacked, diff_id, tar.len() as u64).unwrap();
    let mut again = Vec::new();
    packed::write_tar(&store, &layer, &mut again).unwrap();
    assert!(again == tar);
}
