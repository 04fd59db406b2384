//! The paragraphs of `SEMANTICS.md` that the random comparison does not reach, one test each.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FallocateFlags, RenameFlags, fallocate, renameat2};
use nix::unistd::{Whence, lseek};

use crate::program::{CAPABILITY, acl, unsafe_map};
use crate::scene::{Scene, sealed_tree};

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Runs a shell command as an ordinary user.
fn as_user(command: &str, dir: &Path) -> (bool, String) {
    let output = Command::new("/bin/sh")
        .args(["-c", command])
        .current_dir(dir)
        .uid(1000)
        .gid(1000)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).trim().to_owned(),
    )
}

#[test]
fn root_and_fuse_an_unlinked_file_lives_while_it_is_open() {
    let scene = Scene::new();
    let base = scene.step(scene.scratch(), |top| {
        fs::write(top.join("old"), vec![1; 300_000]).unwrap()
    });
    let mounted = scene.mount(silt_fuse::Base::Frozen(base));
    let top = &mounted.target;
    for name in ["old", "new"] {
        let path = top.join(name);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .unwrap();
        fs::remove_file(&path).unwrap();
        file.write_all_at(b"still here", 1000).unwrap();
        assert_eq!(file.metadata().unwrap().nlink(), 0);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(&bytes[1000..1010], b"still here");
        // The name is free meanwhile.
        fs::write(&path, "another").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"another");
        assert_ne!(fs::metadata(&path).unwrap().ino(), file.metadata().unwrap().ino());
    }
    let sealed = mounted.finish().seal().unwrap();
    assert_eq!(sealed_tree(&scene.store, sealed).len(), 3);
}

#[test]
fn root_and_fuse_an_unlinked_directory_takes_no_names() {
    let scene = Scene::new();
    let mounted = scene.mount(scene.scratch());
    let dir = mounted.target.join("dir");
    fs::create_dir(&dir).unwrap();
    let held = File::open(&dir).unwrap();
    fs::remove_dir(&dir).unwrap();
    let inside = format!("/proc/self/fd/{}/x", held.as_raw_fd());
    assert_eq!(
        fs::write(inside, "").unwrap_err().raw_os_error(),
        Some(Errno::ENOENT as i32)
    );
}

#[test]
fn root_and_fuse_maps_shared_and_private_are_coherent() {
    let scene = Scene::new();
    let mounted = scene.mount(scene.scratch());
    let path = mounted.target.join("file");
    fs::write(&path, vec![b'a'; 10_000]).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut shared = unsafe_map::shared(&file).unwrap();
    let mut private = unsafe_map::private(&file).unwrap();
    private[1] = b'p';
    shared[0] = b's';
    file.write_all_at(b"w", 2).unwrap();
    assert_eq!(shared[2], b'w');
    let mut byte = [0];
    file.read_exact_at(&mut byte, 0).unwrap();
    assert_eq!(&byte, b"s");
    // Not synced: unmounting writes it back.
    drop((shared, private, file));
    let sealed = mounted.finish().seal().unwrap();
    let mut expected = vec![b'a'; 10_000];
    (expected[0], expected[2]) = (b's', b'w');
    assert_eq!(
        sealed_tree(&scene.store, sealed)["/file"].content,
        crate::scene::digest(&expected)
    );
}

#[test]
fn root_and_fuse_programs_run_from_it() {
    let scene = Scene::new();
    let base = scene.step(scene.scratch(), |top| {
        fs::copy("/bin/true", top.join("true")).unwrap();
        chmod(&top.join("true"), 0o755);
    });
    base.seal().unwrap();
    let mounted = scene.mount(silt_fuse::Base::Frozen(base));
    assert!(
        Command::new(mounted.target.join("true"))
            .status()
            .unwrap()
            .success()
    );
    let script = mounted.target.join("script");
    fs::write(&script, "#!/bin/sh\necho ran\n").unwrap();
    chmod(&script, 0o755);
    assert_eq!(Command::new(&script).output().unwrap().stdout, b"ran\n");
}

#[test]
fn root_and_fuse_unnamed_files_are_refused() {
    let scene = Scene::new();
    let mounted = scene.mount(scene.scratch());
    let error = OpenOptions::new()
        .write(true)
        .custom_flags(nix::libc::O_TMPFILE)
        .open(&mounted.target)
        .unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::EOPNOTSUPP as i32));
    // What programs do then.
    assert!(tempfile::tempfile_in(&mounted.target).is_ok());
}

