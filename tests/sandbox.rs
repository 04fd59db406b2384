//! The sandbox through its helper process, on a real Debian root. Needs root: namespaces, mounts, cgroups of the host.
//! The base comes from `SILT_TEST_BASE` or `/var/cache/silt-build/bookworm.tar`, unpacked once below the target directory.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

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

const HELPER: &str = env!("CARGO_BIN_EXE_silt");

/// A Debian root, the same for all tests; they mount it read-only or bring a root of their own.
fn debian() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let base = std::env::var("SILT_TEST_BASE").unwrap_or("/var/cache/silt-build/bookworm.tar".into());
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sandbox-debian");
        if !root.join(".complete").exists() {
            assert!(
                Path::new(&base).exists(),
                "no {base}: make it with mmdebstrap --variant=minbase bookworm {base}"
            );
            fs::create_dir_all(&root).unwrap();
            let unpacked = Command::new("tar")
                .args(["-xpf", &base, "-C"])
                .arg(&root)
                .status()
                .unwrap();
            assert!(unpacked.success());
            File::create(root.join(".complete")).unwrap();
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
fn needs_root_the_process_is_pid_1_of_its_own_namespaces() {
    let text = output_of(&shell(
        "echo $$; ls /proc | grep -c '^[0-9]'; hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf",
    ));
    assert_eq!(
        text,
        "1\n3\nbox\nbox\n127.0.0.1 localhost\n127.0.1.1 box\nnameserver 192.0.2.1\n"
    );
    // Of the host's mounts none is left, not even below the root.
    let text = output_of(&shell(
        "while read a b c d point rest; do test $point = / && echo root; done < /proc/self/mountinfo; true",
    ));
    assert_eq!(text, "root\n");
}

#[test]
fn needs_root_capabilities_filter_and_limits_are_dockers() {
    let text = output_of(&shell(
        "grep -E 'Cap|Seccomp:|NoNewPrivs' /proc/self/status; umask; ulimit -n; ulimit -Hn; ulimit -c",
    ));
    let files = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .unwrap()
        .1
        .min(524_288);
    assert_eq!(
        text.replace('\t', " ")
            .replace(&format!("\n{files}\n"), "\nall\n"),
        "CapInh: 0000000000000000\nCapPrm: 00000000a80425fb\nCapEff: 00000000a80425fb\nCapBnd: 00000000a80425fb\n\
         CapAmb: 0000000000000000\nNoNewPrivs: 0\nSeccomp: 2\n0022\n1024\nall\n0\n"
    );
    let mut ordinary = shell("id; grep -E 'CapPrm|CapBnd' /proc/self/status; test -u /bin/su && echo setuid");
    ordinary.identity = Identity {
        uid: 33,
        gid: 33,
        groups: vec![33, 44],
    };
    assert_eq!(
        output_of(&ordinary).replace('\t', " "),
        "uid=33(www-data) gid=33(www-data) groups=33(www-data),44(video)\n\
         CapPrm: 0000000000000000\nCapBnd: 00000000a80425fb\nsetuid\n"
    );
    let mut limited = shell("ulimit -n; ulimit -Hn");
    limited.limits.ulimits.push(Ulimit {
        name: "nofile".into(),
        soft: Some(100),
        hard: Some(200),
    });
    assert_eq!(output_of(&limited), "100\n200\n");
}

#[test]
fn needs_root_what_docker_hides_is_hidden() {
    let script = "
        mount -t tmpfs x /mnt 2>/dev/null && echo mounted
        unshare -r true 2>/dev/null && echo unshared
        cat /proc/kcore 2>/dev/null | head -c 1 | wc -c
        ls /sys/firmware | wc -l
        for file in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/mm/ksm/run; do
            (echo x > $file) 2>/dev/null && echo wrote $file
        done
        mknod /dev/shm/mem c 1 1 && (head -c 1 /dev/shm/mem >/dev/null) 2>/dev/null && echo device
        chroot / true || echo no chroot";
    assert_eq!(output_of(&shell(script)), "0\n0\n");
}

#[test]
fn needs_root_devices_are_there() {
    let script = "
        cd /dev; ls -d fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero | tr '\\n' ' '
        head -c 3 /dev/zero | wc -c; echo lost > /dev/null; head -c 3 /dev/urandom | wc -c
        stat -f -c %T /dev/shm /dev/mqueue /dev/pts | tr '\\n' ' '
        df -B1M --output=size /dev/shm | tail -n 1 | tr -d ' '
        (echo x > /dev/full) 2>/dev/null || echo full; ls /dev/sda /dev/kmsg 2>/dev/null | wc -l";
    assert_eq!(
        output_of(&shell(script)),
        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero 3\n3\n\
         tmpfs mqueue devpts 64\nfull\n0\n"
    );
}

#[test]
fn needs_root_the_network_is_the_hosts_or_none() {
    let host = fs::read_to_string("/proc/net/dev").unwrap().lines().count();
    let mut spec =
        shell("grep -c : /proc/net/dev; grep -c lo: /proc/net/dev; cat /sys/class/net/lo/operstate");
    assert_eq!(output_of(&spec).lines().next().unwrap(), (host - 2).to_string());
    spec.network = Network::None;
    assert_eq!(output_of(&spec), "1\n1\nunknown\n");
}

#[test]
fn needs_root_mounts_are_made_where_they_are_asked_for() {
    let host = tempfile::tempdir().unwrap();
    fs::write(host.path().join("file"), "content\n").unwrap();
    let bind = |source: PathBuf, target: &str, read_only| Mount::Bind {
        source,
        target: target.into(),
        read_only,
    };
    let mut spec = shell(
        "cat /tmp/dir/file /mnt; echo new > /tmp/dir/new; (echo x > /srv/new) 2>/dev/null || echo read-only
         stat -c %a /opt; echo x > /opt/x; (echo x > /etc/x) 2>/dev/null || echo root is read-only",
    );
    spec.mounts = vec![
        Mount::Tmpfs {
            target: "/tmp".into(),
            size: 1 << 20,
            mode: 0o1777,
        },
        bind(host.path().to_owned(), "/tmp/dir", false),
        bind(host.path().join("file"), "/mnt", true),
        bind(host.path().to_owned(), "/srv", true),
        Mount::Tmpfs {
            target: "/opt".into(),
            size: 0,
            mode: 0o750,
        },
    ];
    // A file cannot be mounted on the directory /mnt.
    let (stdio, _output) = piped();
    let error = helper()
        .spawn(&spec, RootFilesystem::Directory(debian().to_owned()), stdio)
        .unwrap_err();
    assert!(
        matches!(&error, SandboxError::Setup { step: Step::Mount { target }, .. } if target == "/mnt"),
        "{error}"
    );
    spec.mounts[2] = bind(host.path().join("file"), "/tmp/file", true);
    spec.argv[2] = spec.argv[2].replace("/mnt", "/tmp/file");
    assert_eq!(
        output_of(&spec),
        "content\ncontent\nread-only\n750\nroot is read-only\n"
    );
    assert_eq!(fs::read_to_string(host.path().join("new")).unwrap(), "new\n");
}

#[test]
fn needs_root_missing_mount_points_are_reported_and_a_hostile_root_is_not_left() {
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), root.path().join("etc")).unwrap();
    std::os::unix::fs::symlink("../../../../../../srv", root.path().join("dev")).unwrap();
    let (stdio, mut output) = piped();
    let spec = Spec {
        read_only: false,
        ..spec(&["/missing"])
    };
    let helper = helper();
    let running = helper
        .spawn(&spec, RootFilesystem::Directory(root.path().to_owned()), stdio)
        .unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(
        (running.wait().unwrap(), text.as_str()),
        (
            Exit::Code(127),
            "exec: \"/missing\": stat /missing: no such file or directory\n"
        )
    );
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    let stubs: Vec<&str> = running
        .created_stubs()
        .iter()
        .map(|stub| stub.path.as_str())
        .collect();
    let inside = outside.path().to_str().unwrap();
    assert_eq!(stubs[..3], ["/proc", "/sys", "/srv"]);
    assert!(stubs.contains(&format!("{inside}/hosts").as_str()), "{stubs:?}");
}

