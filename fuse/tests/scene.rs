//! A store, a base, a mount, and what is in them.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use silt_fuse::{Base, Frozen, Options, Session, mount_at, open_device};
use silt_store::{MemoryStore, Node, RocksStore, Store, TreeRef, blob, root, walk};

/// A test that is not done after so long hangs.
const PATIENCE: Duration = Duration::from_secs(240);

/// A private mount namespace for this thread, a store, a place to mount.
pub struct Scene {
    pub store: Arc<dyn Store>,
    pub dir: tempfile::TempDir,
    _alive: Sender<()>,
}

impl Scene {
    /// Over a store in memory.
    pub fn new() -> Self {
        Self::over(|_| Arc::new(MemoryStore::new()))
    }

    /// Over a store on disk.
    pub fn on_disk() -> Self {
        Self::over(|dir| {
            Arc::new(RocksStore::open(&dir.join("store"), silt_store::Options::default()).unwrap())
        })
    }

    fn over(store: impl FnOnce(&Path) -> Arc<dyn Store>) -> Self {
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace (these tests need root)");
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )
        .unwrap();
        let dir = tempfile::tempdir().unwrap();
        for name in ["mnt", "tmpfs", "staging"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let (alive, watched) = channel();
        let target = dir.path().join("mnt");
        std::thread::spawn(move || watch(&watched, &target));
        Self {
            store: store(dir.path()),
            dir,
            _alive: alive,
        }
    }

    pub fn mnt(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    pub fn scratch(&self) -> Base {
        Base::Stored(root::scratch(&*self.store).unwrap())
    }

    /// A tmpfs beside the mount, to compare with.
    pub fn tmpfs(&self) -> PathBuf {
        let target = self.dir.path().join("tmpfs");
        mount(
            Some("tmpfs"),
            &target,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=0755"),
        )
        .unwrap();
        target
    }

    pub fn options(&self) -> Options {
        Options {
            staging: self.dir.path().join("staging"),
            threads: 2,
            max_dirty_memory: 64 << 20,
            trace: false,
            read_only: false,
        }
    }

    pub fn mount(&self, base: Base) -> Mounted {
        self.mount_with(base, self.options())
    }

    pub fn mount_with(&self, base: Base, options: Options) -> Mounted {
        let device = open_device().expect("/dev/fuse (modprobe fuse; in a container, pass the device in)");
        let target = self.mnt();
        let path = CString::new(target.as_os_str().as_bytes()).unwrap();
        mount_at(device.as_fd(), &path, options.read_only).expect("mount(2) of fuse (these tests need root)");
        Mounted {
            session: Some(Session::start(device, Arc::clone(&self.store), base, options).unwrap()),
            target,
        }
    }

    /// Mounts, changes, freezes.
    pub fn step(&self, base: Base, change: impl FnOnce(&Path)) -> Arc<Frozen> {
        let mounted = self.mount(base);
        change(&mounted.target);
        mounted.finish()
    }
}

fn watch(alive: &Receiver<()>, target: &Path) {
    if alive.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
        eprintln!("a test hangs: aborting its mount");
        let _ = umount2(target, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
        std::thread::sleep(Duration::from_secs(5));
        std::process::abort();
    }
}

/// A served mount; unmounted when dropped.
pub struct Mounted {
    session: Option<Session>,
    pub target: PathBuf,
}

impl Mounted {
    pub fn session(&self) -> &Session {
        self.session.as_ref().unwrap()
    }

    pub fn drop_session(&mut self) {
        self.session = None;
    }

    /// Unmounts as the end of a mount namespace does, whatever is still busy.
    pub fn finish_lazily(mut self) -> Arc<Frozen> {
        umount2(&self.target, MntFlags::MNT_DETACH).unwrap();
        Arc::new(self.session.take().unwrap().finish().unwrap())
    }

    pub fn finish(mut self) -> Arc<Frozen> {
        unmount(&self.target);
        Arc::new(self.session.take().unwrap().finish().unwrap())
    }
}

/// Between another test's fork and exec, its child has our descriptors too, and the mount is busy.
pub fn unmount(target: &Path) {
    for _ in 0..500 {
        match umount2(target, MntFlags::empty()) {
            Err(nix::errno::Errno::EBUSY) => std::thread::sleep(Duration::from_millis(10)),
            result => return result.unwrap(),
        }
    }
    panic!("{} stays busy", target.display());
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.session.is_some() {
            let _ = umount2(&self.target, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
        }
    }
}

/// Everything about one inode that must agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: &'static str,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    /// Of files only: directories differ among filesystems.
    pub nlink: u64,
    /// Digest of content, or a link's target.
    pub content: Vec<u8>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The smallest path of the same inode.
    pub first: String,
}

