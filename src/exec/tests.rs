//! COPY and ADD on trees in memory, against the reference and what Docker does.

use std::sync::Arc;

use silt_store::{
    Edit, Entry, GuestPath, MemoryStore, Meta, Node, Store, Time, TreeRef, blob, directory, root, walk,
};

use super::copy::{Copy, Download};
use super::{CopyError, place};
use crate::plan::{Chmod, CopyItem, CopyOp, CopySource};

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

fn path(text: &str) -> GuestPath {
    GuestPath::parse(text.as_bytes()).unwrap()
}

/// A tree of lines such as `/dir/` `/file=content` `/link->target`, modes 0755 and 0644, owner 7:8, time 5.
fn tree(store: &Arc<dyn Store>, lines: &[&str]) -> TreeRef {
    let mut edit = Edit::new(Arc::clone(store), root::scratch(&**store).unwrap()).unwrap();
    let meta = |mode| Meta {
        mode,
        uid: 7,
        gid: 8,
        mtime: Time { seconds: 5, nanos: 0 },
        ..Meta::default()
    };
    for line in lines {
        let (at, node) = if let Some((at, target)) = line.split_once("->") {
            (path(at), Node::Symlink(target.as_bytes().into()))
        } else if let Some((at, content)) = line.split_once('=') {
            (
                path(at),
                Node::File(blob::from_bytes(&**store, content.as_bytes()).unwrap()),
            )
        } else {
            (path(line), Node::Directory(directory::empty()))
        };
        let (parent, _) = at.split_last().unwrap();
        edit.make_directories(&parent, &meta(0o755)).unwrap();
        let mode = if matches!(node, Node::File(_)) {
            0o644
        } else {
            0o755
        };
        edit.insert(
            &at,
            Entry {
                meta: meta(mode),
                node,
            },
        )
        .unwrap();
    }
    edit.finish().unwrap()
}

/// A tree as lines `/path mode uid:gid time content`.
fn lines(store: &Arc<dyn Store>, tree: TreeRef) -> Vec<String> {
    let line = |(path, entry): (GuestPath, Entry)| {
        let what = match &entry.node {
            Node::Directory(_) => "/".to_owned(),
            Node::File(content) => format!(
                "={}",
                String::from_utf8_lossy(&blob::read_all(&**store, content).unwrap())
            ),
            Node::Symlink(target) => format!("->{}", String::from_utf8_lossy(target)),
            other => format!("{other:?}"),
        };
        let Meta {
            mode,
            uid,
            gid,
            mtime,
            ..
        } = entry.meta;
        format!("{path}{what} {mode:o} {uid}:{gid} {}", mtime.seconds)
    };
    walk::walk(store, tree)
        .map(|found| line(found.unwrap()))
        .collect()
}

/// The paths and contents alone.
fn short(store: &Arc<dyn Store>, tree: TreeRef) -> Vec<String> {
    lines(store, tree)
        .into_iter()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect()
}

fn op(sources: &[&str], destination: &str) -> CopyOp {
    CopyOp {
        from: CopySource::Input,
        sources: sources
            .iter()
            .map(|source| CopyItem::Path((*source).to_owned()))
            .collect(),
        destination: destination.to_owned(),
        chown: None,
        chmod: None,
        unpack: false,
        unpack_downloads: false,
        add: false,
        link: false,
        parents: false,
        exclude: Vec::new(),
        checksum: None,
    }
}

fn copy(store: &Arc<dyn Store>, op: &CopyOp, source: TreeRef, base: TreeRef) -> Result<TreeRef, CopyError> {
    copy_as(store, op, source, base, None)
}

fn copy_as(
    store: &Arc<dyn Store>,
    op: &CopyOp,
    source: TreeRef,
    base: TreeRef,
    owner: Option<(u32, u32)>,
) -> Result<TreeRef, CopyError> {
    Copy {
        store,
        op,
        source: Some(source),
        downloads: &[],
        owner,
    }
    .onto(base)
}