#[test]
fn needs_root_what_a_step_leaves_running_ends_with_it() {
    let marker = format!("300.{}", std::process::id());
    let before = Instant::now();
    let text = output_of(&shell(&format!(
        "setsid sleep {marker} >/dev/null 2>&1 & sleep 0.1; echo done"
    )));
    assert_eq!(text, "done\n");
    assert!(before.elapsed() < Duration::from_secs(20));
    assert!(!running_anywhere(&marker));
}

/// Whether a process with this argument exists on the host.
fn running_anywhere(argument: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0)
            .any(|word| word == argument.as_bytes())
    })
}

#[test]
fn needs_root_signals_reach_pid_1_as_the_kernel_has_it() {
    let helper = helper();
    // Without a handler SIGTERM is dropped, SIGKILL isn't.
    let (running, _output) = start(&helper, &spec(&["sleep", "300"]));
    running.signal(libc::SIGTERM).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(Path::new("/proc").join(running.pid().to_string()).exists());
    running.kill().unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Signal(libc::SIGKILL));
    assert_eq!(running.wait().unwrap(), Exit::Signal(libc::SIGKILL));
    running.signal(libc::SIGTERM).unwrap();
    // With one it is handled.
    let (running, mut output) = start(
        &helper,
        &shell("trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done"),
    );
    let mut ready = [0; 6];
    output.read_exact(&mut ready).unwrap();
    running.signal(libc::SIGTERM).unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Code(9));
}

