//! An image with everything in it, trees on disk to compare with, and the clients' commands.
#![expect(
    clippy::zero_sized_map_values,
    reason = "the spec writes sets as maps to empty objects"
)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use silt::export::{Item, Output, Target, export};
use silt::images::{Assembly, Image, ImageStore, assemble};
use silt::oci::config::{Empty, History, RunConfig};
use silt::oci::platform::Platform;
use silt::oci::reference::Reference;
use silt_store::{
    Device, Edit, Entry, GuestPath, MemoryStore, Meta, Node, Store, Time, TreeRef, blob, directory, root,
    walk,
};

/// A store in memory with one image, `demo:1`, of four layers, the third of them empty.
pub(crate) struct Scene {
    pub(crate) images: ImageStore,
    pub(crate) image: Image,
    pub(crate) name: Reference,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn images() -> ImageStore {
    ImageStore::new(Arc::new(MemoryStore::new()))
}

pub(crate) fn path(text: &str) -> GuestPath {
    GuestPath::parse(text.as_bytes()).unwrap()
}

fn meta(mode: u16) -> Meta {
    Meta {
        mode,
        mtime: Time {
            seconds: 1_700_000_000,
            nanos: 123_456_789,
        },
        ..Meta::default()
    }
}

struct Editing<'a> {
    store: &'a Arc<dyn Store>,
    edit: Edit,
}

impl Editing<'_> {
    fn put(&mut self, at: &str, meta: Meta, node: Node) -> &mut Self {
        self.edit.insert(&path(at), Entry { meta, node }).unwrap();
        self
    }

    fn file(&mut self, at: &str, mode: u16, bytes: &[u8]) -> &mut Self {
        let node = Node::File(blob::from_bytes(self.store.as_ref(), bytes).unwrap());
        self.put(at, meta(mode), node)
    }

    fn dir(&mut self, at: &str, mode: u16) -> &mut Self {
        self.put(at, meta(mode), Node::Directory(directory::empty()))
    }

    fn symlink(&mut self, at: &str, target: &str) -> &mut Self {
        self.put(at, meta(0o777), Node::Symlink(target.as_bytes().into()))
    }
}

fn edited(store: &Arc<dyn Store>, base: TreeRef, change: impl FnOnce(&mut Editing<'_>)) -> TreeRef {
    let mut editing = Editing {
        store,
        edit: Edit::new(store.clone(), base).unwrap(),
    };
    change(&mut editing);
    editing.edit.finish().unwrap()
}

/// Bytes that compress to about half.
fn noise(length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 28) as u8)
        .collect()
}

fn first(edit: &mut Editing<'_>) {
    edit.edit.set_meta(&GuestPath::root(), &meta(0o755)).unwrap();
    for directory in [
        "/bin",
        "/d",
        "/d/sub",
        "/emptied",
        "/links",
        "/replaced",
        "/dev",
        "/usr",
    ] {
        edit.dir(directory, 0o755);
    }
    edit.dir("/usr/lib", 0o755)
        .symlink("/lib", "usr/lib")
        .dir("/tmp", 0o1777);
    edit.file("/bin/su", 0o4755, b"#!suid\n")
        .file("/bin/sg", 0o2711, b"#!sgid\n");
    edit.file("/big", 0o644, &noise(9_000_000))
        .file("/empty", 0o400, b"");
    edit.file("/d/a", 0o644, b"a")
        .file("/d/b", 0o600, b"b")
        .file("/d/sub/c", 0o644, b"c");
    for n in 0..5 {
        edit.file(&format!("/emptied/{n}"), 0o644, b"gone soon");
    }
    edit.file("/replaced/by-file", 0o644, b"x")
        .symlink("/becomes-dir", "/nowhere");
    edit.file("/links/one", 0o644, b"linked")
        .file("/links/other", 0o644, b"linked too");
    edit.edit
        .link(&path("/links/one"), &[path("/links/two"), path("/d/three")])
        .unwrap();
    edit.edit
        .link(&path("/links/other"), &[path("/links/other2")])
        .unwrap();
    edit.put(
        "/dev/null",
        meta(0o666),
        Node::CharDevice(Device { major: 1, minor: 3 }),
    );
    edit.put(
        "/dev/loop",
        meta(0o660),
        Node::BlockDevice(Device { major: 7, minor: 0 }),
    );
    edit.put("/dev/fifo", meta(0o600), Node::Fifo);
    let mut odd = meta(0o644);
    odd.uid = 3_000_000;
    odd.gid = 65_534;
    odd.xattrs.set(b"user.note", b"binary \0\x01=\n value");
    // cap_net_raw+ep
    odd.xattrs.set(
        b"security.capability",
        b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    );
    let long = format!("/d/{}/{}", "l".repeat(120), "ü".repeat(100));
    edit.dir(&format!("/d/{}", "l".repeat(120)), 0o755);
    let node = Node::File(blob::from_bytes(edit.store.as_ref(), b"odd").unwrap());
    edit.put(&long, odd, node);
}

