//! The strategies against each other: the same random writes, the same tree.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;
use proptest::prelude::{Strategy as Arbitrary, *};
use silt_store::{MemoryStore, root, walk};
use tempfile::TempDir;

use super::*;

const NEEDS: &str = "this test needs root and /dev/fuse";

struct Bed {
    setup: Setup,
    scratch: TempDir,
}

impl Bed {
    fn new() -> Self {
        let scratch = TempDir::new().unwrap();
        let setup = Setup {
            store: Arc::new(MemoryStore::new()),
            scratch: scratch.path().to_owned(),
            sealer: Arc::new(Sealer::start(1).unwrap()),
            threads: 1,
            max_dirty_memory: 1 << 20,
        };
        Self { setup, scratch }
    }

    /// Runs `work` on a writable view of `base`, in a mount namespace of its own.
    fn step(&self, name: &str, base: &Snapshot, work: impl FnOnce(&Path) + Send) -> Snapshot {
        self.step_without(name, base, &[], work)
    }

    fn step_without(
        &self,
        name: &str,
        base: &Snapshot,
        stubs: &[Stub],
        work: impl FnOnce(&Path) + Send,
    ) -> Snapshot {
        let strategy = strategy(name, self.setup.clone()).unwrap();
        let mut workspace = strategy.prepare(base).unwrap();
        let target = TempDir::new_in(self.scratch.path()).unwrap();
        match workspace.root_filesystem().unwrap() {
            RootFilesystem::Directory(path) => work(&path),
            RootFilesystem::Fuse(serve) => {
                let device = silt_fuse::open_device().expect(NEEDS);
                let copy = device.as_fd().try_clone_to_owned().unwrap();
                serve(copy).unwrap();
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        unshare(CloneFlags::CLONE_NEWNS).expect(NEEDS);
                        let none = None::<&str>;
                        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect(NEEDS);
                        let path = std::ffi::CString::new(target.path().as_os_str().as_bytes()).unwrap();
                        silt_fuse::mount_at(device.as_fd(), &path, false).expect(NEEDS);
                        drop(device);
                        work(target.path());
                        umount2(target.path(), MntFlags::empty()).unwrap();
                    });
                });
            }
        }
        workspace.commit(stubs).unwrap()
    }
}

/// One write; paths are numbers of places, errors are the filesystem's business and must be the same for all.
#[derive(Debug, Clone)]
enum Write {
    File(u8, u32, u8),
    At(u8, u32, u8),
    Truncate(u8, u32),
    Directory(u8),
    Symlink(u8, u8),
    Link(u8, u8),
    Rename(u8, u8),
    Remove(u8),
    RemoveAll(u8),
    Chmod(u8, u16),
    Chown(u8, u32),
    Xattr(u8, u8),
    Fifo(u8),
    Device(u8),
}

fn place(root: &Path, number: u8) -> PathBuf {
    let names = ["a", "b", "c", "d/a", "d/b", "d/e/a", "d", "d/e", "f", "f/a"];
    root.join(names[number as usize % names.len()])
}

fn write(root: &Path, write: &Write) {
    let at = |number: &u8| place(root, *number);
    let bytes = |len: u32, seed: u8| (0..len).map(|n| (n / 7) as u8 ^ seed).collect::<Vec<_>>();
    // A link that leads out of the view would write to the host, and a pipe would wait for its reader: none is opened.
    let plain = |number: &u8| fs::symlink_metadata(at(number)).is_ok_and(|stat| stat.is_file());
    let result = match write {
        Write::File(path, len, seed) if plain(path) || fs::symlink_metadata(at(path)).is_err() => {
            fs::write(at(path), bytes(*len, *seed))
        }
        Write::At(path, offset, seed) if plain(path) => File::options()
            .write(true)
            .open(at(path))
            .and_then(|file| file.write_all_at(&bytes(5000, *seed), u64::from(*offset))),
        Write::Truncate(path, len) if plain(path) => File::options()
            .write(true)
            .open(at(path))
            .and_then(|file| file.set_len(u64::from(*len))),
        Write::Directory(path) => fs::create_dir(at(path)),
        Write::Symlink(path, target) => symlink(place(Path::new(""), *target), at(path)),
        Write::Link(from, to) => fs::hard_link(at(from), at(to)),
        Write::Rename(from, to) => fs::rename(at(from), at(to)),
        Write::Remove(path) => fs::remove_file(at(path)).or_else(|_| fs::remove_dir(at(path))),
        Write::RemoveAll(path) => fs::remove_dir_all(at(path)),
        Write::Chmod(path, mode) if !at(path).is_symlink() => {
            fs::set_permissions(at(path), fs::Permissions::from_mode(u32::from(*mode)))
        }
        Write::Chown(path, id) => lchown(at(path), Some(*id), Some(id / 2)),
        Write::Xattr(path, value) if plain(path) => xattr::set(at(path), OsStr::new("user.test"), &[*value]),
        Write::Fifo(path) => {
            mknod(&at(path), SFlag::S_IFIFO, Mode::from_bits_truncate(0o600), 0).map_err(Into::into)
        }
        Write::Device(path) => {
            mknod(&at(path), SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), 259).map_err(Into::into)
        }
        _ => Ok(()),
    };
    drop(result);
}

