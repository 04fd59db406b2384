//! Containers beyond a plain `run`: terminals, signals, logs, exec, what they leave, and what becomes of them when the client
//! or the engine dies.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scene::{Scene, finish, wait_until};

fn start(scene: &Scene, arguments: &[&str]) -> Child {
    let mut command = scene.command(arguments);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn state(scene: &Scene, name: &str) -> serde_json::Value {
    let inspected = scene.silt(["inspect", name]).ok().stdout;
    let mut inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    inspected[0]["State"].take()
}

fn said(scene: &Scene, name: &str, text: &str) -> bool {
    wait_until(Duration::from_secs(20), || {
        scene.silt(["logs", name]).stdout.contains(text)
    })
}

#[test]
fn logs_keep_both_streams_and_end_with_the_container() {
    let scene = Scene::debian();
    let script = "for i in 1 2 3; do echo out-$i; echo err-$i >&2; done; sleep 1; echo last";
    scene
        .silt(["run", "-d", "--name", "talks", "debian", "sh", "-c", script])
        .ok();
    let followed = scene.silt(["logs", "-f", "talks"]).ok();
    assert_eq!(followed.stdout, "out-1\nout-2\nout-3\nlast\n");
    assert_eq!(followed.stderr, "err-1\nerr-2\nerr-3\n");
    assert_eq!(scene.silt(["logs", "--tail", "1", "talks"]).ok().stdout, "last\n");
    let stamped = scene.silt(["logs", "-t", "-n", "1", "talks"]).ok().stdout;
    assert!(
        stamped.starts_with("20") && stamped.ends_with("Z last\n"),
        "{stamped}"
    );
    assert_eq!(scene.silt(["wait", "talks"]).ok().stdout, "0\n");
}

#[test]
fn exec_joins_a_running_container() {
    let scene = Scene::debian();
    scene
        .silt([
            "run", "-d", "--name", "runs", "-e", "A=1", "debian", "sleep", "1000",
        ])
        .ok();
    let exec = |arguments: &[&str]| scene.silt(["exec"].iter().chain(arguments));
    assert_eq!(
        exec(&["-e", "B=2", "runs", "sh", "-c", "echo $A$B; touch /made"])
            .ok()
            .stdout,
        "12\n"
    );
    assert_eq!(
        exec(&["-u", "daemon", "-w", "/tmp", "runs", "sh", "-c", "id -un; pwd"])
            .ok()
            .stdout,
        "daemon\n/tmp\n"
    );
    exec(&["runs", "sh", "-c", "exit 9"]).fails(9, &[]);
    exec(&["runs", "no-such-program"]).fails(127, &[]);
    exec(&["nobody", "true"]).fails(125, &["there is no container `nobody`", "silt ps -a"]);
    assert_eq!(scene.silt(["diff", "runs"]).ok().stdout, "C /\nA /made\n");
    scene
        .silt(["rm", "runs"])
        .fails(1, &["is running", "silt stop runs"]);
    scene.silt(["rm", "-f", "runs"]).ok();
    exec(&["runs", "true"]).fails(125, &["there is no container"]);
}

#[test]
fn signals_and_stop_reach_the_process() {
    let scene = Scene::debian();
    let script =
        "trap 'echo got-usr1' USR1; trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done";
    let run = |name: &str, script: &str| {
        scene
            .silt(["run", "-d", "--name", name, "debian", "sh", "-c", script])
            .ok();
    };
    run("polite", script);
    assert!(said(&scene, "polite", "ready"));
    scene.silt(["kill", "-s", "USR1", "polite"]).ok();
    assert!(said(&scene, "polite", "got-usr1"));
    scene.silt(["stop", "polite"]).ok();
    assert_eq!(state(&scene, "polite")["ExitCode"], 3);

    run("deaf", "trap '' TERM; echo ready; while :; do sleep 0.1; done");
    assert!(said(&scene, "deaf", "ready"));
    scene.silt(["stop", "-t", "1", "deaf"]).ok();
    assert_eq!(state(&scene, "deaf")["ExitCode"], 137);
    scene.silt(["kill", "deaf"]).fails(1, &["is not running"]);
}

#[test]
fn an_attached_clients_signals_are_passed_on() {
    let scene = Scene::debian();
    let script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done";
    let mut client = start(&scene, &["run", "--rm", "debian", "sh", "-c", script]);
    let mut first = [0; 6];
    client.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"ready\n");
    kill(Pid::from_raw(client.id() as i32), Signal::SIGINT).unwrap();
    let ended = finish(client, "run");
    assert_eq!((ended.status, ended.stdout.as_str()), (5, "caught\n"));
}

