//! A container's output on its way to the caller: readers that leave, that do not read, that cannot take it; and to its log.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::scene::{Scene, finish, run, wait_until};

/// `silt run debian yes | head -1` must not fill the disk with the log of what nobody reads.
#[test]
fn a_reader_that_leaves_ends_the_writer() {
    let scene = Scene::debian();
    scene
        .silt(["run", "-d", "--name", "other", "debian", "sleep", "1003"])
        .ok();
    for command in [["run", "--rm", "debian"].as_slice(), &["exec", "other"]] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = scene.command(command.iter().chain(&["yes"]));
        let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        drop(command);
        reader.read_exact(&mut [0; 2]).unwrap();
        drop(reader);
        let began = Instant::now();
        let ended = finish(child, "silt run yes");
        assert!(
            ended.status == 1 || ended.status == 128 + libc::SIGPIPE,
            "{ended}"
        );
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    scene.silt(["rm", "-f", "other"]).ok();
}

#[test]
fn a_reader_that_does_not_read_holds_up_no_stop() {
    let scene = Scene::debian();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = scene.command(["run", "--name", "held", "debian", "yes"]);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    assert!(wait_until(Duration::from_secs(20), || scene.family().runs("yes")));
    scene.silt(["stop", "-t", "1", "held"]).ok();
    let ended = finish(child, "silt run yes");
    assert_eq!(ended.status, 137, "{ended}");
    drop(reader);
    scene.silt(["rm", "held"]).ok();
}

#[test]
fn a_non_blocking_pipe_gets_every_byte() {
    let scene = Scene::debian();
    let (mut reader, writer) = std::io::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let mut command = scene.command(["run", "--rm", "debian", "seq", "100000"]);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    // Long enough for the pipe to be full.
    std::thread::sleep(Duration::from_secs(1));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 100_000);
    assert!(text.ends_with("\n100000\n"));
    finish(child, "silt run seq").ok();
}

#[test]
fn output_that_finds_no_space_is_a_failure() {
    let scene = Scene::debian();
    let mut command = scene.command(["run", "--rm", "debian", "echo", "lost"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut child = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(125), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    // The engine and the store are none the worse for it.
    run(&mut scene.command(["run", "--rm", "debian", "true"])).ok();
}
