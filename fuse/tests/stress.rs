//! Many names, many threads, little memory, a full disk.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use silt_fuse::{Base, Options};

use crate::program::Random;
use crate::scene::{Scene, sealed_tree, tree};

#[test]
fn root_and_fuse_a_directory_of_50k_names() {
    const COUNT: usize = 50_000;
    let scene = Scene::new();
    let base = scene.step(scene.scratch(), |top| {
        for at in 0..COUNT {
            nix::sys::stat::mknod(
                &top.join(format!("name-{at:05}")),
                nix::sys::stat::SFlag::S_IFREG,
                Mode::S_IRUSR,
                0,
            )
            .unwrap();
        }
    });
    base.seal().unwrap();
    let mounted = scene.mount(Base::Frozen(base));
    let top = &mounted.target;
    assert_eq!(fs::read_dir(top).unwrap().count(), COUNT);
    // Names removed and made while a listing runs: each other one is listed exactly once.
    let mut seen = std::collections::BTreeMap::new();
    for (at, entry) in fs::read_dir(top).unwrap().enumerate() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        *seen.entry(name).or_insert(0) += 1;
        if at % 100 == 0 && at / 100 < 200 {
            fs::remove_file(top.join(format!("name-{:05}", at / 100))).unwrap();
            fs::write(top.join(format!("new-{at}")), "").unwrap();
        }
    }
    assert!((200..COUNT).all(|at| seen.get(&format!("name-{at:05}")) == Some(&1)));
    assert!(seen.values().all(|count| *count == 1));
    assert_eq!(fs::read_dir(top).unwrap().count(), COUNT);
    let frozen = mounted.finish();
    assert_eq!(frozen.changes().removed, 200);
    assert_eq!(sealed_tree(&scene.store, frozen.seal().unwrap()).len(), COUNT + 1);
}

#[test]
fn root_and_fuse_threads_work_side_by_side() {
    let scene = Scene::new();
    let mounted = scene.mount(scene.scratch());
    let top = &mounted.target;
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            scope.spawn(move || {
                let mut random = Random(thread + 1);
                let own = top.join(format!("own-{thread}"));
                fs::create_dir(&own).unwrap();
                for at in 0..400 {
                    let file = own.join(format!("{}", random.below(40)));
                    match random.below(5) {
                        0 => drop(fs::remove_file(&file)),
                        1 => drop(fs::rename(
                            &file,
                            top.join(format!("common-{}", random.below(20))),
                        )),
                        2 => drop(fs::hard_link(
                            top.join(format!("common-{}", random.below(20))),
                            &file,
                        )),
                        3 => assert!(fs::read_dir(top).unwrap().all(|entry| entry.is_ok())),
                        _ => {
                            let len = random.below(30_000) as usize;
                            let bytes = random.bytes(len);
                            fs::write(&file, &bytes).unwrap();
                            assert_eq!(fs::metadata(&file).unwrap().len(), bytes.len() as u64, "{at}");
                        }
                    }
                }
            });
        }
        let shared = fs::File::create(top.join("shared")).unwrap();
        for thread in 0..2_u8 {
            let shared = shared.try_clone().unwrap();
            scope.spawn(move || {
                for at in 0..500_u64 {
                    shared
                        .write_all_at(&[thread + 1; 1000], (at * 2 + u64::from(thread)) * 1000)
                        .unwrap();
                }
            });
        }
    });
    let bytes = fs::read(top.join("shared")).unwrap();
    assert!(
        bytes
            .chunks(1000)
            .enumerate()
            .all(|(at, chunk)| chunk.iter().all(|byte| usize::from(*byte) == at % 2 + 1))
    );
    let seen = tree(top);
    let sealed = mounted.finish().seal().unwrap();
    crate::scene::assert_same(&sealed_tree(&scene.store, sealed), &seen, "sealed");
}