#[test]
fn destinations_are_as_in_the_reference() {
    let store = store();
    let source = tree(&store, &["/a=1", "/b=2", "/dir/x=3", "/dir/sub/y=4"]);
    let base = tree(&store, &["/etc/", "/file=0"]);
    for (sources, destination, added) in [
        // A file to a name, with and without directories that are missing.
        (&["a"][..], "/new", &["/etc/", "/file=0", "/new=1"][..]),
        (
            &["a"],
            "/x/y/new",
            &["/etc/", "/file=0", "/x/", "/x/y/", "/x/y/new=1"],
        ),
        // A slash, or a directory that is there: into it.
        (&["a"], "/x/", &["/etc/", "/file=0", "/x/", "/x/a=1"]),
        (&["a"], "/etc", &["/etc/", "/etc/a=1", "/file=0"]),
        (&["a"], "/", &["/a=1", "/etc/", "/file=0"]),
        (&["a"], "/file", &["/etc/", "/file=1"]),
        // A directory: its contents.
        (
            &["dir"],
            "/d",
            &["/d/", "/d/sub/", "/d/sub/y=4", "/d/x=3", "/etc/", "/file=0"],
        ),
        (&["dir"], "/", &["/etc/", "/file=0", "/sub/", "/sub/y=4", "/x=3"]),
        // Several.
        (
            &["a", "b"],
            "/etc/",
            &["/etc/", "/etc/a=1", "/etc/b=2", "/file=0"],
        ),
        (
            &["*"],
            "/all/",
            &[
                "/all/",
                "/all/a=1",
                "/all/b=2",
                "/all/sub/",
                "/all/sub/y=4",
                "/all/x=3",
                "/etc/",
                "/file=0",
            ],
        ),
        (&["**/y"], "/y", &["/etc/", "/file=0", "/y=4"]),
        (&["none*", "a"], "/etc/", &["/etc/", "/etc/a=1", "/file=0"]),
        (&["none*"], "/new/", &["/etc/", "/file=0"]),
    ] {
        let made = copy(&store, &op(sources, destination), source, base).unwrap();
        assert_eq!(short(&store, made), added, "{sources:?} {destination}");
    }
}

#[test]
fn what_cannot_be_copied_is_an_error_that_names_it() {
    let store = store();
    let source = tree(
        &store,
        &["/a=1", "/b=2", "/dir/x=3", "/dangling->nowhere", "/loop->loop"],
    );
    let base = tree(&store, &["/etc/a/", "/file=0", "/to/x/", "/round->round"]);
    for (sources, destination, message) in [
        (&["c"][..], "/", "`c` not found"),
        (&["dir/none"], "/", "`dir/none` not found"),
        (
            &["a", "b"],
            "/new",
            "2 sources, but the destination `/new` is no directory: end it with a slash",
        ),
        (
            &["a"],
            "/etc/",
            "cannot replace the directory `/etc/a` with a file",
        ),
        (
            &["dir"],
            "/to",
            "/to/x: a directory cannot be replaced by what is none",
        ),
        (&["dir"], "/file", "/file: not a directory"),
        (&["a"], "/file/x", "/file: not a directory"),
        (
            &["a"],
            "/round/x",
            "`/round/x`: too many levels of symbolic links",
        ),
        (
            &["dangling"],
            "/",
            "`/dangling` is a symbolic link to nothing that can be copied",
        ),
    ] {
        let error = copy(&store, &op(sources, destination), source, base).unwrap_err();
        assert_eq!(error.to_string(), message, "{sources:?} {destination}");
    }
    assert!(copy(&store, &op(&["loop"], "/"), source, base).is_err());
}

#[test]
fn links_are_followed_in_the_destination_and_at_a_source_and_kept_below_it() {
    let store = store();
    let source = tree(
        &store,
        &["/real/f=1", "/real/in->f", "/link->real", "/file->/real/f"],
    );
    let base = tree(
        &store,
        &[
            "/usr/lib/",
            "/lib->usr/lib",
            "/abs->/../lib",
            "/new->made/here",
            "/usr/lib/l->x",
        ],
    );
    let made = |sources: &[&str], destination| {
        short(
            &store,
            copy(&store, &op(sources, destination), source, base).unwrap(),
        )
    };
    let has = |lines: &[String], line: &str| assert!(lines.contains(&line.to_owned()), "{line} in {lines:?}");
    has(&made(&["real"], "/lib"), "/usr/lib/in->f");
    has(&made(&["real"], "/lib"), "/lib->usr/lib");
    has(&made(&["file"], "/abs/"), "/usr/lib/file=1");
    has(&made(&["file"], "/new"), "/made/here=1");
    has(&made(&["link"], "/x"), "/x/f=1");
    has(&made(&["link/f"], "/lib/l"), "/usr/lib/x=1");
    // Without `--link`; with it nothing is followed.
    let linked = CopyOp {
        link: true,
        ..op(&["real"], "/lib")
    };
    has(
        &short(&store, copy(&store, &linked, source, base).unwrap()),
        "/lib/in->f",
    );
}

