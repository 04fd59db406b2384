//! The same as an ordinary user. A test as root makes the user, then runs the ignored tests below as that user.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Output;

use super::*;

/// A user of this machine for the length of a test, with copies of the programs and of the Debian root that it can reach.
struct User {
    name: String,
    home: tempfile::TempDir,
}

impl User {
    fn new(name: &str) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test needs root: it makes a user"
        );
        let name = format!("silt-{name}-{}", std::process::id());
        let home = tempfile::Builder::new()
            .prefix("silt-user")
            .tempdir_in("/var/tmp")
            .unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let made = Command::new("useradd")
            .args(["-M", "-N", "-s", "/bin/sh", "-d"])
            .arg(home.path())
            .arg(&name)
            .status();
        assert!(made.unwrap().success());
        fs::copy(HELPER, home.path().join("silt")).unwrap();
        fs::copy(std::env::current_exe().unwrap(), home.path().join("tests")).unwrap();
        Self { name, home }
    }

    /// Unpacks the Debian root with the ids that stand behind the user's container ids, as a container of the user would.
    fn with_root(self) -> Self {
        let root = self.home.path().join("root");
        let copied = Command::new("cp")
            .arg("-a")
            .arg(debian())
            .arg(&root)
            .status()
            .unwrap();
        assert!(copied.success());
        let own = nix::unistd::User::from_name(&self.name).unwrap().unwrap();
        let subids = fs::read_to_string("/etc/subuid").unwrap();
        let start = subids
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{}:", self.name)))
            .unwrap();
        let start: u32 = start.split(':').next().unwrap().parse().unwrap();
        let map = |id: u32, zero: u32| if id == 0 { zero } else { start + id - 1 };
        shift(&root, &|uid| map(uid, own.uid.as_raw()), &|gid| {
            map(gid, own.gid.as_raw())
        });
        let staging = self.home.path().join("staging");
        fs::create_dir(&staging).unwrap();
        std::os::unix::fs::chown(&staging, Some(own.uid.as_raw()), None).unwrap();
        self
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("runuser");
        command
            .args(["-u", &self.name, "--"])
            .args(words)
            .current_dir(self.home.path());
        command.env("SILT_TEST_HOME", self.home.path());
        command
    }

    /// Runs the ignored tests whose names begin so.
    fn tests(&self, prefix: &str) -> Output {
        let tests = self.home.path().join("tests");
        let prefix = format!("sandbox::ordinary::{prefix}");
        self.command(&[tests.to_str().unwrap(), "--ignored", &prefix])
            .output()
            .unwrap()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let removed = Command::new("userdel").arg(&self.name).output().unwrap();
        assert!(
            removed.status.success() || std::thread::panicking(),
            "{removed:?}"
        );
    }
}

fn shift(path: &Path, uid: &dyn Fn(u32) -> u32, gid: &dyn Fn(u32) -> u32) {
    let metadata = path.symlink_metadata().unwrap();
    std::os::unix::fs::lchown(path, Some(uid(metadata.uid())), Some(gid(metadata.gid()))).unwrap();
    if !metadata.is_symlink() {
        fs::set_permissions(path, metadata.permissions()).unwrap();
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            shift(&entry.unwrap().path(), uid, gid);
        }
    }
}

fn assert_passed(output: &Output, count: usize) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains(&format!("{count} passed")),
        "{text}"
    );
}

#[test]
fn needs_root_and_subids_an_ordinary_user_gets_containers_too() {
    let user = User::new("user").with_root();
    // Servers often keep the device from users. This test opens it, and puts it back.
    let mode = fs::metadata("/dev/fuse").unwrap().permissions();
    fs::set_permissions("/dev/fuse", fs::Permissions::from_mode(0o600)).unwrap();
    let closed = user.tests("inner_cannot_open_fuse");
    fs::set_permissions("/dev/fuse", fs::Permissions::from_mode(0o666)).unwrap();
    let opened = user.tests("inner_works");
    fs::set_permissions("/dev/fuse", mode).unwrap();
    assert_passed(&closed, 1);
    assert_passed(&opened, 5);
    until(|| !running_as(&user.name));
}

fn running_as(user: &str) -> bool {
    Command::new("pgrep")
        .args(["-u", user])
        .status()
        .unwrap()
        .success()
}

#[test]
fn needs_root_a_user_without_subids_is_told_what_to_do() {
    let user = User::new("poor");
    for flag in ["--del-subuids", "--del-subgids"] {
        let removed = Command::new("usermod")
            .args([flag, "0-4294967294"])
            .arg(&user.name)
            .status()
            .unwrap();
        assert!(removed.success());
    }
    assert_passed(&user.tests("inner_without_subids"), 1);
}

#[test]
fn needs_root_where_user_namespaces_are_refused_the_user_is_told_what_to_do() {
    let user = User::new("barred");
    // A namespace whose own limit is 0 stands for a host that refuses them.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all \"$0\" \"$@\"";
    let tests = user.home.path().join("tests");
    let inner = "sandbox::ordinary::inner_without_user_namespaces";
    let words = [
        "unshare",
        "-r",
        "sh",
        "-c",
        script,
        tests.to_str().unwrap(),
        "--ignored",
        inner,
    ];
    assert_passed(&user.command(&words).output().unwrap(), 1);
}

fn home() -> PathBuf {
    std::env::var("SILT_TEST_HOME").unwrap().into()
}

fn own_helper() -> Helper {
    assert!(!nix::unistd::geteuid().is_root());
    Helper::start(&home().join("silt")).unwrap()
}

