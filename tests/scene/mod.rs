//! A stage for whole-program tests: a temporary store, the `silt` binary, a Debian base, and a check that nothing is left behind.
//!
//! These tests need root, /dev/fuse and Debian's package mirror; the clients come with `.ci/install test`. What is missing fails
//! the test with a hint. Each `Scene` has a store and an engine of its own, so tests run side by side.

pub(crate) mod archive;
pub(crate) mod debian;
pub(crate) mod dockerd;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// One test's store and files. Dropping it stops the engine and fails the test if a mount or process of the store remains.
pub(crate) struct Scene {
    folder: TempDir,
}

/// How a command ended, and what it said.
pub(crate) struct Ran {
    shown: String,
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Scene {
    /// An empty store.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("scene-")
            .tempdir_in(scratch())
            .unwrap();
        Self { folder }
    }

    /// A store that holds the image `debian`.
    pub(crate) fn debian() -> Self {
        let scene = Self::empty();
        debian::copy_store(&scene.store());
        scene
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// A path in the test's folder, which goes with it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file below the test's folder, and the folders that it needs. Returns its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A build context of one file, its Dockerfile.
    pub(crate) fn context(&self, name: &str, dockerfile: &str) -> PathBuf {
        self.write(&format!("{name}/Dockerfile"), dockerfile)
            .parent()
            .unwrap()
            .to_owned()
    }

    /// `silt` on this store, not started yet.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(silt());
        command
            .env("SILT_STORE", self.store())
            .env("NO_COLOR", "1")
            .env_remove("SOURCE_DATE_EPOCH");
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs `silt` on this store.
    pub(crate) fn silt<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        run(&mut self.command(arguments))
    }

    /// `silt build -t NAME CONTEXT` must succeed.
    pub(crate) fn build(&self, name: &str, context: &Path) -> Ran {
        self.silt([
            "build".as_ref(),
            "-t".as_ref(),
            name.as_ref(),
            context.as_os_str(),
        ])
        .ok()
    }

    /// What a shell command prints in a container of the image; the command must succeed.
    pub(crate) fn shell(&self, image: &str, script: &str) -> String {
        self.silt(["run", "--rm", "--entrypoint", "", image, "sh", "-c", script])
            .ok()
            .stdout
    }

    /// An image's id.
    pub(crate) fn id(&self, image: &str) -> String {
        let inspected: serde_json::Value =
            serde_json::from_str(&self.silt(["inspect", image]).ok().stdout).unwrap();
        inspected[0]["Id"].as_str().unwrap().to_owned()
    }

    /// The engine's process, if it runs.
    pub(crate) fn engine(&self) -> Option<i32> {
        let status: serde_json::Value =
            serde_json::from_str(&self.silt(["--json", "engine", "status"]).ok().stdout).unwrap();
        status["Pid"].as_i64().map(|pid| pid as i32)
    }

    /// Mounts that name this test's folder, and FUSE mounts of Silt, in this mount namespace.
    pub(crate) fn mounts(&self) -> Vec<String> {
        let folder = self.folder.path().to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        mounts
            .lines()
            .filter(|line| line.contains(folder) || line.contains(" - fuse.silt "))
            .map(str::to_owned)
            .collect()
    }

    /// The engine and all that descends from it: its helper, steps, containers.
    pub(crate) fn family(&self) -> Family {
        let mut found: Vec<Process> = Vec::new();
        if let Some(engine) = self.engine() {
            let all = processes();
            found.extend(all.iter().find(|process| process.pid == engine).cloned());
            let mut next = 0;
            while let Some(parent) = found.get(next).map(|process| process.pid) {
                found.extend(all.iter().filter(|process| process.parent == parent).cloned());
                next += 1;
            }
        }
        Family(found)
    }

    /// Kills the engine as a crash would. Returns what it was and had started.
    pub(crate) fn kill_engine(&self) -> Family {
        let family = self.family();
        let engine = family.0.first().expect("an engine runs");
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(engine.pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        family
    }
}

/// Processes as they were at one moment.
pub(crate) struct Family(Vec<Process>);

#[derive(Debug, Clone)]
struct Process {
    pid: i32,
    parent: i32,
    /// Clock ticks since boot: with the pid, one process and no later one.
    start: u64,
    arguments: String,
}

impl Family {
    /// Those that still live, shown.
    pub(crate) fn alive(&self) -> Vec<String> {
        let now = processes();
        let lives = |one: &&Process| {
            now.iter()
                .any(|other| (other.pid, other.start) == (one.pid, one.start))
        };
        self.0
            .iter()
            .filter(lives)
            .map(|process| format!("{} {}", process.pid, process.arguments))
            .collect()
    }

    /// Whether one of them runs this command.
    pub(crate) fn runs(&self, command: &str) -> bool {
        self.0
            .iter()
            .any(|process| process.arguments.starts_with(command))
    }
}

/// All processes that live; zombies do not.
fn processes() -> Vec<Process> {
    let read = |pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        let process = Process {
            pid,
            parent: fields[1].parse().ok()?,
            start: fields[19].parse().ok()?,
            arguments,
        };
        (fields[0] != "Z").then_some(process)
    };
    let names = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name());
    names
        .filter_map(|name| name.to_str()?.parse().ok())
        .filter_map(read)
        .collect()
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The test failed already; an engine that still builds would wait for its builds.
            if self
                .command(["--json", "engine", "status"])
                .output()
                .is_ok_and(|output| output.stdout.starts_with(b"{"))
            {
                self.kill_engine();
            }
            return;
        }
        let family = self.family();
        self.silt(["engine", "stop"]).ok();
        let quiet = wait_until(Duration::from_secs(10), || family.alive().is_empty());
        assert!(quiet, "processes left: {:#?}", family.alive());
        assert!(self.mounts().is_empty(), "mounts left: {:#?}", self.mounts());
    }
}

impl Ran {
    /// It must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(self.status == 0, "{self}");
        self
    }

    /// It must have ended with this status and an error that says all of this.
    #[track_caller]
    pub(crate) fn fails(self, status: i32, said: &[&str]) -> Self {
        assert!(self.status == status, "expected status {status}: {self}");
        for text in said {
            assert!(self.stderr.contains(text), "expected {text:?} in: {self}");
        }
        assert!(!self.stderr.contains("panicked"), "{self}");
        self
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            shown,
            status,
            stdout,
            stderr,
        } = self;
        write!(
            out,
            "{shown}\nstatus {status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        )
    }
}

/// Runs a command to its end; its status is 128 + N for signal N.
pub(crate) fn run(command: &mut Command) -> Ran {
    let shown = format!("{command:?}");
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error} (.ci/install test installs what the tests need)"));
    ran(shown, &output)
}

/// A started command's end.
pub(crate) fn finish(child: Child, shown: &str) -> Ran {
    ran(shown.to_owned(), &child.wait_with_output().unwrap())
}

fn ran(shown: String, output: &Output) -> Ran {
    use std::os::unix::process::ExitStatusExt;
    let status = output
        .status
        .code()
        .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
    Ran {
        shown,
        status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs another program, which must succeed; returns what it printed.
#[track_caller]
pub(crate) fn tool<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> String {
    run(Command::new(program).args(arguments).stdin(Stdio::null()))
        .ok()
        .stdout
}

/// Polls until it holds; false when it never did.
pub(crate) fn wait_until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The binary under test.
pub(crate) fn silt() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_silt"))
}

/// The folder for temporary files: on a disk, not on a tmpfs.
pub(crate) fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// The checkout.
pub(crate) fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