fn second(edit: &mut Editing<'_>) {
    edit.edit.remove(&path("/d/b")).unwrap();
    edit.file("/d/sub/c", 0o755, b"changed")
        .file("/d/new", 0o644, b"new");
    edit.dir("/emptied", 0o700).file("/emptied/now", 0o644, b"other");
    edit.file("/replaced", 0o644, b"a file now");
    edit.dir("/becomes-dir", 0o755)
        .file("/becomes-dir/x", 0o644, b"x");
    edit.edit.remove(&path("/links/two")).unwrap();
    edit.file("/usr/lib/libx.so", 0o644, b"through the link");
}

fn fourth(edit: &mut Editing<'_>) {
    // Metadata of a hard-linked file; a member that becomes a file of its own.
    edit.edit.set_meta(&path("/links/one"), &meta(0o640)).unwrap();
    edit.file("/links/other2", 0o644, b"linked too");
    edit.edit.remove(&path("/dev/fifo")).unwrap();
}

fn config() -> RunConfig {
    RunConfig {
        user: "1000:1000".into(),
        env: vec!["PATH=/bin".into(), "A=b c".into()],
        entrypoint: Some(vec!["/bin/su".into()]),
        cmd: Some(vec!["-x".into()]),
        working_dir: "/d".into(),
        exposed_ports: BTreeMap::from([("80/tcp".into(), Empty {})]),
        volumes: BTreeMap::from([("/data".into(), Empty {})]),
        labels: BTreeMap::from([("a.b".into(), "c".into())]),
        stop_signal: "SIGTERM".into(),
        ..RunConfig::default()
    }
}

pub(crate) fn amd64() -> Platform {
    Platform::parse("linux/amd64").unwrap()
}

