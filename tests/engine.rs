//! The engine process: one for each store, started by whoever needs it, gone when nobody does.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use silt::engine::call::{Call, FileSlot, Message, Peer};
use silt::engine::config::Config;
use silt::engine::outcome::Outcome;
use silt::engine::request::{BuildRequest, Request};
use silt::engine::{Engine, EngineLock, Wait};

use crate::scene::{Scene, wait_until};
use crate::scratch::{Ended, Scratch};

#[test]
fn ten_first_commands_start_one_engine() {
    let scratch = Scratch::new();
    let children: Vec<_> = (0..10)
        .map(|_| {
            scratch
                .command(["engine", "start"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut answers: Vec<_> = children
        .into_iter()
        .map(|child| Ended::from(child.wait_with_output().unwrap()).success())
        .collect();
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    let log = fs::read_to_string(scratch.store.join("engine.log")).unwrap();
    assert_eq!(log.matches("listening").count(), 1, "{log}");
}

#[test]
fn the_engine_is_private_and_apart_from_its_starter() {
    let scratch = Scratch::new();
    scratch
        .command(["engine", "start"])
        .env("A_SECRET", "of the starter")
        .output()
        .unwrap();
    let pid = scratch.engine_pid().unwrap();
    let mode = |path: &str| {
        fs::metadata(scratch.store.join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("engine.sock"), 0o600);
    assert_eq!(mode(""), 0o700);
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("A_SECRET"));
    assert_eq!(
        fs::read_link(format!("/proc/{pid}/cwd")).unwrap().to_str(),
        Some("/")
    );
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session: i32 = status
        .rsplit(") ")
        .next()
        .unwrap()
        .split(' ')
        .nth(3)
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(session, pid, "its own session");
    let own = fs::metadata(&scratch.store).unwrap().uid();
    assert_eq!(own, nix::unistd::geteuid().as_raw());
}

#[test]
fn an_idle_engine_leaves_and_takes_its_socket_along() {
    let scratch = Scratch::new();
    scratch
        .command(["engine", "start"])
        .env("SILT_IDLE", "1")
        .output()
        .unwrap();
    let pid = scratch.engine_pid().unwrap();
    let begun = Instant::now();
    while scratch.store.join("engine.sock").exists() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the engine stays");
        std::thread::sleep(Duration::from_millis(50));
    }
    wait_until_gone(pid);
    assert!(scratch.engine_pid().is_none());
}

#[test]
fn a_killed_engine_is_replaced_by_the_next_command() {
    let scratch = Scratch::new();
    scratch.run(["engine", "start"]).success();
    let pid = scratch.engine_pid().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    scratch.run(["images"]).success();
    assert_ne!(scratch.engine_pid().unwrap(), pid);
}

#[test]
fn stop_waits_until_the_store_is_free() {
    let scratch = Scratch::new();
    for _ in 0..3 {
        scratch.run(["engine", "start"]).success();
        let pid = scratch.engine_pid().unwrap();
        scratch.run(["engine", "stop"]).success();
        wait_until_gone(pid);
        assert_eq!(
            scratch.run(["engine", "status"]).success(),
            "engine: not running\n"
        );
    }
    scratch.run(["engine", "stop"]).success();
}

#[test]
fn another_build_of_silt_takes_over() {
    let scratch = Scratch::new();
    scratch.run(["engine", "start"]).success();
    let pid = scratch.engine_pid().unwrap();
    let other = scratch.path().join("other-silt");
    let mut binary = fs::read(env!("CARGO_BIN_EXE_silt")).unwrap();
    change_build_id(&mut binary);
    fs::write(&other, binary).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    let run_other = |arguments: &[&str]| {
        let output = std::process::Command::new(&other)
            .env("SILT_STORE", &scratch.store)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ended::from(output)
    };
    run_other(&["images"]).success();
    let status: serde_json::Value =
        serde_json::from_str(&run_other(&["engine", "status", "--json"]).success()).unwrap();
    assert_ne!(status["Pid"].as_i64().unwrap(), i64::from(pid));
    wait_until_gone(pid);
    run_other(&["engine", "stop"]).success();
}

#[test]
fn garbage_on_the_socket_disturbs_nobody() {
    use std::io::Write;
    let scratch = Scratch::new();
    scratch.run(["engine", "start"]).success();
    let pid = scratch.engine_pid().unwrap();
    let socket = scratch.store.join("engine.sock");
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 64],
        &[4, 0, 0, 0, 0, 0, 0, 0, b'n', b'u', b'l', b'l'],
        b"",
    ] {
        UnixStream::connect(&socket).unwrap().write_all(garbage).unwrap();
    }
    scratch.run(["images"]).success();
    assert_eq!(scratch.engine_pid(), Some(pid));
}

#[test]
fn a_config_file_with_a_misspelt_key_is_named() {
    let scratch = Scratch::new();
    fs::create_dir_all(&scratch.store).unwrap();
    fs::write(scratch.store.join("config.json"), r#"{"idel": 3}"#).unwrap();
    let stderr = scratch.run(["images"]).failure(125);
    assert!(
        stderr.contains("config.json") && stderr.contains("idel"),
        "{stderr}"
    );
}

/// Flips a bit in the note that the linker wrote.
fn change_build_id(binary: &mut [u8]) {
    let note = [4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0];
    let at = binary
        .windows(note.len())
        .position(|window| window == note)
        .expect("the binary has a build id");
    binary[at + note.len()] ^= 1;
}

fn wait_until_gone(pid: i32) {
    let begun = Instant::now();
    // A zombie of ours is gone, too: it is whoever started it who has not looked yet.
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(begun.elapsed() < Duration::from_secs(20), "process {pid} stays");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn stop_ends_what_runs() {
    let scene = Scene::debian();
    let context = scene.context("long", "FROM debian\nRUN echo begun; sleep 1000\n");
    let mut building = scene
        .command(["build".as_ref(), context.as_os_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(building.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("begun")));
    scene.silt(["engine", "stop"]).ok();
    assert_eq!(building.wait().unwrap().code(), Some(130));
}

#[test]
fn sigterm_ends_an_engine_as_stop_does() {
    let scene = Scene::debian();
    scene
        .silt([
            "run",
            "-d",
            "--name",
            "runs",
            "debian",
            "sh",
            "-c",
            "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done",
        ])
        .ok();
    assert!(wait_until(Duration::from_secs(20), || scene
        .silt(["logs", "runs"])
        .stdout
        .contains("up")));
    let pid = scene.engine().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    wait_until_gone(pid);
    let inspected = scene.silt(["inspect", "runs"]).ok().stdout;
    assert!(inspected.contains("\"ExitCode\": 3"), "{inspected}");
}

/// Hears what an engine says in this process.
struct Heard(Mutex<Vec<Message>>);

impl Peer for Heard {
    fn send(&self, message: Message, _: Vec<OwnedFd>) {
        self.0.lock().unwrap().push(message);
    }
}

#[test]
fn the_engine_is_a_library() {
    let scratch = Scratch::new();
    let lock = EngineLock::take(&scratch.store, &mut |_| Wait::NoMore).unwrap();
    assert!(
        EngineLock::take(&scratch.store, &mut |_| Wait::NoMore).is_err(),
        "there is one engine"
    );
    let config = Config {
        helper: env!("CARGO_BIN_EXE_silt").into(),
        ..Config::default()
    };
    let engine = Engine::open(lock, config).unwrap();
    let context = scratch.path().join("context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("file"), "content").unwrap();
    let request = BuildRequest {
        dockerfile: "FROM scratch\nCOPY file /\n".to_owned(),
        dockerfile_name: "Dockerfile".to_owned(),
        context: Some(FileSlot(0)),
        tags: vec!["in-process".to_owned()],
        ..BuildRequest::default()
    };
    let heard = Arc::new(Heard(Mutex::default()));
    let (call, _controls) = Call::new(heard.clone(), vec![fs::File::open(&context).unwrap().into()]);
    let outcome = engine.perform(Request::Build(Box::new(request)), &call);
    let Outcome::Built(image) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(image.names, ["in-process:latest"]);
    assert!(
        heard
            .0
            .lock()
            .unwrap()
            .iter()
            .any(|message| matches!(message, Message::Event(_)))
    );
    engine.close();
    drop((engine, call));
    assert!(scratch.run(["images"]).success().contains("in-process"));
}
