//! `silt build` and the commands around it, on a real Debian base, by the program's own output and exit status.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::scene::{Scene, checkout, finish, wait_until};

#[test]
fn an_image_is_built_tagged_run_and_removed() {
    let scene = Scene::debian();
    let context = scene.context(
        "app",
        "FROM debian\nRUN echo made > /made\nENV WHO=silt\nCMD [\"cat\", \"/made\"]\n",
    );
    scene
        .silt([
            "build".as_ref(),
            "-t".as_ref(),
            "app:1".as_ref(),
            "-t".as_ref(),
            "app".as_ref(),
            context.as_os_str(),
        ])
        .ok();
    assert_eq!(scene.id("app:1"), scene.id("app"));
    assert_eq!(scene.silt(["run", "--rm", "app"]).ok().stdout, "made\n");
    assert_eq!(scene.shell("app", "echo $WHO"), "silt\n");

    let images = scene.silt(["images"]).ok().stdout;
    assert!(images.contains("app") && images.contains("debian"), "{images}");
    let history = scene.silt(["history", "app"]).ok().stdout;
    assert!(
        history.contains("RUN") && history.contains("echo made > /made"),
        "{history}"
    );
    let diff = scene.silt(["diff", "app"]).ok().stdout;
    assert!(diff.contains("A /made"), "{diff}");

    scene.silt(["tag", "app:1", "other:2"]).ok();
    scene.silt(["rmi", "app:1", "app"]).ok();
    assert_eq!(scene.silt(["run", "--rm", "other:2"]).ok().stdout, "made\n");
    scene.silt(["rmi", "other:2"]).ok();
    scene.silt(["inspect", "other:2"]).fails(1, &["other:2"]);
}

#[test]
fn a_rebuild_comes_from_the_cache_and_has_the_same_id() {
    let scene = Scene::debian();
    let context = scene.context(
        "app",
        "FROM debian\nWORKDIR /w\nCOPY . .\nRUN cat file > /copy && date +%N > /when\nRUN true\n",
    );
    scene.write("app/file", "one\n");
    scene.build("app", &context);
    let first = scene.id("app");
    scene.build("app", &context);
    assert_eq!(scene.id("app"), first, "an unchanged context");

    // Times and owners are no content.
    scene.write("app/file", "one\n");
    scene.build("app", &context);
    assert_eq!(scene.id("app"), first, "a touched file");

    scene.write("app/file", "two\n");
    scene.build("app", &context);
    assert_ne!(scene.id("app"), first, "a changed file");
    assert_eq!(scene.shell("app", "cat /copy"), "two\n");
    scene.write("app/file", "one\n");
    scene.build("app", &context);
    assert_eq!(scene.id("app"), first, "the file as it was");

    let no_cache = scene.silt([
        "build".as_ref(),
        "--no-cache".as_ref(),
        "-t".as_ref(),
        "app".as_ref(),
        context.as_os_str(),
    ]);
    no_cache.ok();
    assert_ne!(scene.id("app"), first, "--no-cache ran the step again");
}

#[test]
fn a_failing_step_is_named_shown_and_left_open_to_look_at() {
    let scene = Scene::debian();
    let context = scene.context(
        "bad",
        "FROM debian\nRUN echo before > /evidence\nRUN echo trouble >&2; exit 7\nRUN true\n",
    );
    let failed = scene
        .silt(["build".as_ref(), context.as_os_str()])
        .fails(1, &["trouble", "exit 7", "3"]);
    assert!(
        failed.stderr.contains("silt shell"),
        "how to open the failed step: {failed}"
    );
}

#[test]
fn the_examples_build_and_run() {
    let scene = Scene::debian();
    let examples = checkout().join("examples");
    scene.build("primes", &examples.join("c-project"));
    assert_eq!(
        scene.silt(["run", "--rm", "primes", "primes", "20"]).ok().stdout,
        "2\n3\n5\n7\n11\n13\n17\n19\n"
    );

    scene.build("hello", &examples.join("multi-stage"));
    assert_eq!(
        scene.silt(["run", "--rm", "hello"]).ok().stdout,
        "hello, world, from version 1.0\n"
    );
    let out = scene.path("out");
    let output = format!("type=local,dest={}", out.display());
    scene
        .silt([
            "build".as_ref(),
            "--output".as_ref(),
            output.as_ref(),
            examples.join("multi-stage").as_os_str(),
        ])
        .ok();
    let mut names: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["hello", "usr"],
        "nothing but what was copied from the stages"
    );
}

#[test]
fn two_builds_at_once_share_one_store() {
    let scene = Scene::debian();
    let contexts = ["one", "two", "three"].map(|name| {
        scene.context(
            name,
            &format!("FROM debian\nRUN sleep 0.5 && echo {name} > /name\nCMD [\"cat\", \"/name\"]\n"),
        )
    });
    let building = ["one", "two", "three"]
        .iter()
        .zip(&contexts)
        .map(|(name, context)| {
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
        });
    for child in building.collect::<Vec<_>>() {
        finish(child, "silt build").ok();
    }
    for name in ["one", "two", "three"] {
        assert_eq!(scene.silt(["run", "--rm", name]).ok().stdout, format!("{name}\n"));
    }
}

