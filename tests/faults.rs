//! What breaks under a build: a full disk, an engine killed in a RUN and in a commit. Afterwards the store opens, earlier images
//! are intact, and no mount is left.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::scene::{Family, Scene, debian, finish, run, silt, tool, wait_until};

fn start_build(scene: &Scene, name: &str, dockerfile: &str) -> Child {
    let context = scene.context(name, dockerfile);
    let mut command = scene.command([
        "build".as_ref(),
        "-t".as_ref(),
        name.as_ref(),
        context.as_os_str(),
    ]);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// After the engine died: no process, no mount, and the next command just works on what was there.
fn recovered(scene: &Scene, family: &Family) {
    let gone = wait_until(Duration::from_secs(10), || {
        family.alive().is_empty() && scene.mounts().is_empty()
    });
    assert!(gone, "left: {:#?} {:#?}", family.alive(), scene.mounts());
    assert_eq!(scene.shell("debian", "dpkg --audit && echo intact"), "intact\n");
    assert_eq!(
        scene.shell("earlier", "cat /made | md5sum"),
        scene.shell("earlier", "cat /sum")
    );
}

fn with_an_earlier_image() -> Scene {
    let scene = Scene::debian();
    let context = scene.context(
        "earlier",
        "FROM debian\nRUN head -c 3000000 /dev/urandom > /made && cat /made | md5sum > /sum\n",
    );
    scene.build("earlier", &context);
    scene
}

#[test]
fn the_engine_is_killed_in_a_run() {
    let scene = with_an_earlier_image();
    let steps = "FROM debian\nRUN head -c 50000000 /dev/urandom > /big\nRUN echo started; sleep 1001\n";
    let building = start_build(&scene, "killed", steps);
    let sleeping = wait_until(Duration::from_mins(1), || scene.family().runs("sleep 1001"));
    assert!(sleeping, "the step runs");
    let family = scene.kill_engine();
    finish(building, "silt build").fails(125, &["engine"]);
    recovered(&scene, &family);
    scene.silt(["inspect", "killed"]).fails(1, &["killed"]);
}

/// Many kills spread over a build whose steps are short and whose commits are large.
#[test]
fn the_engine_is_killed_in_commits() {
    let scene = with_an_earlier_image();
    let step = |n| format!("RUN head -c 20000000 /dev/urandom > /file{n} && cp -r /usr/share/perl /perl{n}");
    let steps = (0..12).map(step).collect::<Vec<_>>().join(
        "
",
    );
    for round in 0..6_u64 {
        let building = start_build(
            &scene,
            "killed",
            &format!("FROM debian\nENV ROUND={round}\n{steps}"),
        );
        assert!(wait_until(Duration::from_secs(10), || scene.engine().is_some()));
        std::thread::sleep(Duration::from_millis(150 + round * 170));
        let family = scene.kill_engine();
        let ended = finish(building, "silt build");
        assert!(ended.status == 125, "killed while it built: {ended}");
        recovered(&scene, &family);
    }
    // What the killed builds left in the cache is whole, too.
    let context = scene.context(
        "killed",
        &format!("FROM debian\nENV ROUND=0\n{steps}\nRUN cat /file* /perl*/*/*.p* | wc -c\n"),
    );
    scene.build("after", &context);
    scene.shell("after", "cat /file* | wc -c");
}

/// A tmpfs of its own, unmounted when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a Path, megabytes: u32) -> Self {
        fs::create_dir_all(path).unwrap();
        tool(
            "mount",
            [
                "-t",
                "tmpfs",
                "-o",
                &format!("size={megabytes}m"),
                "tmpfs",
                path.to_str().unwrap(),
            ],
        );
        Self(path)
    }
}

impl SmallDisk<'_> {
    /// What a failed step wrote is given up soon after its command says that it failed.
    fn has_room_again(&self) {
        let free = || {
            let disk = nix::sys::statvfs::statvfs(self.0).unwrap();
            disk.blocks_available() * disk.fragment_size()
        };
        assert!(
            wait_until(Duration::from_secs(20), || free() > 30_000_000),
            "{} bytes free",
            free()
        );
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The test failed before it stopped the engine that has files open here.
            let store = self.0.join("store");
            run(std::process::Command::new(silt())
                .env("SILT_STORE", store)
                .args(["engine", "stop"]));
        }
        let unmounted = run(std::process::Command::new("umount").arg(self.0));
        assert!(std::thread::panicking() || unmounted.status == 0, "{unmounted}");
    }
}