pub fn see(path: &Path) -> std::io::Result<(Seen, u64)> {
    let meta = fs::symlink_metadata(path)?;
    let kind = meta.file_type();
    let (kind, content) = if kind.is_dir() {
        ("directory", Vec::new())
    } else if kind.is_file() {
        let mut bytes = Vec::new();
        fs::File::open(path)?.read_to_end(&mut bytes)?;
        assert_eq!(bytes.len() as u64, meta.size(), "{}", path.display());
        ("file", digest(&bytes))
    } else if kind.is_symlink() {
        ("symlink", fs::read_link(path)?.as_os_str().as_bytes().to_vec())
    } else if kind.is_fifo() {
        ("fifo", Vec::new())
    } else if kind.is_socket() {
        ("socket", Vec::new())
    } else if kind.is_char_device() {
        ("char", Vec::new())
    } else {
        ("block", Vec::new())
    };
    let mut xattrs = BTreeMap::new();
    for name in xattr::list(path)? {
        let value = match xattr::get(path, &name) {
            Ok(value) => value.expect("a listed attribute is there"),
            // The kernel refuses to show a malformed capability, wherever it is.
            Err(error) => format!("{error}").into_bytes(),
        };
        xattrs.insert(name.as_bytes().to_vec(), value);
    }
    let directory = kind == "directory";
    let seen = Seen {
        kind,
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        rdev: meta.rdev(),
        size: if directory { 0 } else { meta.size() },
        nlink: if directory { 0 } else { meta.nlink() },
        content,
        xattrs,
        first: String::new(),
    };
    Ok((seen, meta.ino()))
}

pub fn digest(bytes: &[u8]) -> Vec<u8> {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish().to_be_bytes().to_vec()
}

/// Every path below `top` and what is there.
pub fn tree(top: &Path) -> BTreeMap<String, Seen> {
    let mut seen = BTreeMap::new();
    let mut inodes: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut pending = vec![top.to_owned()];
    while let Some(path) = pending.pop() {
        let (this, ino) = see(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = format!("/{}", path.strip_prefix(top).unwrap().display());
        if this.kind == "directory" {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            inodes.entry(ino).or_default().push(name.clone());
        }
        seen.insert(name, this);
    }
    name_groups(&mut seen, inodes.into_values());
    seen
}

fn name_groups(seen: &mut BTreeMap<String, Seen>, groups: impl Iterator<Item = Vec<String>>) {
    for mut group in groups {
        group.sort();
        for path in &group {
            seen.get_mut(path).unwrap().first.clone_from(&group[0]);
        }
    }
}

/// The same of a sealed tree.
pub fn sealed_tree(store: &Arc<dyn Store>, sealed: TreeRef) -> BTreeMap<String, Seen> {
    let root = root::read(&**store, sealed.tree).unwrap();
    let mut seen = BTreeMap::new();
    let top = silt_store::Entry {
        meta: root.meta.clone(),
        node: Node::Directory(root.directory),
    };
    seen.insert("/".to_owned(), seen_entry(&**store, &top));
    for entry in walk::walk(store, sealed) {
        let (path, entry) = entry.unwrap();
        if path.names().is_empty() {
            continue;
        }
        let mut this = seen_entry(&**store, &entry);
        let path = path.to_string();
        if this.kind != "directory" {
            this.nlink = 1;
            this.first.clone_from(&path);
        }
        seen.insert(path, this);
    }
    for group in root.links.groups() {
        let paths: Vec<String> = group.iter().map(ToString::to_string).collect();
        for path in &paths {
            seen.get_mut(path)
                .unwrap_or_else(|| panic!("{path} is linked but not there"))
                .nlink = paths.len() as u64;
        }
        name_groups(&mut seen, std::iter::once(paths));
    }
    seen
}

fn seen_entry(store: &dyn Store, entry: &silt_store::Entry) -> Seen {
    let device =
        |device: &silt_store::Device| nix::sys::stat::makedev(device.major.into(), device.minor.into());
    let (kind, content, size, rdev) = match &entry.node {
        Node::Directory(_) => ("directory", Vec::new(), 0, 0),
        Node::File(content) => (
            "file",
            digest(&blob::read_all(store, content).unwrap()),
            content.len,
            0,
        ),
        Node::Symlink(target) => ("symlink", target.to_vec(), target.len() as u64, 0),
        Node::CharDevice(at) => ("char", Vec::new(), 0, device(at)),
        Node::BlockDevice(at) => ("block", Vec::new(), 0, device(at)),
        Node::Fifo => ("fifo", Vec::new(), 0, 0),
        Node::Socket => ("socket", Vec::new(), 0, 0),
    };
    Seen {
        kind,
        mode: entry.meta.mode.into(),
        uid: entry.meta.uid,
        gid: entry.meta.gid,
        rdev,
        size,
        nlink: 0,
        content,
        xattrs: entry
            .meta
            .xattrs
            .iter()
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect(),
        first: String::new(),
    }
}

/// Fails with the paths that differ.
pub fn assert_same(ours: &BTreeMap<String, Seen>, theirs: &BTreeMap<String, Seen>, context: &str) {
    if ours == theirs {
        return;
    }
    let mut report = String::new();
    for path in ours
        .keys()
        .chain(theirs.keys())
        .collect::<std::collections::BTreeSet<_>>()
    {
        let (our, their) = (ours.get(path), theirs.get(path));
        if our != their {
            report += &format!("{path}\n  ours   {our:?}\n  theirs {their:?}\n");
        }
    }
    panic!("{context}\n{report}");
}