#[test]
fn root_and_fuse_directories_are_exchanged_with_all_below() {
    let scene = Scene::new();
    let base = scene.step(scene.scratch(), |top| {
        fs::create_dir_all(top.join("a/x/deep")).unwrap();
        fs::create_dir_all(top.join("b/y")).unwrap();
        fs::write(top.join("a/x/deep/file"), "one").unwrap();
        fs::hard_link(top.join("a/x/deep/file"), top.join("b/y/link")).unwrap();
    });
    let sealed = base.seal().unwrap();
    let mounted = scene.mount(silt_fuse::Base::Stored(sealed));
    let top = &mounted.target;
    let ino = fs::metadata(top.join("a/x/deep/file")).unwrap().ino();
    renameat2(
        AT_FDCWD,
        &top.join("a/x"),
        AT_FDCWD,
        &top.join("b"),
        RenameFlags::RENAME_EXCHANGE,
    )
    .unwrap();
    assert_eq!(fs::metadata(top.join("b/deep/file")).unwrap().ino(), ino);
    assert_eq!(fs::metadata(top.join("a/x/y/link")).unwrap().ino(), ino);
    let into_itself = renameat2(
        AT_FDCWD,
        &top.join("a"),
        AT_FDCWD,
        &top.join("a/x/y/z"),
        RenameFlags::empty(),
    );
    assert_eq!(into_itself, Err(Errno::EINVAL));
    let tree = sealed_tree(&scene.store, mounted.finish().seal().unwrap());
    assert_eq!(tree["/b/deep/file"].first, "/a/x/y/link");
    assert_eq!(tree["/b/deep/file"].nlink, 2);
}

#[test]
fn root_and_fuse_holes_are_found_and_kept() {
    let scene = Scene::new();
    let mounted = scene.mount(scene.scratch());
    let path = mounted.target.join("sparse");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .unwrap();
    file.write_all_at(&[1; 4096], 1 << 20).unwrap();
    file.set_len(1 << 30).unwrap();
    assert_eq!(lseek(&file, 0, Whence::SeekData), Ok(1 << 20));
    assert_eq!(lseek(&file, 1 << 20, Whence::SeekHole), Ok((1 << 20) + 4096));
    assert_eq!(lseek(&file, 2 << 20, Whence::SeekData), Err(Errno::ENXIO));
    assert_eq!(lseek(&file, 1 << 30, Whence::SeekHole), Err(Errno::ENXIO));
    assert_eq!(file.metadata().unwrap().blocks(), 8);
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&file, punch, 1 << 20, 4096).unwrap();
    assert_eq!(lseek(&file, 0, Whence::SeekData), Err(Errno::ENXIO));
    file.write_all_at(&[2; 8192], 3 << 20).unwrap();
    drop(file);
    // The base answers for its own holes, sealed and not.
    let frozen = mounted.finish();
    for seal in [false, true] {
        if seal {
            frozen.seal().unwrap();
        }
        let mounted = scene.mount(silt_fuse::Base::Frozen(frozen.clone()));
        let file = File::open(mounted.target.join("sparse")).unwrap();
        assert_eq!(lseek(&file, 0, Whence::SeekData), Ok(3 << 20), "sealed: {seal}");
        // The store knows holes by larger blocks than it was written in.
        let end = lseek(&file, 3 << 20, Whence::SeekHole).unwrap() - (3 << 20);
        assert!(
            (8192..=65_536).contains(&end) && (seal || end == 8192),
            "sealed: {seal}, {end}"
        );
        drop(file);
        mounted.finish();
    }
}

#[test]
fn root_and_fuse_foreign_writes_take_privileges_away() {
    let scene = Scene::new();
    let mounted = scene.mount(scene.scratch());
    let dir = &mounted.target;
    let path = dir.join("file");
    let reset = || {
        fs::write(&path, "content").unwrap();
        chmod(&path, 0o6777);
        xattr::set(&path, "security.capability", &CAPABILITY).unwrap();
    };
    for command in [
        "echo x >> file",
        "echo x > file",
        "truncate -s 3 file",
        "fallocate -l 100 file",
        "dd if=/dev/zero of=file bs=1 count=1 conv=notrunc",
    ] {
        reset();
        let (done, text) = as_user(command, dir);
        assert!(done, "{command}: {text}");
        assert_eq!(mode(&path), 0o777, "{command}");
        assert_eq!(
            xattr::get(&path, "security.capability").unwrap(),
            None,
            "{command}"
        );
    }
    // The host's root keeps setuid by writing, and loses it by giving the file away; setgid without execution is no privilege.
    reset();
    let initial = fs::read_to_string("/proc/self/uid_map")
        .unwrap()
        .contains("4294967295");
    OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"x")
        .unwrap();
    assert_eq!(mode(&path), if initial { 0o6777 } else { 0o777 });
    std::os::unix::fs::chown(&path, Some(1000), None).unwrap();
    assert_eq!(mode(&path), 0o777);
    assert_eq!(xattr::get(&path, "security.capability").unwrap(), None);
    chmod(&path, 0o2664);
    std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    assert_eq!(mode(&path), 0o2664);
}