/// Sets every time below `root`, children before parents.
fn set_times(root: &Path) {
    if fs::symlink_metadata(root).unwrap().is_dir() {
        for entry in fs::read_dir(root).unwrap() {
            set_times(&entry.unwrap().path());
        }
    }
    let time = TimeSpec::new(1_000_000_000, 7);
    utimensat(
        nix::fcntl::AT_FDCWD,
        root,
        &time,
        &time,
        UtimensatFlags::NoFollowSymlink,
    )
    .unwrap();
}

fn writes() -> impl Arbitrary<Value = Vec<Write>> {
    let path = || 0..10_u8;
    let one = prop_oneof![
        4 => (path(), prop_oneof![0..300_u32, 4000..9000_u32, Just(300_000)], any::<u8>()).prop_map(|(a, b, c)| Write::File(a, b, c)),
        2 => (path(), 0..400_000_u32, any::<u8>()).prop_map(|(a, b, c)| Write::At(a, b, c)),
        1 => (path(), 0..400_000_u32).prop_map(|(a, b)| Write::Truncate(a, b)),
        3 => path().prop_map(Write::Directory),
        1 => (path(), path()).prop_map(|(a, b)| Write::Symlink(a, b)),
        2 => (path(), path()).prop_map(|(a, b)| Write::Link(a, b)),
        2 => (path(), path()).prop_map(|(a, b)| Write::Rename(a, b)),
        1 => path().prop_map(Write::Remove),
        1 => path().prop_map(Write::RemoveAll),
        1 => (path(), 0..0o10000_u16).prop_map(|(a, b)| Write::Chmod(a, b)),
        1 => (path(), 0..3000_u32).prop_map(|(a, b)| Write::Chown(a, b)),
        1 => (path(), any::<u8>()).prop_map(|(a, b)| Write::Xattr(a, b)),
        1 => path().prop_map(Write::Fifo),
        1 => path().prop_map(Write::Device),
    ];
    prop::collection::vec(one, 0..40)
}

fn listing(store: &Arc<dyn Store>, tree: TreeRef) -> Vec<String> {
    let mut lines: Vec<_> = walk::walk(store, tree)
        .map(|found| format!("{:?}", found.unwrap()))
        .collect();
    let root = root::read(&**store, tree.tree).unwrap();
    lines.push(format!("{:?} {:?}", root.meta, root.links));
    lines
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn needs_root_and_fuse_every_strategy_commits_the_same_tree(steps in prop::collection::vec(writes(), 1..4)) {
        let bed = Bed::new();
        let scratch = Snapshot::Stored(root::scratch(&*bed.setup.store).unwrap());
        let mut trees = Vec::new();
        for strategy in STRATEGIES {
            let mut snapshot = scratch.clone();
            for step in &steps {
                // The next step starts before this one is sealed, if the strategy can do that.
                snapshot = bed.step(strategy.name, &snapshot, |root| {
                    for one in step {
                        write(root, one);
                    }
                    set_times(root);
                });
            }
            trees.push(listing(&bed.setup.store, snapshot.sealed().unwrap()));
        }
        for tree in &trees[1..] {
            prop_assert_eq!(&trees[0], tree);
        }
    }
}

