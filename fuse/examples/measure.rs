//! What operations cost: on a mount of ours, or on a directory given as argument (tmpfs, ext4, overlayfs) to compare with.
//!
//! `cargo run --release -p silt-fuse --example measure -- [--threads N] [--tar FILE] [DIR | --chroot COMMAND --add DIR]`; needs root.
//! With `--chroot` the tar (a root filesystem, and the added directory as /added) is the base, and the command is timed in it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::pedantic,
    reason = "a program for the terminal"
)]

use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use silt_fuse::{Base, Options, Session, mount_at, open_device};
use silt_store::{MemoryStore, Store, root};

const COUNT: usize = 5000;

fn timed(what: &str, count: usize, run: impl FnOnce()) {
    let start = Instant::now();
    run();
    let took = start.elapsed();
    println!(
        "{what:32} {:9.1} µs each {:9.3} s",
        took.as_secs_f64() * 1e6 / count as f64,
        took.as_secs_f64()
    );
}

fn drop_caches() {
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
}

fn operations(top: &Path) {
    let dir = top.join("files");
    fs::create_dir(&dir).unwrap();
    let files: Vec<PathBuf> = (0..COUNT).map(|at| dir.join(format!("file-{at}"))).collect();
    let each = |run: &dyn Fn(&Path)| files.iter().for_each(|path| run(path));
    timed("create + 4K + close", COUNT, || {
        each(&|path| fs::write(path, [1; 4096]).unwrap())
    });
    timed("chmod", COUNT, || {
        each(&|path| fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap())
    });
    drop_caches();
    timed("stat, kernel knows nothing", COUNT, || {
        each(&|path| assert!(fs::metadata(path).is_ok()))
    });
    timed("stat, cached", COUNT, || {
        each(&|path| assert!(fs::metadata(path).is_ok()))
    });
    drop_caches();
    timed("open + read + close", COUNT, || {
        each(&|path| drop(fs::read(path).unwrap()))
    });
    timed("open + read + close, cached", COUNT, || {
        each(&|path| drop(fs::read(path).unwrap()))
    });
    timed("list", COUNT, || assert!(fs::read_dir(&dir).unwrap().count() > 0));
    timed("rename", COUNT, || {
        each(&|path| fs::rename(path, path.with_extension("new")).unwrap())
    });
    timed("unlink", COUNT, || {
        each(&|path| fs::remove_file(path.with_extension("new")).unwrap())
    });
}

fn real(top: &Path, tar: &str) {
    let tree = top.join("tree");
    fs::create_dir(&tree).unwrap();
    timed("untar", 1, || {
        assert!(
            Command::new("tar")
                .args(["-xf", tar, "-C"])
                .arg(&tree)
                .status()
                .unwrap()
                .success()
        );
    });
    let status = fs::read_to_string("/proc/self/status").unwrap();
    println!(
        "{}",
        status.lines().find(|line| line.starts_with("VmRSS")).unwrap()
    );
    timed("find -type f", 1, || {
        assert!(
            Command::new("find")
                .arg(&tree)
                .args(["-type", "f", "-newer", "/proc/1"])
                .output()
                .unwrap()
                .status
                .success()
        );
    });
    timed("read all (tar c)", 1, || {
        let output = fs::File::create("/dev/null").unwrap();
        Command::new("tar")
            .args(["-cf", "-", "-C"])
            .arg(&tree)
            .arg(".")
            .stdout(output)
            .status()
            .unwrap();
    });
}

fn remove(top: &Path) {
    timed("rm -rf", 1, || {
        assert!(
            Command::new("rm")
                .arg("-rf")
                .arg(top.join("tree"))
                .status()
                .unwrap()
                .success()
        );
    });
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (mut threads, mut tar, mut dir) = (2, "/var/cache/silt-build/bookworm.tar".to_owned(), None);
    let (mut command, mut added) = (None, None);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--threads" => threads = args.next().unwrap().parse().unwrap(),
            "--tar" => tar = args.next().unwrap(),
            "--chroot" => command = args.next(),
            "--add" => added = args.next(),
            _ => dir = Some(PathBuf::from(arg)),
        }
    }
    if let Some(dir) = dir {
        operations(&dir);
        real(&dir, &tar);
        return remove(&dir);
    }
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .unwrap();
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("mnt");
    fs::create_dir(&target).unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let step = |base: Base, run: &dyn Fn(&Path)| {
        let options = Options {
            staging: place.path().to_owned(),
            threads,
            max_dirty_memory: 64 << 20,
            trace: false,
            read_only: false,
        };
        let start = Instant::now();
        let device = open_device().unwrap();
        let path = CString::new(target.as_os_str().as_bytes()).unwrap();
        mount_at(device.as_fd(), &path, false).unwrap();
        let session = Session::start(device, Arc::clone(&store), base, options).unwrap();
        fs::metadata(&target).unwrap();
        println!(
            "{:32} {:9.1} µs",
            "mount and first stat",
            start.elapsed().as_secs_f64() * 1e6
        );
        run(&target);
        let messages = session.messages();
        let start = Instant::now();
        umount2(&target, MntFlags::empty()).unwrap();
        let unmounted = start.elapsed();
        let frozen = Arc::new(session.finish().unwrap());
        let done = start.elapsed();
        println!(
            "{:32} {:9.1} µs, with umount's {:.1}",
            "finish",
            done.as_secs_f64() * 1e6,
            unmounted.as_secs_f64() * 1e6
        );
        println!("messages: {messages:?}\n{:?}", frozen.changes());
        frozen
    };
    if let Some(command) = command {
        let base = step(Base::Stored(root::scratch(&*store).unwrap()), &|top| {
            assert!(
                Command::new("tar")
                    .args(["-xf", &tar, "-C"])
                    .arg(top)
                    .status()
                    .unwrap()
                    .success()
            );
            if let Some(added) = &added {
                assert!(
                    Command::new("cp")
                        .arg("-a")
                        .arg(added)
                        .arg(top.join("added"))
                        .status()
                        .unwrap()
                        .success()
                );
            }
        });
        timed("seal", 1, || assert!(base.seal().is_ok()));
        let done = step(Base::Frozen(base), &|top| {
            timed("command", 1, || {
                let status = Command::new("chroot")
                    .arg(top)
                    .args(["/bin/sh", "-c", &command])
                    .status()
                    .unwrap();
                println!("{status}");
            });
        });
        return timed("seal", 1, || assert!(done.seal().is_ok()));
    }
    step(Base::Stored(root::scratch(&*store).unwrap()), &operations);
    let frozen = step(Base::Stored(root::scratch(&*store).unwrap()), &|top| {
        real(top, &tar)
    });
    timed("seal", 1, || assert!(frozen.seal().is_ok()));
    step(Base::Frozen(Arc::clone(&frozen)), &|top| {
        timed("chown -R", 1, || {
            assert!(
                Command::new("chown")
                    .args(["-R", "7:7"])
                    .arg(top.join("tree"))
                    .status()
                    .unwrap()
                    .success()
            )
        });
    });
    step(Base::Frozen(frozen), &remove);
}