#[test]
fn run_passes_on_what_docker_run_does() {
    let scene = Scene::debian();
    let run = |arguments: &[&str]| scene.silt([&["run", "--rm"], arguments].concat());
    assert_eq!(run(&["debian", "sh", "-c", "exit 9"]).status, 9);
    assert_eq!(run(&["debian", "no-such-program"]).status, 127);
    assert_eq!(run(&["debian", "/etc/passwd"]).status, 126);
    assert_eq!(
        run(&["debian", "sh", "-c", "sh -c 'kill -TERM $$'; exit $?"]).status,
        143
    );
    assert_eq!(
        run(&[
            "-e",
            "A=b",
            "-w",
            "/tmp",
            "-u",
            "1:2",
            "debian",
            "sh",
            "-c",
            "echo $A $PWD $(id -u) $(id -g)"
        ])
        .ok()
        .stdout,
        "b /tmp 1 2\n"
    );
    let shared = scene.write("shared/file", "from the host\n");
    let volume = format!("{}:/mnt", shared.parent().unwrap().display());
    assert_eq!(
        run(&["-v", &volume, "debian", "cat", "/mnt/file"]).ok().stdout,
        "from the host\n"
    );
    assert_eq!(
        run(&["--network", "none", "debian", "sh", "-c", "ls /sys/class/net"])
            .ok()
            .stdout,
        "lo\n"
    );
}

#[test]
fn a_container_finds_its_images_volumes() {
    let scene = Scene::debian();
    let context = scene.context("volumes", "FROM debian\nVOLUME /data/deep /etc\n");
    scene.build("volumes", &context);
    let shown = scene.shell("volumes", "stat -c '%u %g %a %F' /data/deep");
    assert_eq!(shown, "0 0 755 directory\n");
    // A mount of the caller's comes first.
    let file = scene.write("file", "from the host\n");
    let mount = format!("{}:/data/deep", file.parent().unwrap().display());
    let seen = scene.silt(["run", "--rm", "-v", &mount, "volumes", "cat", "/data/deep/file"]);
    assert_eq!(seen.ok().stdout, "from the host\n");
}

#[test]
fn an_id_file_is_made_before_its_container() {
    let scene = Scene::debian();
    let file = scene.path("id");
    let silt = |command| {
        let file = file.to_str().unwrap();
        scene.silt(["run", "--rm", "--cidfile", file, "debian", command])
    };
    silt("no-such-program").fails(127, &[]);
    std::fs::remove_file(&file).ok();
    silt("true").ok();
    assert_eq!(std::fs::read_to_string(&file).unwrap().len(), 64);
    // It may be that of another container, which is not run over.
    silt("true").fails(125, &["exists"]);
}

#[test]
fn a_container_runs_in_the_background_and_is_committed() {
    let scene = Scene::debian();
    scene
        .silt([
            "run",
            "-d",
            "--name",
            "busy",
            "debian",
            "sh",
            "-c",
            "echo ready; echo kept > /kept; exec sleep 1002",
        ])
        .ok();
    assert!(wait_until(Duration::from_secs(20), || scene
        .silt(["logs", "busy"])
        .stdout
        .contains("ready")));
    assert!(scene.silt(["ps"]).ok().stdout.contains("busy"));
    assert!(wait_until(Duration::from_secs(5), || {
        scene
            .silt(["commit", "-c", "CMD [\"cat\", \"/kept\"]", "busy", "kept"])
            .ok();
        scene.silt(["run", "--rm", "kept"]).stdout == "kept\n"
    }));
    scene.silt(["stop", "-t", "1", "busy"]).ok();
    scene.silt(["rm", "busy"]).ok();
    assert!(!scene.silt(["ps", "-a"]).ok().stdout.contains("busy"));
}

#[test]
fn ctrl_c_stops_a_build_and_leaves_nothing_behind() {
    let scene = Scene::debian();
    let context = scene.context("slow", "FROM debian\nRUN echo started; sleep 1000\n");
    let mut command = scene.command([
        "build".as_ref(),
        "-t".as_ref(),
        "slow".as_ref(),
        context.as_os_str(),
    ]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(wait_until(Duration::from_secs(30), || scene
        .family()
        .runs("sleep 1000")));
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    finish(child, "silt build").fails(130, &[]);
    assert!(
        wait_until(Duration::from_secs(10), || !scene.family().runs("sleep 1000")),
        "the step's process went with it"
    );
    scene.silt(["run", "--rm", "debian", "true"]).ok();
}

#[test]
fn a_working_directory_belongs_to_its_user_as_docker_has_it() {
    let scene = Scene::debian();
    // An id alone is the group, too; a name brings its own group.
    let context = scene.context(
        "app",
        "FROM debian\nUSER 1234\nWORKDIR /id\nUSER games\nWORKDIR /name\nUSER 7:8\nWORKDIR /both/deep\n",
    );
    scene.build("app", &context);
    assert_eq!(
        scene.shell("app", "stat -c %u:%g /id /name /both/deep"),
        "1234:1234\n5:60\n7:8\n"
    );
}

#[test]
fn a_pattern_that_matches_nothing_copies_nothing() {
    let scene = Scene::debian();
    let context = scene.context(
        "app",
        "FROM debian\nCOPY *.patch /patches/\nRUN test ! -e /patches\n",
    );
    scene.build("app", &context);
    scene.write("app/one.patch", "fix\n");
    let context = scene.context("app", "FROM debian\nCOPY *.patch /patches/\n");
    scene.build("app", &context);
    assert_eq!(scene.shell("app", "cat /patches/one.patch"), "fix\n");
}

#[test]
fn a_build_argument_that_nothing_declares_is_warned_of() {
    let scene = Scene::debian();
    let context = scene.context("app", "FROM debian\nARG VERSION=1\nRUN echo $VERSION > /v\n");
    let build = |argument: &str| {
        scene
            .silt([
                "build".as_ref(),
                "--progress=plain".as_ref(),
                "--build-arg".as_ref(),
                argument.as_ref(),
                context.as_os_str(),
            ])
            .ok()
            .stderr
    };
    let said = build("VERSOIN=2");
    assert!(said.contains("--build-arg VERSOIN has no effect"), "{said}");
    let said = build("VERSION=2");
    assert!(!said.contains("no effect"), "{said}");
}