#[test]
fn needs_root_init_passes_signals_on_and_reaps() {
    let helper = helper();
    let init = |mut spec: Spec| {
        spec.init = true;
        spec
    };
    let (running, _output) = start(&helper, &init(spec(&["sleep", "300"])));
    running.signal(libc::SIGTERM).unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Code(128 + libc::SIGTERM));
    assert_eq!(
        run(&helper, &init(shell("echo $$; exit 3"))),
        (Exit::Code(3), "2\n".into())
    );
    assert_eq!(run(&helper, &init(spec(&["nothing"]))).0, Exit::Code(127));
}

#[test]
fn needs_root_a_terminal_is_the_containers_own() {
    let helper = helper();
    let mut spec = shell(
        "tty; test -t 0 && test -t 1 && test -t 2 && echo all; stat -c '%u %g' /dev/console; read line; echo got $line",
    );
    spec.tty = true;
    let (stdio, _unused) = piped();
    let running = helper
        .spawn(&spec, RootFilesystem::Directory(debian().to_owned()), stdio)
        .unwrap();
    let mut terminal = File::from(running.take_pty().unwrap());
    assert!(running.take_pty().is_none());
    std::io::Write::write_all(&mut terminal, b"word\n").unwrap();
    let mut text = Vec::new();
    // At the end of the other side a terminal's master gives EIO.
    let _end = terminal.read_to_end(&mut text);
    assert_eq!(running.wait().unwrap(), Exit::Code(0));
    let text = String::from_utf8(text).unwrap();
    let mut lines: Vec<&str> = text.lines().filter(|line| *line != "word").collect();
    lines.sort_unstable();
    assert_eq!(lines, ["/dev/pts/0", "0 5", "all", "got word"]);
}

#[test]
fn needs_root_a_further_process_joins_the_container() {
    let helper = helper();
    let (running, _output) = start(&helper, &spec(&["sleep", "300"]));
    let exec = |spec: &Spec| {
        let (stdio, mut output) = piped();
        let member = running.exec(spec, stdio).unwrap();
        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        (member.wait().unwrap(), text)
    };
    let mut inner =
        shell("hostname; cat /proc/1/cmdline | tr '\\0' ' '; grep CapEff /proc/self/status; id -u; exit 4");
    inner.identity.uid = 33;
    let (exit, text) = exec(&inner);
    assert_eq!(
        (exit, text.as_str()),
        (Exit::Code(4), "box\nsleep 300 CapEff:\t0000000000000000\n33\n")
    );
    assert_eq!(exec(&spec(&["nothing"])).0, Exit::Code(127));
    // A new container after that is a sibling, not inside.
    assert_eq!(
        run(&helper, &shell("ls /proc | grep -c '^[0-9]'")),
        (Exit::Code(0), "3\n".into())
    );
    // A member outliving its container is ended with it.
    let (stdio, _output) = piped();
    let member = running.exec(&spec(&["sleep", "300"]), stdio).unwrap();
    running.kill().unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Signal(libc::SIGKILL));
    assert_eq!(member.wait().unwrap(), Exit::Signal(libc::SIGKILL));
    let (stdio, _output) = piped();
    let error = running.exec(&spec(&["true"]), stdio).unwrap_err();
    assert!(
        matches!(error, SandboxError::Setup { step: Step::Join, .. }),
        "{error}"
    );
}