#[test]
fn root_and_fuse_permissions_are_the_kernels() {
    let scene = Scene::new();
    let mounted = scene.mount(scene.scratch());
    let dir = &mounted.target;
    fs::write(dir.join("secret"), "x").unwrap();
    chmod(&dir.join("secret"), 0o600);
    fs::create_dir(dir.join("sticky")).unwrap();
    chmod(&dir.join("sticky"), 0o1777);
    fs::write(dir.join("sticky/roots"), "x").unwrap();
    assert!(!as_user("cat secret", dir).0);
    assert!(!as_user("touch here", dir).0);
    assert!(!as_user("rm -f sticky/roots", dir).0);
    assert!(!as_user("mv sticky/roots sticky/mine", dir).0);
    assert!(!as_user("chmod 666 secret", dir).0);
    assert!(as_user("echo x > sticky/mine && rm sticky/mine", dir).0);
    fs::write(dir.join("listed"), "x").unwrap();
    chmod(&dir.join("listed"), 0o600);
    xattr::set(
        dir.join("listed"),
        "system.posix_acl_access",
        &acl([6, 4, 0, 4, 0]),
    )
    .unwrap();
    assert!(as_user("cat listed", dir).0, "the ACL lets user 1000 read");
    assert!(!as_user("echo x >> listed", dir).0);
}

#[test]
fn root_and_fuse_setgid_directories_give_their_group_and_default_acls_replace_the_umask() {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    let scene = Scene::new();
    let mounted = scene.mount(scene.scratch());
    let dir = mounted.target.join("dir");
    fs::create_dir(&dir).unwrap();
    std::os::unix::fs::chown(&dir, None, Some(50)).unwrap();
    chmod(&dir, 0o2777);
    let (done, text) = as_user(
        "umask 027; touch file; mkdir sub; ln -s x link; mkfifo pipe",
        &dir,
    );
    assert!(done, "{text}");
    for name in ["file", "sub", "link", "pipe"] {
        assert_eq!(fs::symlink_metadata(dir.join(name)).unwrap().gid(), 50, "{name}");
    }
    assert_eq!((mode(&dir.join("file")), mode(&dir.join("sub"))), (0o640, 0o2750));
    xattr::set(&dir, "system.posix_acl_default", &acl([7, 6, 5, 7, 0])).unwrap();
    fs::write(dir.join("inherits"), "").unwrap();
    assert_eq!(
        mode(&dir.join("inherits")),
        0o660,
        "cut by the requested 0666, not by the umask"
    );
    assert!(
        xattr::get(dir.join("inherits"), "system.posix_acl_access")
            .unwrap()
            .is_some()
    );
    fs::create_dir(dir.join("subdir")).unwrap();
    assert!(
        xattr::get(dir.join("subdir"), "system.posix_acl_default")
            .unwrap()
            .is_some()
    );
}

#[test]
fn root_and_fuse_inode_numbers_survive_forget_and_renames() {
    let scene = Scene::new();
    let base = scene.step(scene.scratch(), |top| {
        fs::create_dir_all(top.join("dir/sub")).unwrap();
        fs::write(top.join("dir/sub/file"), "x").unwrap();
        fs::hard_link(top.join("dir/sub/file"), top.join("link")).unwrap();
        fs::write(top.join("dir/sub/other"), "y").unwrap();
    });
    let mounted = scene.mount(silt_fuse::Base::Frozen(base));
    let top = &mounted.target;
    let inodes = |dir: &str| {
        ["", "/sub", "/sub/file", "/sub/other"]
            .map(|path| fs::metadata(top.join(format!("{dir}{path}"))).unwrap().ino())
    };
    let before = inodes("dir");
    assert_eq!(fs::metadata(top.join("link")).unwrap().ino(), before[2]);
    let listed = fs::read_dir(top.join("dir/sub")).unwrap().map(|entry| {
        let entry = entry.unwrap();
        std::os::unix::fs::DirEntryExt::ino(&entry)
    });
    assert_eq!(
        listed.collect::<std::collections::BTreeSet<_>>(),
        before[2..].iter().copied().collect()
    );
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    assert_eq!(inodes("dir"), before);
    fs::rename(top.join("dir"), top.join("moved")).unwrap();
    fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
    assert_eq!(inodes("moved"), before);
    std::os::unix::fs::chown(top.join("moved/sub/other"), Some(5), None).unwrap();
    assert_eq!(inodes("moved"), before);
}