#[test]
fn an_attached_container_ends_with_its_client() {
    let scene = Scene::debian();
    let mut client = start(
        &scene,
        &["run", "--rm", "debian", "sh", "-c", "echo ready; exec sleep 1000"],
    );
    let mut first = [0; 6];
    client.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    client.kill().unwrap();
    client.wait().unwrap();
    let gone = wait_until(Duration::from_secs(20), || {
        scene.silt(["ps", "-a", "-q"]).ok().stdout.is_empty()
    });
    assert!(gone, "{}", scene.silt(["ps", "-a"]));
    assert_eq!(fs::read_dir(scene.store().join("containers")).unwrap().count(), 0);
}

#[test]
fn a_terminal_is_one_and_its_output_is_logged() {
    let scene = Scene::debian();
    let pty = nix::pty::openpty(None, None).unwrap();
    let side = || Stdio::from(pty.slave.as_fd().try_clone_to_owned().unwrap());
    let mut command = scene.command(["run", "-it", "--name", "typed", "debian", "sh"]);
    let mut client = command
        .stdin(side())
        .stdout(side())
        .stderr(side())
        .spawn()
        .unwrap();
    drop(command);
    let mut master = fs::File::from(pty.master);
    drop(pty.slave);
    master
        .write_all(b"test -t 0 && test -t 1 && echo is-a-$((1+1))-terminal; exit 6\n")
        .unwrap();
    let mut shown = Vec::new();
    let mut buffer = [0; 4096];
    // The last process that has the terminal closes it.
    while let Ok(count @ 1..) = master.read(&mut buffer) {
        shown.extend_from_slice(&buffer[..count]);
    }
    let shown = String::from_utf8_lossy(&shown);
    assert_eq!(client.wait().unwrap().code(), Some(6), "{shown}");
    assert!(shown.contains("is-a-2-terminal"), "{shown}");
    let logged = scene.silt(["logs", "typed"]).ok().stdout;
    assert!(logged.contains("is-a-2-terminal"), "{logged}");
}

#[test]
fn standard_input_reaches_the_container_only_when_asked() {
    let scene = Scene::debian();
    let feed = |arguments: &[&str]| {
        let mut command = scene.command(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"fed\n").unwrap();
        finish(child, "run").ok().stdout
    };
    assert_eq!(feed(&["run", "--rm", "-i", "debian", "cat"]), "fed\n");
    assert_eq!(feed(&["run", "--rm", "debian", "cat"]), "");
}

#[test]
fn names_are_unique_and_checked() {
    let scene = Scene::debian();
    scene.silt(["run", "--name", "one", "debian", "true"]).ok();
    scene
        .silt(["run", "--name", "one", "debian", "true"])
        .fails(125, &["taken", "silt rm one"]);
    scene
        .silt(["run", "--name=-x", "debian", "true"])
        .fails(125, &["cannot name a container"]);
    scene
        .silt(["run", "--name=b/d", "debian", "true"])
        .fails(125, &["cannot name a container"]);
    scene.silt(["run", "debian", "no-such-program"]).fails(127, &[]);
    scene
        .silt(["run", "-u", "nobody-at-all", "debian", "true"])
        .fails(125, &["nobody-at-all"]);
    scene.silt(["rmi", "debian"]).ok();
    scene
        .silt(["rmi", "debian:12"])
        .fails(1, &["is used by container", "silt rm"]);
    let ids = scene.silt(["ps", "-aq"]).ok().stdout;
    assert_eq!(ids.lines().count(), 2, "only what ran is kept: {ids}");
    scene.silt(["rm"].into_iter().chain(ids.lines())).ok();
}