#[test]
fn metadata_is_the_sources_and_made_directories_are_plain() {
    let store = store();
    let source = tree(&store, &["/dir/sub/y=4", "/dir/l->x"]);
    let base = tree(&store, &["/there/sub/"]);
    let plain = copy(&store, &op(&["dir"], "/a/b"), source, base).unwrap();
    assert_eq!(
        lines(&store, plain),
        [
            "/a/ 755 0:0 0",
            "/a/b/ 755 0:0 0",
            "/a/b/l->x 755 7:8 5",
            "/a/b/sub/ 755 7:8 5",
            "/a/b/sub/y=4 644 7:8 5",
            "/there/ 755 7:8 5",
            "/there/sub/ 755 7:8 5",
        ]
    );
    let dressed = CopyOp {
        chmod: Some(Chmod::Octal(0o600)),
        ..op(&["dir"], "/a")
    };
    let dressed = copy_as(
        &store,
        &dressed,
        source,
        root::scratch(&*store).unwrap(),
        Some((1, 2)),
    )
    .unwrap();
    assert_eq!(
        lines(&store, dressed),
        [
            "/a/ 755 1:2 0",
            "/a/l->x 755 1:2 5",
            "/a/sub/ 600 1:2 5",
            "/a/sub/y=4 600 1:2 5"
        ]
    );
    let symbolic = CopyOp {
        chmod: Some(Chmod::Symbolic("u=rwX,go=".into())),
        ..op(&["dir"], "/a")
    };
    let symbolic = copy(&store, &symbolic, source, root::scratch(&*store).unwrap()).unwrap();
    assert!(lines(&store, symbolic).contains(&"/a/sub/y=4 600 7:8 5".to_owned()));
}

#[test]
fn excluded_files_stay_out_and_parents_come_along() {
    let store = store();
    let source = tree(
        &store,
        &["/x/a.txt=1", "/x/b.md=2", "/y/a.txt=3", "/x/deep/c.txt=4"],
    );
    let base = root::scratch(&*store).unwrap();
    let exclude = CopyOp {
        exclude: vec!["**/*.txt".into(), "!x/deep/c.txt".into()],
        ..op(&["."], "/d")
    };
    assert_eq!(
        short(&store, copy(&store, &exclude, source, base).unwrap()),
        [
            "/d/",
            "/d/x/",
            "/d/x/b.md=2",
            "/d/x/deep/",
            "/d/x/deep/c.txt=4",
            "/d/y/"
        ]
    );
    let parents = |sources: &[&str]| {
        let op = CopyOp {
            parents: true,
            ..op(sources, "/p/")
        };
        lines(&store, copy(&store, &op, source, base).unwrap())
    };
    assert_eq!(
        parents(&["x/a.txt", "y/a.txt"]),
        [
            "/p/ 755 0:0 0",
            "/p/x/ 755 7:8 5",
            "/p/x/a.txt=1 644 7:8 5",
            "/p/y/ 755 7:8 5",
            "/p/y/a.txt=3 644 7:8 5"
        ]
    );
    assert_eq!(
        parents(&["x/./deep/*.txt"]),
        ["/p/ 755 0:0 0", "/p/deep/ 755 7:8 5", "/p/deep/c.txt=4 644 7:8 5"]
    );
}

#[test]
fn hard_links_inside_what_is_copied_stay_links() {
    let store = store();
    let plain = tree(&store, &["/d/a=1", "/d/b=1", "/e=1"]);
    let mut edit = Edit::new(Arc::clone(&store), plain).unwrap();
    edit.link(&path("/d/a"), &[path("/d/b")]).unwrap();
    let source = edit.finish().unwrap();
    let base = root::scratch(&*store).unwrap();
    for owner in [None, Some((1, 1))] {
        let made = copy_as(&store, &op(&["d"], "/to"), source, base, owner).unwrap();
        let links = root::read(&*store, made.tree).unwrap().links;
        assert_eq!(links.groups(), [vec![path("/to/a"), path("/to/b")]]);
    }
    let severed = CopyOp {
        exclude: vec!["d/b".into()],
        ..op(&["d"], "/to")
    };
    let severed = copy(&store, &severed, source, base).unwrap();
    assert!(root::read(&*store, severed.tree).unwrap().links.is_empty());
}

fn archive() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o750);
        header.set_uid(3);
        header.set_gid(4);
        header.set_mtime(9);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content).unwrap();
    };
    add("in/", tar::EntryType::Directory, b"");
    add("in/file", tar::EntryType::Regular, b"packed");
    tar.into_inner().unwrap()
}

fn add_archive(
    store: &Arc<dyn Store>,
    bytes: &[u8],
    base: TreeRef,
    unpack: bool,
    owner: Option<(u32, u32)>,
) -> Vec<String> {
    let empty = root::scratch(&**store).unwrap();
    let mut edit = Edit::new(Arc::clone(store), empty).unwrap();
    let node = Node::File(blob::from_bytes(&**store, bytes).unwrap());
    edit.insert(
        &path("/a.tar"),
        Entry {
            meta: Meta {
                mode: 0o644,
                ..Meta::default()
            },
            node,
        },
    )
    .unwrap();
    let source = edit.finish().unwrap();
    let op = CopyOp {
        add: true,
        unpack,
        ..op(&["a.tar"], "/to/")
    };
    lines(store, copy_as(store, &op, source, base, owner).unwrap())
}