#[test]
fn root_and_fuse_times_move_as_they_should() {
    let scene = Scene::new();
    let base = scene.step(scene.scratch(), |top| {
        fs::create_dir(top.join("dir")).unwrap();
        fs::write(top.join("dir/file"), "x").unwrap();
        for name in ["dir/file", "dir"] {
            let time = nix::sys::time::TimeSpec::new(1_000_000_000, 7);
            nix::sys::stat::utimensat(
                AT_FDCWD,
                &top.join(name),
                &time,
                &time,
                nix::sys::stat::UtimensatFlags::FollowSymlink,
            )
            .unwrap();
        }
    });
    let mounted = scene.mount(silt_fuse::Base::Frozen(base));
    let (dir, file) = (mounted.target.join("dir"), mounted.target.join("dir/file"));
    let old = |path: &Path| {
        let meta = fs::metadata(path).unwrap();
        (
            meta.mtime() == 1_000_000_000 && meta.mtime_nsec() == 7,
            meta.ctime() == 1_000_000_000,
        )
    };
    assert_eq!((old(&dir), old(&file)), ((true, true), (true, true)));
    fs::read(&file).unwrap();
    chmod(&file, 0o600);
    assert_eq!(
        (old(&dir), old(&file)),
        ((true, true), (true, false)),
        "chmod is no change of content"
    );
    fs::write(&file, "y").unwrap();
    assert_eq!((old(&dir), old(&file)), ((true, true), (false, false)));
    symlink("x", dir.join("link")).unwrap();
    assert_eq!(old(&dir), (false, false));
}

#[test]
fn root_and_fuse_statfs_is_the_staging_disks() {
    let scene = Scene::new();
    let mounted = scene.mount(scene.scratch());
    let here = nix::sys::statvfs::statvfs(&mounted.target).unwrap();
    let disk = nix::sys::statvfs::statvfs(scene.dir.path()).unwrap();
    assert_eq!((here.blocks(), here.name_max()), (disk.blocks(), 255));
}

#[test]
fn root_and_fuse_names_have_255_bytes_at_most() {
    let scene = Scene::new();
    let mounted = scene.mount(scene.scratch());
    fs::write(mounted.target.join("x".repeat(255)), "").unwrap();
    for result in [
        fs::write(mounted.target.join("x".repeat(256)), ""),
        fs::read(mounted.target.join("x".repeat(256))).map(drop),
    ] {
        assert_eq!(
            result.unwrap_err().raw_os_error(),
            Some(Errno::ENAMETOOLONG as i32)
        );
    }
}

#[test]
fn root_and_fuse_locks_hold_between_processes() {
    let scene = Scene::new();
    let mounted = scene.mount(scene.scratch());
    let path = mounted.target.join("lock");
    let file = File::create(&path).unwrap();
    file.lock().unwrap();
    assert!(
        !Command::new("flock")
            .args(["-n", path.to_str().unwrap(), "true"])
            .status()
            .unwrap()
            .success()
    );
    file.unlock().unwrap();
    assert!(
        Command::new("flock")
            .args(["-n", path.to_str().unwrap(), "true"])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn root_and_fuse_a_read_only_mount_refuses_changes() {
    let scene = Scene::new();
    let base = scene.step(scene.scratch(), |top| fs::write(top.join("file"), "x").unwrap());
    let options = silt_fuse::Options {
        read_only: true,
        ..scene.options()
    };
    let mounted = scene.mount_with(silt_fuse::Base::Frozen(base), options);
    assert_eq!(fs::read(mounted.target.join("file")).unwrap(), b"x");
    let error = fs::write(mounted.target.join("file"), "y").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::EROFS as i32));
}
