//! The sandbox through its helper process, on a real Debian root. Needs root: namespaces, mounts, cgroups of the host.
//! The base is unpacked once below the target directory.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use silt::plan::Network;
use silt::sandbox::{
    Exit, Helper, Identity, Mount, RootFilesystem, Running, SandboxError, Spec, Stdio, Step, Ulimit,
};

mod isolation;
mod life;
mod mounted;
mod ordinary;

const HELPER: &str = env!("CARGO_BIN_EXE_silt");

/// A Debian root, the same for all tests; they mount it read-only or bring a root of their own.
fn debian() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sandbox-debian");
        if !root.exists() {
            let making = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let tar = crate::scene::debian::tar();
            let unpacked = Command::new("tar")
                .arg("-xpf")
                .arg(tar)
                .arg("-C")
                .arg(making.path())
                .status();
            assert!(unpacked.unwrap().success());
            fs::set_permissions(making.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            // Another process may have been faster; its root is as good.
            let _made = fs::rename(making.keep(), &root);
        }
        root
    })
}

fn helper() -> Helper {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test needs root: it makes namespaces, mounts and cgroups"
    );
    Helper::start(Path::new(HELPER)).unwrap()
}

fn spec(argv: &[&str]) -> Spec {
    Spec {
        argv: argv.iter().map(ToString::to_string).collect(),
        env: vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
            "HOME=/root".into(),
        ],
        cwd: "/".into(),
        hostname: "box".into(),
        hosts: "127.0.0.1 localhost\n127.0.1.1 box\n".into(),
        resolv_conf: "nameserver 192.0.2.1\n".into(),
        read_only: true,
        ..Spec::default()
    }
}

fn shell(script: &str) -> Spec {
    spec(&["/bin/sh", "-c", script])
}

/// Streams of a process: no input, output and errors into one pipe.
fn piped() -> (Stdio, File) {
    let (read, write) = std::io::pipe().unwrap();
    let stderr = write.try_clone().unwrap().into();
    (
        Stdio {
            stdin: File::open("/dev/null").unwrap().into(),
            stdout: write.into(),
            stderr,
        },
        OwnedFd::from(read).into(),
    )
}

fn start(helper: &Helper, spec: &Spec) -> (Running, File) {
    let (stdio, output) = piped();
    let running = helper
        .spawn(spec, RootFilesystem::Directory(debian().to_owned()), stdio)
        .unwrap();
    (running, output)
}

/// Runs to the end; everything it printed.
fn run(helper: &Helper, spec: &Spec) -> (Exit, String) {
    let (running, mut output) = start(helper, spec);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    (running.wait().unwrap(), text)
}

fn output_of(spec: &Spec) -> String {
    let (exit, text) = run(&helper(), spec);
    assert_eq!(exit, Exit::Code(0), "{text}");
    text
}

#[test]
fn needs_root_exit_statuses_and_signals_are_told() {
    let helper = helper();
    assert_eq!(run(&helper, &spec(&["true"])), (Exit::Code(0), String::new()));
    assert_eq!(
        run(&helper, &shell("echo out; echo err >&2; exit 7")),
        (Exit::Code(7), "out\nerr\n".into())
    );
    assert_eq!(run(&helper, &spec(&["python99"])).0, Exit::Code(127));
    assert_eq!(
        run(&helper, &spec(&["nothing"])),
        (
            Exit::Code(127),
            "exec: \"nothing\": executable file not found in $PATH\n".into()
        )
    );
    assert_eq!(
        run(&helper, &spec(&["/etc/passwd"])),
        (
            Exit::Code(126),
            "exec: \"/etc/passwd\": permission denied\n".into()
        )
    );
    assert_eq!(run(&helper, &spec(&["/etc"])).0, Exit::Code(126));
}

#[test]
fn needs_root_containers_run_side_by_side() {
    let helper = helper();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let helper = &helper;
            scope.spawn(move || {
                for _ in 0..5 {
                    assert_eq!(
                        run(helper, &shell(&format!("exit {number}"))).0,
                        Exit::Code(number)
                    );
                }
            });
        }
    });
}

#[test]
fn needs_root_a_large_environment_passes() {
    let mut spec = shell("echo ${#A}");
    spec.env.push(format!("A={}", "x".repeat(120_000)));
    spec.env
        .extend((0..10).map(|number| format!("B{number}={}", "y".repeat(100_000))));
    assert_eq!(output_of(&spec), "120000\n");
}

/// Waits for what is about to happen: `spawn` comes back just before the command is executed, a helper ends just after its owner.
fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "it never happened");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn needs_root_one_helper_starts_many() {
    let helper = helper();
    for _ in 0..40 {
        assert_eq!(run(&helper, &spec(&["/bin/true"])).0, Exit::Code(0));
    }
}