impl Scene {
    pub(crate) fn new() -> Self {
        let images = images();
        let store = images.store();
        let scratch = root::scratch(store.as_ref()).unwrap();
        let one = edited(store, scratch, first);
        let two = edited(store, one, second);
        let three = two;
        let four = edited(store, three, fourth);
        let step = |created_by: &str, empty_layer| History {
            created: Some("2024-02-03T04:05:06.5Z".into()),
            created_by: created_by.into(),
            empty_layer,
            ..History::default()
        };
        let platform = amd64();
        let assembly = Assembly {
            base: None,
            steps: vec![(scratch, one), (one, two), (two, three), (three, four)],
            config: config(),
            history: vec![
                step("COPY . /", false),
                step("RUN change", false),
                step("ENV A=b c", true),
                step("RUN true", false),
                step("RUN chmod", false),
            ],
            platform: &platform,
            author: "somebody".into(),
            created: None,
        };
        let image = assemble(store, assembly).unwrap();
        let name = Reference::parse("demo:1").unwrap();
        images.put(&image, std::slice::from_ref(&name)).unwrap();
        Self {
            image,
            name,
            dir: tempfile::tempdir().unwrap(),
            images,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Exports the image with `options` to a fresh path `name`.
    pub(crate) fn export(&self, kind: &str, name: &str, options: &[(&str, &str)]) -> PathBuf {
        let path = self.path(name);
        let dest = path.to_str().unwrap();
        let options: Vec<_> = options.iter().copied().chain([("dest", dest)]).collect();
        let output = Output::new(kind, &options).unwrap();
        let item = Item {
            image: self.image.clone(),
            names: vec![self.name.clone()],
        };
        export(self.images.store(), &[item], &output, Target::Path(path.clone())).unwrap();
        path
    }

    /// The image's root filesystem in the lines of `on_disk`.
    pub(crate) fn expected(&self) -> Vec<String> {
        in_tree(self.images.store(), self.image.root)
    }
}

/// Runs a client and returns its standard output; a missing one is a failure that says what to install.
pub(crate) fn client<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> String {
    let output = match Command::new(program).args(arguments).output() {
        Ok(output) => output,
        Err(error) => panic!("{program}: {error} (this test needs it: apt-get install {program})"),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{program} failed: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// One line for each path: type, mode, owner, time, attributes, what it holds, and the first path of its inode.
pub(crate) fn in_tree(store: &Arc<dyn Store>, tree: TreeRef) -> Vec<String> {
    let root = root::read(store.as_ref(), tree.tree).unwrap();
    let first = |path: &GuestPath| {
        let group = root.links.groups().iter().find(|group| group.contains(path));
        group.map_or_else(|| path.clone(), |group| group[0].clone())
    };
    let top = (
        GuestPath::root(),
        Entry {
            meta: root.meta.clone(),
            node: Node::Directory(root.directory),
        },
    );
    let entries = walk::walk(store, tree).map(Result::unwrap);
    let mut lines: Vec<_> = std::iter::once(top)
        .chain(entries)
        .map(|(path, entry)| {
            let (kind, holds) = match &entry.node {
                Node::Directory(_) => ('d', String::new()),
                Node::File(content) => ('f', digest(&blob::read_all(store.as_ref(), content).unwrap())),
                Node::Symlink(target) => ('l', String::from_utf8_lossy(target).into_owned()),
                Node::CharDevice(device) => ('c', format!("{}:{}", device.major, device.minor)),
                Node::BlockDevice(device) => ('b', format!("{}:{}", device.major, device.minor)),
                Node::Fifo => ('p', String::new()),
                Node::Socket => ('s', String::new()),
            };
            let meta = &entry.meta;
            let xattrs: Vec<_> = meta
                .xattrs
                .iter()
                .map(|(name, value)| (String::from_utf8_lossy(name), value))
                .collect();
            format!(
                "{path} {kind} {:o} {}:{} {}.{:09} {xattrs:?} {holds} {}",
                meta.mode,
                meta.uid,
                meta.gid,
                meta.mtime.seconds,
                meta.mtime.nanos,
                first(&path),
            )
        })
        .collect();
    lines.sort();
    lines
}

/// The same lines for a directory of this machine.
pub(crate) fn on_disk(top: &Path) -> Vec<String> {
    let mut inodes = BTreeMap::new();
    let mut paths = vec![top.to_path_buf()];
    let mut found = Vec::new();
    while let Some(path) = paths.pop() {
        if std::fs::symlink_metadata(&path).unwrap().is_dir() {
            paths.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        found.push(path);
    }
    let guest = |path: &Path| {
        let relative = path.strip_prefix(top).unwrap().as_os_str().as_bytes();
        GuestPath::root().join(relative).unwrap()
    };
    found.sort_by_key(|path| guest(path));
    let mut lines: Vec<_> = found
        .iter()
        .map(|path| {
            let stat = std::fs::symlink_metadata(path).unwrap();
            let first = inodes.entry(stat.ino()).or_insert_with(|| guest(path)).clone();
            let device = || format!("{}:{}", libc::major(stat.rdev()), libc::minor(stat.rdev()));
            let (kind, holds) = match stat.mode() & libc::S_IFMT {
                libc::S_IFDIR => ('d', String::new()),
                libc::S_IFREG => ('f', digest(&std::fs::read(path).unwrap())),
                libc::S_IFLNK => (
                    'l',
                    std::fs::read_link(path).unwrap().to_string_lossy().into_owned(),
                ),
                libc::S_IFCHR => ('c', device()),
                libc::S_IFBLK => ('b', device()),
                libc::S_IFIFO => ('p', String::new()),
                _ => ('s', String::new()),
            };
            format!(
                "{} {kind} {:o} {}:{} {}.{:09} {:?} {holds} {first}",
                guest(path),
                stat.mode() & 0o7777,
                stat.uid(),
                stat.gid(),
                stat.mtime(),
                stat.mtime_nsec(),
                xattrs(path),
            )
        })
        .collect();
    lines.sort();
    lines
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap();
    let mut found: Vec<_> = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            value.truncate(length);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect();
    found.sort();
    found
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_string()
}

/// Compares line by line, so that a difference can be read.
pub(crate) fn same(found: &[String], expected: &[String]) {
    let missing: Vec<_> = expected.iter().filter(|line| !found.contains(line)).collect();
    let surplus: Vec<_> = found.iter().filter(|line| !expected.contains(line)).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "missing {missing:#?}\nsurplus {surplus:#?}"
    );
}