#[test]
fn what_a_container_left_survives_the_engine() {
    let scene = Scene::debian();
    scene
        .silt([
            "run",
            "--name",
            "left",
            "debian",
            "sh",
            "-c",
            "echo kept > /kept; rm /etc/issue; echo said",
        ])
        .ok();
    scene.silt(["engine", "stop"]).ok();
    assert_eq!(scene.silt(["logs", "left"]).ok().stdout, "said\n");
    let diff = scene.silt(["diff", "left"]).ok().stdout;
    assert!(
        diff.contains("A /kept\n") && diff.contains("D /etc/issue\n"),
        "{diff}"
    );
    assert_eq!(
        scene.silt(["shell", "left", "cat", "/kept"]).ok().stdout,
        "kept\n"
    );
    scene
        .silt(["commit", "-c", "CMD [\"cat\", \"/kept\"]", "left", "kept:1"])
        .ok();
    assert_eq!(scene.silt(["run", "--rm", "kept:1"]).ok().stdout, "kept\n");
    scene
        .silt(["commit", "-c", "RUN true", "left"])
        .fails(1, &["RUN changes no config"]);
}

#[test]
fn a_container_of_a_dead_engine_counts_as_killed() {
    let scene = Scene::debian();
    scene
        .silt(["run", "-d", "--name", "lost", "debian", "sleep", "1000"])
        .ok();
    scene
        .silt([
            "run", "-d", "--rm", "--name", "fleeting", "debian", "sleep", "1000",
        ])
        .ok();
    kill(Pid::from_raw(scene.engine().unwrap()), Signal::SIGKILL).unwrap();
    let state = state(&scene, "lost");
    assert_eq!(
        (state["ExitCode"].as_i64(), state["Running"].as_bool()),
        (Some(137), Some(false))
    );
    assert!(state["Error"].as_str().unwrap().contains("engine died"));
    scene.silt(["inspect", "fleeting"]).fails(1, &["fleeting"]);
    assert_eq!(fs::read_dir(scene.store().join("containers")).unwrap().count(), 1);
    scene.silt(["rm", "lost"]).ok();
}

#[test]
fn steps_have_addresses() {
    let scene = Scene::debian();
    let dockerfile =
        "FROM debian\nENV A=1\nRUN echo one > /one\nUSER daemon\nWORKDIR /tmp\nENV A=2\nRUN echo two > two\n";
    let context = scene.context("steps", dockerfile);
    scene.build("steps", &context);
    let history: serde_json::Value =
        serde_json::from_str(&scene.silt(["--json", "history", "steps"]).ok().stdout).unwrap();
    let step = |text: &str| {
        let lines = history.as_array().unwrap();
        let line = lines
            .iter()
            .find(|line| line["CreatedBy"].as_str().unwrap().contains(text));
        line.unwrap()["Step"].as_u64().unwrap()
    };
    let (one, two) = (
        format!("steps@{}", step("echo one")),
        format!("steps@{}", step("echo two")),
    );
    assert_eq!(scene.silt(["diff", &one]).ok().stdout, "C /\nA /one\n");
    assert_eq!(
        scene.silt(["diff", &one, &two]).ok().stdout,
        "C /tmp\nA /tmp/two\n"
    );
    let shell = |address: &str| {
        scene
            .silt(["shell", address, "sh", "-c", "echo $A $(id -un) $(pwd)"])
            .ok()
            .stdout
    };
    assert_eq!(shell(&one), "1 root /\n");
    assert_eq!(shell(&two), "2 daemon /tmp\n");
    scene
        .silt(["shell", "steps@99", "true"])
        .fails(125, &["has no step 99", "silt history steps"]);
}

#[test]
fn a_container_whose_reader_left_gets_sigpipe() {
    let scene = Scene::debian();
    let mut client = start(&scene, &["run", "--rm", "debian", "yes"]);
    let mut some = [0; 100];
    client.stdout.take().unwrap().read_exact(&mut some).unwrap();
    // The kernel spares process 1 the signal: it sees the failed write.
    assert_eq!(client.wait().unwrap().code(), Some(1));
}
