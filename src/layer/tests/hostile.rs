//! Archives made to break things. Each is an error that names the member, or harmless.

use super::*;

fn refused(tar: &[u8]) -> String {
    let store = store();
    let base = scratch(&store);
    let error = apply(&store, base, tar).unwrap_err();
    let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

#[test]
fn names_that_climb_out_are_refused() {
    let tar = Tar::default().file("a/../../etc/passwd", b"x").end();
    assert_eq!(
        refused(&tar),
        "archive member `a/../../etc/passwd`: the name points outside of the root directory"
    );
    let tar = Tar::default().file("x", b"").hard("y", "../x").end();
    assert!(refused(&tar).contains("outside"));
}

#[test]
fn absolute_names_are_inside() {
    let store = store();
    let tree = apply(
        &store,
        scratch(&store),
        &Tar::default().file("/etc/shadow", b"x").end(),
    )
    .unwrap();
    assert_eq!(list(&store, tree), ["/etc/", "/etc/shadow=x"]);
}

#[test]
fn links_in_a_circle_and_files_as_parents_are_refused() {
    let tar = Tar::default()
        .symlink("a", "b")
        .symlink("b", "a")
        .file("a/x", b"")
        .end();
    assert!(refused(&tar).contains("too many symbolic links"));
    let tar = Tar::default().file("a", b"").file("a/b", b"").end();
    assert_eq!(refused(&tar), "archive member `a/b`: /a is not a directory");
}

#[test]
fn hard_links_to_nothing_or_to_directories_are_refused() {
    assert!(refused(&Tar::default().hard("a", "b").end()).contains("`b`, which does not exist"));
    assert!(refused(&Tar::default().dir("b/").hard("a", "b").end()).contains("directory `b`"));
    assert!(refused(&Tar::default().hard("a", "/").end()).contains("directory"));
}

#[test]
fn truncation_is_told_from_the_end() {
    let whole = Tar::default().file("a", &[7; 2000]).file("b", &[8; 10]).end();
    for length in [100, 512, 1000, 2500, 512 + 2048 + 200] {
        let text = refused(&whole[..length]);
        assert!(text.contains("truncated"), "{length}: {text}");
    }
    assert!(refused(&whole[..1000]).contains("in a"));
    // Between members only the end mark tells; layers have digests instead.
    let store = store();
    let cut = &whole[..512 + 2048];
    assert!(apply(&store, scratch(&store), cut).is_ok());
    let literal = unpack(&store, scratch(&store), &mut &*cut, Whiteouts::Literal);
    assert!(matches!(literal, Err(LayerError::Truncated { .. })));
}

#[test]
fn huge_declared_sizes_allocate_nothing() {
    let mut huge = header("huge", b'0', "", 0);
    // GNU base-256: 2^62 bytes.
    huge.as_old_mut().size = *b"\x80\0\0\0\x40\0\0\0\0\0\0\0";
    let mut tar = Tar::default().header(huge).0;
    tar.extend_from_slice(&[1; 5000]);
    assert!(refused(&tar).contains("truncated in huge"));
    let tar = Tar::default()
        .pax(&[("size", b"9223372036854775807")])
        .file("p", b"")
        .0;
    assert!(refused(&tar).contains("truncated in p"));
    let tar = Tar::default().add("l", b'L', "", b"").end();
    let mut long = header("l", b'x', "", 0);
    long.set_size(1 << 40);
    assert!(refused(&Tar::default().header(long).end()).contains("1 MiB"));
    let store = store();
    assert!(apply(&store, scratch(&store), &tar).is_ok());
    let sparse = [
        ("GNU.sparse.size", &b"4611686018427387904"[..]),
        ("GNU.sparse.map", b""),
    ];
    assert!(refused(&Tar::default().pax(&sparse).file("s", b"").end()).contains("64 GiB"));
}

#[test]
fn garbage_is_no_tar() {
    assert!(refused(&[0x55; 4096]).contains("bad header checksum at byte 0"));
    let mut damaged = Tar::default().file("a", b"x").file("b", b"y").end();
    damaged[1024 + 10] ^= 1;
    assert!(refused(&damaged).contains("at byte 1024"));
}

#[test]
fn strange_members_are_refused_by_name() {
    assert!(refused(&Tar::default().add("v", b'V', "", b"").end()).contains("`v`: unknown member type 'V'"));
    assert!(refused(&Tar::default().file("./", b"").add(".", b'6', "", b"").end()).contains("root must be"));
    assert!(refused(&Tar::default().pax(&[("uid", b"-1")]).file("a", b"").end()).contains("uid"));
    assert!(refused(&Tar::default().pax(&[("uid", b"4294967296")]).file("a", b"").end()).contains("uid"));
    assert!(
        refused(&Tar::default().pax(&[("path", b"a\0b")]).file("a", b"").end()).contains("extended header")
    );
    assert!(
        refused(
            &Tar::default()
                .add("x", b'x', "", b"nonsense")
                .file("a", b"")
                .end()
        )
        .contains("extended header")
    );
    assert!(
        refused(
            &Tar::default()
                .file(&"n".repeat(98), b"")
                .pax(&[("path", &[b'n'; 300])])
                .file("a", b"")
                .end()
        )
        .contains("bad name")
    );
    for name in [".wh.", ".wh...", ".wh.x/y"] {
        assert!(
            refused(&Tar::default().file(name, b"").end()).contains(".wh."),
            "{name}"
        );
    }
}

#[test]
fn metadata_of_dead_filesystems_is_passed_over() {
    let store = store();
    let tar = Tar::default()
        .dir(".wh..wh.plnk/")
        .file(".wh..wh.plnk/12.34", b"x")
        .file("a", b"1")
        .end();
    assert_eq!(
        list(&store, apply(&store, scratch(&store), &tar).unwrap()),
        ["/a=1"]
    );
}