#[test]
fn root_and_fuse_large_files_need_little_memory_and_give_their_space_back() {
    let scene = Scene::new();
    let options = Options {
        max_dirty_memory: 1 << 20,
        ..scene.options()
    };
    let mounted = scene.mount_with(scene.scratch(), options);
    let path = mounted.target.join("big");
    let mut file = fs::File::create(&path).unwrap();
    let block: Vec<u8> = (0..1 << 20).map(|at: u32| ((at * 7) >> 3) as u8).collect();
    for _ in 0..64 {
        file.write_all(&block).unwrap();
    }
    // Overwritten in place, and in parts.
    for at in 0..64_u64 {
        file.write_all_at(&[at as u8; 100], at << 20).unwrap();
    }
    drop(file);
    let used = || {
        nix::sys::statvfs::statvfs(scene.dir.path())
            .map(|disk| disk.blocks_free() * disk.fragment_size())
            .unwrap()
    };
    let bytes = fs::read(&path).unwrap();
    assert_eq!(bytes.len(), 64 << 20);
    assert!((0..64).all(|at| bytes[at << 20..][..100] == [at as u8; 100]
        && bytes[(at << 20) + 100..][..1000] == block[100..1100]));
    let before = used();
    fs::remove_file(&path).unwrap();
    // FORGET is asynchronous.
    for _ in 0..100 {
        if used() >= before + (48 << 20) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!(
        "an unlinked file keeps its staging space: {} free before, {} after",
        before,
        used()
    );
}

#[test]
fn root_and_fuse_a_full_staging_disk_is_the_writers_error() {
    let scene = Scene::new();
    let staging = scene.dir.path().join("staging");
    mount(
        Some("tmpfs"),
        &staging,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("size=4m"),
    )
    .unwrap();
    let options = Options {
        max_dirty_memory: 0,
        ..scene.options()
    };
    let mounted = scene.mount_with(scene.scratch(), options);
    let path = mounted.target.join("big");
    let error = fs::write(&path, vec![1; 16 << 20]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::ENOSPC as i32));
    fs::remove_file(&path).unwrap();
    for _ in 0..100 {
        if fs::write(mounted.target.join("small"), vec![2; 1 << 20]).is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let frozen = mounted.finish();
    let tree = sealed_tree(&scene.store, frozen.seal().unwrap());
    assert_eq!(tree["/small"].size, 1 << 20);
}

#[test]
fn root_and_fuse_directories_may_be_very_deep() {
    let scene = Scene::new();
    let frozen = scene.step(scene.scratch(), |top| {
        let mut dir: std::os::fd::OwnedFd = fs::File::open(top).unwrap().into();
        for _ in 0..3000 {
            nix::sys::stat::mkdirat(&dir, "d", Mode::S_IRWXU).unwrap();
            dir = openat(&dir, "d", OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        }
        openat(&dir, "file", OFlag::O_CREAT, Mode::S_IRUSR).unwrap();
    });
    assert_eq!(frozen.changes().written, 3001);
    frozen.seal().unwrap();
    let again = scene.step(Base::Frozen(frozen), |top| assert!(top.join("d/d/d/d").exists()));
    again.seal().unwrap();
}

#[test]
fn root_and_fuse_a_large_base_costs_nothing_until_it_is_touched() {
    let scene = Scene::new();
    let base = scene.step(scene.scratch(), |top| {
        for dir in 0..100 {
            fs::create_dir(top.join(format!("{dir}"))).unwrap();
            for file in 0..100 {
                fs::write(top.join(format!("{dir}/{file}")), "x").unwrap();
            }
        }
    });
    let sealed = base.seal().unwrap();
    let mounted = scene.mount(Base::Stored(sealed));
    assert_eq!(fs::read(mounted.target.join("50/50")).unwrap(), b"x");
    assert!(
        mounted.session().inodes() <= 3,
        "{} inodes",
        mounted.session().inodes()
    );
    assert_eq!(tree(&mounted.target).len(), 10_101);
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(
        mounted.session().inodes() < 1000,
        "{} inodes after the kernel forgot them",
        mounted.session().inodes()
    );
    assert_eq!(
        fs::metadata(mounted.target.join("50/50")).unwrap().mode() & 0o777,
        0o644
    );
    assert_eq!(mounted.finish().seal().unwrap(), sealed);
}

#[test]
fn root_and_fuse_killed_processes_leave_a_tree_that_freezes() {
    let scene = Scene::new();
    let base = scene.step(scene.scratch(), |top| {
        fs::create_dir(top.join("source")).unwrap();
        for at in 0..50 {
            fs::write(top.join(format!("source/{at}")), vec![at; 20_000]).unwrap();
        }
    });
    for _ in 0..5 {
        let mounted = scene.mount(Base::Frozen(std::sync::Arc::clone(&base)));
        let script = "while :; do cp -a source copy-$0; rm -rf old-$0; mv copy-$0 old-$0; done";
        let mut children: Vec<_> = (0..4)
            .map(|at| {
                let mut command = std::process::Command::new("/bin/sh");
                command
                    .args(["-c", script, &at.to_string()])
                    .current_dir(&mounted.target)
                    .stderr(std::process::Stdio::null());
                std::os::unix::process::CommandExt::process_group(&mut command, 0)
                    .spawn()
                    .unwrap()
            })
            .collect();
        std::thread::sleep(std::time::Duration::from_millis(300));
        for child in &children {
            let group = nix::unistd::Pid::from_raw(child.id() as i32);
            nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
        for child in &mut children {
            child.wait().unwrap();
        }
        let frozen = mounted.finish_lazily();
        let tree = sealed_tree(&scene.store, frozen.seal().unwrap());
        assert!(
            (0..50)
                .all(|at| tree[&format!("/source/{at}")].content == crate::scene::digest(&vec![at; 20_000]))
        );
    }
}

#[test]
fn root_and_fuse_a_dropped_session_refuses_changes_and_its_mount_can_go() {
    let scene = Scene::new();
    let mut mounted = scene.mount(scene.scratch());
    fs::write(mounted.target.join("file"), "x").unwrap();
    mounted.drop_session();
    assert!(fs::write(mounted.target.join("other"), "x").is_err());
    crate::scene::unmount(&mounted.target);
}