#[test]
fn needs_root_a_materialised_tree_scans_back_to_itself() {
    let bed = Bed::new();
    let scratch = Snapshot::Stored(root::scratch(&*bed.setup.store).unwrap());
    let made = bed.step("copy-scan", &scratch, |root| {
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/file"), "x".repeat(200_000)).unwrap();
        fs::hard_link(root.join("d/file"), root.join("link")).unwrap();
        let sparse = File::create(root.join("sparse")).unwrap();
        sparse.write_all_at(b"end", 50_000_000).unwrap();
        symlink("/nowhere", root.join("dangling")).unwrap();
        lchown(root.join("dangling"), Some(5), Some(6)).unwrap();
        fs::set_permissions(root.join("d/file"), fs::Permissions::from_mode(0o4751)).unwrap();
        xattr::set(root.join("d/file"), "security.capability", &capability()).unwrap();
        fs::set_permissions(root.join("d"), fs::Permissions::from_mode(0o2555)).unwrap();
    });
    let tree = made.sealed().unwrap();
    let target = TempDir::new().unwrap();
    materialise::materialise(&bed.setup.store, tree, target.path(), materialise::Owners::Kept).unwrap();
    let again = scan::scan(&*bed.setup.store, target.path()).unwrap();
    assert_eq!(listing(&bed.setup.store, again), listing(&bed.setup.store, tree));
    assert_eq!(again, tree);
    assert!(
        fs::metadata(target.path().join("sparse")).unwrap().blocks() < 1000,
        "holes stay holes"
    );
}

/// `cap_net_raw+ep`, revision 2.
fn capability() -> Vec<u8> {
    let words: [u32; 5] = [0x0200_0001, 1 << 13, 0, 0, 0];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn a_view_that_was_never_mounted_is_its_base() {
    let bed = Bed::new();
    let tree = root::scratch(&*bed.setup.store).unwrap();
    let strategy = strategy("fuse", bed.setup.clone()).unwrap();
    let workspace = strategy.prepare(&Snapshot::Stored(tree)).unwrap();
    assert_eq!(workspace.commit(&[]).unwrap().sealed().unwrap(), tree);
    assert!(super::strategy("none", bed.setup.clone()).is_none());
}

#[test]
fn needs_root_and_fuse_mount_points_that_stayed_empty_are_no_change() {
    let bed = Bed::new();
    let stub = |path: &str, directory| Stub {
        path: path.into(),
        directory,
    };
    let stubs = [
        stub("/etc", true),
        stub("/etc/hosts", false),
        stub("/proc", true),
        stub("/used", true),
        stub("/gone", false),
    ];
    for strategy in STRATEGIES {
        let scratch = Snapshot::Stored(root::scratch(&*bed.setup.store).unwrap());
        let base = bed.step(strategy.name, &scratch, |root| {
            fs::write(root.join("file"), "x").unwrap();
        });
        let made = bed.step_without(strategy.name, &base, &stubs, |root| {
            let before = fs::symlink_metadata(root).unwrap().modified().unwrap();
            for directory in ["etc", "proc", "used"] {
                fs::create_dir(root.join(directory)).unwrap();
            }
            fs::write(root.join("etc/hosts"), "").unwrap();
            fs::write(root.join("used/file"), "").unwrap();
            File::open(root).unwrap().set_modified(before).unwrap();
        });
        let paths: Vec<_> = walk::walk(&bed.setup.store, made.sealed().unwrap())
            .map(|found| found.unwrap().0.to_string())
            .collect();
        assert_eq!(paths, ["/file", "/used", "/used/file"], "{}", strategy.name);
        let only = [stub("/proc", true)];
        let again = bed.step_without(strategy.name, &base, &only, |root| {
            let before = fs::symlink_metadata(root).unwrap().modified().unwrap();
            fs::create_dir(root.join("proc")).unwrap();
            File::open(root).unwrap().set_modified(before).unwrap();
        });
        assert_eq!(
            again.sealed().unwrap(),
            base.sealed().unwrap(),
            "{}",
            strategy.name
        );
    }
}