#[test]
fn needs_root_memory_and_process_limits_hold() {
    let helper = helper();
    let mut greedy = shell("head -c 200m /dev/zero | tail -c 200m | wc -c");
    greedy.limits.memory = Some(32 << 20);
    let (running, mut output) = start(&helper, &greedy);
    output.read_to_string(&mut String::new()).unwrap();
    assert!(running.oom_kills().unwrap() > 0);
    greedy.argv[2] = "head -c 300m /dev/zero | tail -c 200m >/dev/null".into();
    assert_eq!(run(&helper, &greedy).0, Exit::OutOfMemory);
    let mut forking = shell("for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; wait");
    forking.limits.pids = Some(4);
    let (exit, text) = run(&helper, &forking);
    assert!(exit != Exit::Code(0) && text.contains("fork"), "{exit:?} {text}");
}

#[test]
fn needs_root_a_dead_engine_or_helper_leaves_nothing() {
    let marker = format!("301.{}", std::process::id());
    let killed_helper = helper();
    let (running, _output) = start(&killed_helper, &spec(&["sleep", &marker]));
    assert!(running_anywhere(&marker));
    // The helper is the parent of the container's first process.
    let status = fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    let parent = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:\t"))
        .unwrap()
        .parse()
        .unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(parent),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    assert!(matches!(running.wait(), Err(SandboxError::Gone)));
    let (stdio, _output) = piped();
    let error = killed_helper.spawn(
        &spec(&["true"]),
        RootFilesystem::Directory(debian().to_owned()),
        stdio,
    );
    assert!(matches!(error, Err(SandboxError::Gone)), "{error:?}");
    drop(killed_helper);
    assert!(!running_anywhere(&marker));
    // Dropping the engine's side is what its death looks like to the helper.
    let helper = helper();
    let (running, _output) = start(&helper, &spec(&["sleep", &marker]));
    let before = cgroups_of(&helper_parent(&running));
    assert!(!before.is_empty(), "no cgroup was made on this host");
    drop(helper);
    assert!(!running_anywhere(&marker));
    assert!(before.iter().all(|directory| !directory.exists()), "{before:?}");
    // A dropped `Running` ends its container.
    let helper = self::helper();
    let (running, mut output) = start(&helper, &spec(&["sleep", &marker]));
    drop(running);
    output.read_to_string(&mut String::new()).unwrap();
    assert!(!running_anywhere(&marker));
}

/// The process group leader that removes cgroups: the parent of the helper.
fn helper_parent(running: &Running) -> String {
    let parent = |pid: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:\t"))
            .unwrap()
            .to_owned()
    };
    parent(&parent(&running.pid().to_string()))
}

fn cgroups_of(launcher: &str) -> Vec<PathBuf> {
    let find = Command::new("find")
        .args(["/sys/fs/cgroup", "-maxdepth", "5", "-name"])
        .arg(format!("silt-{launcher}"))
        .output();
    String::from_utf8(find.unwrap().stdout)
        .unwrap()
        .lines()
        .map(PathBuf::from)
        .collect()
}

#[test]
fn needs_root_nothing_reaches_the_hosts_mounts() {
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let helper = helper();
    let (running, _output) = start(&helper, &spec(&["sleep", "300"]));
    assert_eq!(mounts(), before);
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(mounts(), before);
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

#[test]
fn needs_root_starting_takes_milliseconds() {
    let helper = helper();
    let mut times: Vec<Duration> = (0..40)
        .map(|_| {
            let before = Instant::now();
            assert_eq!(run(&helper, &spec(&["/bin/true"])).0, Exit::Code(0));
            before.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "true in a fresh container: median {:?}, fastest {:?}",
        times[20], times[0]
    );
    assert!(times[20] < Duration::from_millis(100), "{times:?}");
}