#[test]
fn add_unpacks_archives_by_their_bytes() {
    use std::io::Write;
    let store = store();
    let base = root::scratch(&*store).unwrap();
    let unpacked = [
        "/to/ 755 0:0 0",
        "/to/in/ 750 3:4 9",
        "/to/in/file=packed 750 3:4 9",
    ];
    let plain = archive();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&plain).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    for bytes in [
        plain,
        gzip.finish().unwrap(),
        bzip2.finish().unwrap(),
        xz.finish().unwrap(),
        zstd,
    ] {
        assert_eq!(add_archive(&store, &bytes, base, true, None), unpacked);
    }
    let owned = add_archive(&store, &archive(), base, true, Some((1, 1)));
    assert_eq!(
        owned,
        [
            "/to/ 755 1:1 0",
            "/to/in/ 750 1:1 9",
            "/to/in/file=packed 750 1:1 9"
        ]
    );
    // Neither a COPY nor what is no archive is unpacked.
    assert_eq!(add_archive(&store, &archive(), base, false, None).len(), 2);
    assert_eq!(
        add_archive(&store, b"no tar", base, true, None),
        ["/to/ 755 0:0 0", "/to/a.tar=no tar 644 0:0 0"]
    );
    assert_eq!(
        add_archive(&store, b"", base, true, None),
        ["/to/ 755 0:0 0", "/to/a.tar= 644 0:0 0"]
    );
    // The archive wins over what is there.
    let there = tree(&store, &["/to/in=file", "/to/other=kept"]);
    let merged = add_archive(&store, &archive(), there, true, None);
    assert_eq!(
        merged[1..],
        [
            "/to/in/ 750 3:4 9",
            "/to/in/file=packed 750 3:4 9",
            "/to/other=kept 644 7:8 5"
        ]
    );
}

#[test]
fn inline_files_and_downloads_are_files() {
    let store = store();
    let base = root::scratch(&*store).unwrap();
    let sources = vec![
        CopyItem::Inline("EOF".into(), "text\n".into()),
        CopyItem::Url("http://x/a".into()),
    ];
    let op = CopyOp {
        sources,
        add: true,
        ..op(&[], "/d/")
    };
    let name = silt_store::Name::new(b"a").unwrap();
    let content = blob::from_bytes(&*store, b"fetched").unwrap();
    let downloads = [Download {
        name,
        content,
        modified: Time { seconds: 3, nanos: 0 },
    }];
    let made = Copy {
        store: &store,
        op: &op,
        source: None,
        downloads: &downloads,
        owner: None,
    }
    .onto(base)
    .unwrap();
    assert_eq!(
        lines(&store, made),
        [
            "/d/ 755 0:0 0",
            "/d/EOF=text\n 644 0:0 0",
            "/d/a=fetched 600 0:0 3"
        ]
    );
}

#[test]
fn a_copys_key_is_what_it_selects() {
    let store = store();
    let source = tree(&store, &["/d/a=1", "/d/e/b=2", "/other=3"]);
    let key = |op: &CopyOp, tree: TreeRef| {
        Copy {
            store: &store,
            op,
            source: Some(tree),
            downloads: &[],
            owner: None,
        }
        .selected()
        .unwrap()
    };
    let elsewhere = tree(&store, &["/d/a=1", "/d/e/b=2", "/other=4"]);
    let changed = tree(&store, &["/d/a=1", "/d/e/b=9", "/other=3"]);
    let plain = op(&["d"], "/");
    assert_eq!(key(&plain, source), key(&plain, elsewhere));
    assert_ne!(key(&plain, source), key(&plain, changed));
    let without = CopyOp {
        exclude: vec!["d/e/b".into()],
        ..plain.clone()
    };
    assert_eq!(key(&without, source), key(&without, changed));
    assert_ne!(key(&op(&["d/a"], "/"), source), key(&op(&["other"], "/"), source));
}

#[test]
fn a_working_directory_is_made_with_its_parents_and_left_alone_when_there() {
    let store = store();
    let base = tree(&store, &["/usr/local/", "/opt->usr/local"]);
    let made = place::make_directory(&store, base, "/opt/a/b", (5, 6)).unwrap();
    assert_eq!(
        lines(&store, made)[2..],
        [
            "/usr/local/ 755 7:8 5",
            "/usr/local/a/ 755 5:6 0",
            "/usr/local/a/b/ 755 5:6 0"
        ]
    );
    assert_eq!(place::make_directory(&store, base, "/opt", (5, 6)).unwrap(), base);
    assert_eq!(place::make_directory(&store, base, "/", (5, 6)).unwrap(), base);
}