fn run_in_own_root(spec: &Spec) -> (Exit, String) {
    let (stdio, mut output) = piped();
    let helper = own_helper();
    let running = helper
        .spawn(spec, RootFilesystem::Directory(home().join("root")), stdio)
        .unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    (running.wait().unwrap(), text)
}

#[test]
#[ignore = "run as an ordinary user by a test above"]
fn inner_works_with_all_ids() {
    let script = "
        id -u; id -g; tail -n 1 /proc/self/uid_map | awk '{print $1, $3}'
        touch /tmp/x; chown 33:42 /tmp/x; stat -c '%u %g' /tmp/x; rm /tmp/x
        stat -c '%u %g' /etc/shadow /var/mail; stat -c %a /bin/su
        grep -E 'CapEff|CapBnd|Seccomp:' /proc/self/status; ulimit -c";
    let spec = Spec {
        read_only: false,
        ..shell(script)
    };
    assert_eq!(
        run_in_own_root(&spec).1.replace('\t', " "),
        "0\n0\n1 65535\n33 42\n0 42\n0 8\n4755\nCapEff: 00000000a80425fb\nCapBnd: 00000000a80425fb\nSeccomp: 2\n0\n"
    );
    let mut other = shell("id -un; cat /etc/shadow; test -w /dev/null && test -w /dev/shm && echo ok");
    other.identity = Identity {
        uid: 33,
        gid: 33,
        groups: vec![33],
    };
    assert_eq!(
        run_in_own_root(&other),
        (
            Exit::Code(0),
            "www-data\ncat: /etc/shadow: Permission denied\nok\n".into()
        )
    );
}

#[test]
#[ignore = "run as an ordinary user by a test above"]
fn inner_works_isolated() {
    let script = "
        mount -t tmpfs x /mnt 2>/dev/null && echo mounted
        (echo x > /proc/sysrq-trigger) 2>/dev/null && echo wrote
        cat /proc/kcore 2>/dev/null | wc -c; ls /sys/firmware | wc -l; ls /sys/class/net | grep lo
        hostname; set -- /proc/[0-9]*; echo $#; grep -c ' / / ' /proc/self/mountinfo; cat /etc/hostname
        find /sys -maxdepth 1 -writable 2>/dev/null | head -n 1 | xargs -r -I{} sh -c 'touch {}/x 2>&1'";
    let (exit, text) = run_in_own_root(&shell(script));
    assert!(text.starts_with("0\n0\nlo\nbox\n1\n"), "{exit:?} {text}");
    let mut alone = shell("grep -c : /proc/net/dev; cat /sys/class/net/lo/operstate");
    alone.network = Network::None;
    assert_eq!(run_in_own_root(&alone), (Exit::Code(0), "1\nunknown\n".into()));
}

#[test]
#[ignore = "run as an ordinary user by a test above"]
fn inner_works_with_signals_terminals_and_further_processes() {
    let helper = own_helper();
    let root = || RootFilesystem::Directory(home().join("root"));
    let mut sleeping = spec(&["sleep", "300"]);
    sleeping.identity.uid = 33;
    sleeping.tty = true;
    let running = helper.spawn(&sleeping, root(), piped().0).unwrap();
    assert!(running.take_pty().is_some());
    let (stdio, mut output) = piped();
    let member = running
        .exec(
            &shell("id -u; cat /proc/1/cmdline | tr '\\0' ' '; stat -c %u /dev/console"),
            stdio,
        )
        .unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(
        (member.wait().unwrap(), text.as_str()),
        (Exit::Code(0), "0\nsleep 300 33\n")
    );
    running.kill().unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Signal(libc::SIGKILL));
}

#[test]
#[ignore = "run as an ordinary user by a test above"]
fn inner_works_on_a_mount() {
    mounted::step_on_a_mount(&own_helper(), &home().join("root"), &home().join("staging"));
}

#[test]
#[ignore = "run as an ordinary user by a test above"]
fn inner_cannot_open_fuse_the_error_names_the_remedy() {
    let never = |_device| panic!("there is no device to serve");
    let error = own_helper()
        .spawn(&spec(&["true"]), RootFilesystem::Fuse(Box::new(never)), piped().0)
        .unwrap_err();
    assert!(
        matches!(
            &error,
            SandboxError::Setup {
                step: Step::OpenFuse,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("chmod 666 /dev/fuse"));
}

#[test]
#[ignore = "run as an ordinary user by a test above"]
fn inner_works_for_a_helper_that_starts_nothing() {
    drop(own_helper());
}

#[test]
#[ignore = "run as an ordinary user by a test above"]
fn inner_without_subids_the_error_names_the_remedy() {
    let error = Helper::start(&home().join("silt")).unwrap_err();
    assert!(
        matches!(
            error,
            SandboxError::Setup {
                step: Step::SubordinateIds { .. },
                ..
            }
        ),
        "{error}"
    );
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("usermod --add-subuids") && hint.contains("/etc/subuid"),
        "{hint}"
    );
}

#[test]
#[ignore = "run as an ordinary user by a test above"]
fn inner_without_user_namespaces_the_error_names_the_remedy() {
    let error = Helper::start(&home().join("silt")).unwrap_err();
    assert!(
        matches!(
            error,
            SandboxError::Setup {
                step: Step::UserNamespace,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error
            .hint()
            .unwrap()
            .contains("sysctl -w user.max_user_namespaces"),
        "{error}"
    );
}