#[test]
fn the_disk_is_full() {
    let scene = Scene::empty();
    let folder = scene.path("disk");
    let disk = SmallDisk::mount(&folder, 420);
    let store = folder.join("store");
    debian::copy_store(&store);
    let silt = |arguments: &[&str]| {
        run(std::process::Command::new(silt())
            .env("SILT_STORE", &store)
            .args(arguments))
    };

    let small = scene.context("small", "FROM debian\nRUN echo made > /made\n");
    silt(&["build", "-t", "earlier", small.to_str().unwrap()]).ok();
    let big = scene.context("big", "FROM debian\nRUN head -c 600000000 /dev/urandom > /big\n");
    let failed = silt(&["build", "-t", "big", big.to_str().unwrap()]);
    assert!(failed.status == 1 || failed.status == 125, "{failed}");
    assert!(failed.stderr.to_lowercase().contains("no space"), "{failed}");

    disk.has_room_again();
    // Enough was given back to go on, also for an engine that opens the store anew.
    assert_eq!(
        silt(&["run", "--rm", "earlier", "cat", "/made"]).ok().stdout,
        "made\n"
    );
    silt(&["engine", "stop"]).ok();
    assert_eq!(
        silt(&["run", "--rm", "earlier", "cat", "/made"]).ok().stdout,
        "made\n"
    );
    silt(&["inspect", "big"]).fails(1, &["big"]);
    silt(&["build", "-t", "next", small.to_str().unwrap()]).ok();

    // A context that does not fit.
    scene.write("small/data", vec![0x5a; 1000]);
    let noise = run(std::process::Command::new("sh")
        .args(["-c", "head -c 500000000 /dev/urandom > data"])
        .current_dir(&small));
    noise.ok();
    fs::write(small.join("Dockerfile"), "FROM debian\nCOPY data /\n").unwrap();
    let failed = silt(&["build", "-t", "big", small.to_str().unwrap()]);
    assert!(failed.status == 1 || failed.status == 125, "{failed}");
    assert!(failed.stderr.to_lowercase().contains("no space"), "{failed}");
    disk.has_room_again();
    assert_eq!(
        silt(&["run", "--rm", "earlier", "cat", "/made"]).ok().stdout,
        "made\n"
    );
    silt(&["engine", "stop"]).ok();
    drop(disk);
}

/// What containers log and write is in the store's directory, and the store must open and forget them again.
#[test]
fn containers_fill_the_disk() {
    let scene = Scene::empty();
    let folder = scene.path("disk");
    let disk = SmallDisk::mount(&folder, 420);
    let store = folder.join("store");
    debian::copy_store(&store);
    let silt = |arguments: &[&str]| {
        run(std::process::Command::new(silt())
            .env("SILT_STORE", &store)
            .args(arguments))
    };

    // A filesystem that cannot be kept is not passed over in silence.
    let noise = "head -c 600000000 /dev/urandom > /noise; exit 0";
    silt(&["run", "--name", "large", "debian", "sh", "-c", noise]).fails(125, &["no space"]);
    silt(&["rm", "large"]).ok();
    disk.has_room_again();

    // Less than the most that a log keeps.
    let stat = nix::sys::statvfs::statvfs(&folder).unwrap();
    let free = stat.blocks_available() * stat.fragment_size();
    let ballast = fs::File::create(folder.join("ballast")).unwrap();
    let taken = free.saturating_sub(100 << 20).max(1) as i64;
    nix::fcntl::posix_fallocate(&ballast, 0, taken).unwrap();
    drop(ballast);
    let noise = "exec base64 /dev/urandom";
    silt(&["run", "-d", "--name", "loud", "debian", "sh", "-c", noise]).ok();
    let full = wait_until(Duration::from_mins(1), || {
        silt(&["logs", "--tail", "1", "loud"])
            .stderr
            .contains("nothing was logged")
    });
    assert!(full, "the log says that it ends");
    let status: serde_json::Value =
        serde_json::from_str(&silt(&["--json", "engine", "status"]).ok().stdout).unwrap();
    let engine = nix::unistd::Pid::from_raw(status["Pid"].as_i64().unwrap() as i32);
    nix::sys::signal::kill(engine, nix::sys::signal::Signal::SIGKILL).unwrap();
    silt(&["rm", "-f", "loud"]).ok();
    silt(&["run", "--rm", "debian", "dpkg", "--audit"]).ok();
    silt(&["engine", "stop"]).ok();
    drop(disk);
}
