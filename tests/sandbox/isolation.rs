//! What a process in a container sees, and what it is kept from.

use super::*;

#[test]
fn needs_root_the_process_is_pid_1_of_its_own_namespaces() {
    let text = output_of(&shell(
        "echo $$; set -- /proc/[0-9]*; echo $#; hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf",
    ));
    assert_eq!(
        text,
        "1\n1\nbox\nbox\n127.0.0.1 localhost\n127.0.1.1 box\nnameserver 192.0.2.1\n"
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

/// A 32-bit program of one phrase: `exit(42)`.
#[cfg(target_arch = "x86_64")]
fn program_of_32_bits() -> Vec<u8> {
    let code = [0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80];
    let (base, start, size) = (0x0804_8000_u32, 84_u32, 84 + code.len() as u32);
    let mut program = vec![0x7f, b'E', b'L', b'F', 1, 1, 1];
    program.resize(16, 0);
    for half in [2_u16, 3] {
        program.extend(half.to_le_bytes());
    }
    for word in [1, base + start, 52, 0, 0] {
        program.extend(word.to_le_bytes());
    }
    for half in [52_u16, 32, 1, 0, 0, 0] {
        program.extend(half.to_le_bytes());
    }
    for word in [1, 0, base, base, size, size, 5, 0x1000] {
        program.extend(word.to_le_bytes());
    }
    program.extend(code);
    program
}

#[test]
#[cfg(target_arch = "x86_64")]
fn needs_root_programs_of_32_bits_run() {
    use std::os::unix::fs::PermissionsExt;
    let host = tempfile::tempdir().unwrap();
    let file = host.path().join("program");
    fs::write(&file, program_of_32_bits()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let here = Command::new(&file)
        .status()
        .expect("this kernel runs no 32-bit programs (CONFIG_IA32_EMULATION)");
    assert_eq!(here.code(), Some(42));
    let mut spec = spec(&["/tmp/program"]);
    spec.mounts = vec![Mount::Bind {
        source: host.path().to_owned(),
        target: "/tmp".into(),
        read_only: true,
    }];
    assert_eq!(run(&helper(), &spec), (Exit::Code(42), String::new()));
}

#[test]
fn needs_root_a_privileged_container_may_mount_and_sees_devices() {
    let mut spec = shell(
        "mount -t tmpfs x /mnt && touch /mnt/x && echo mounted; test -c /dev/fuse && echo fuse
         head -c 1 /dev/kmsg >/dev/null 2>&1; ls /sys/firmware >/dev/null && grep Seccomp: /proc/self/status",
    );
    spec.privileged = true;
    assert_eq!(output_of(&spec), "mounted\nfuse\nSeccomp:\t0\n");
}

#[test]
fn needs_root_device_nodes_can_be_made_and_dockers_opened() {
    device_nodes();
}

fn device_nodes() {
    let root = tempfile::tempdir().unwrap();
    let mut spec = shell(
        "cd /tmp; mknod null c 1 3 && echo x > null && echo opened
         mknod mem c 1 1 && (head -c 1 mem > /dev/null) 2>&1 | grep -o 'not permitted'
         mknod disk b 7 0 && (head -c 1 disk > /dev/null) 2>&1 | grep -o 'not permitted'",
    );
    spec.mounts = vec![Mount::Bind {
        source: root.path().to_owned(),
        target: "/tmp".into(),
        read_only: false,
    }];
    assert_eq!(output_of(&spec), "opened\nnot permitted\nnot permitted\n");
}

#[test]
fn needs_root_the_helpers_executable_cannot_be_written() {
    // What a container would find as /proc/<helper>/exe is on a read-only mount.
    let helper = helper();
    let (running, _output) = start(&helper, &spec(&["sleep", "300"]));
    let status = fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    let parent = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:\t"))
        .unwrap();
    let exe = format!("/proc/{parent}/exe");
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    assert_eq!(inode(Path::new(&exe)), inode(Path::new(HELPER)));
    let flags = nix::sys::statvfs::statvfs(exe.as_str()).unwrap().flags();
    assert!(flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY), "{flags:?}");
}

#[test]
fn needs_root_cgroup_v2_alone_serves_as_well() {
    // The same kernel, as a host with v2 alone shows itself.
    let script =
        "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$0\" --ignored \"$1\"";
    let tests = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(tests)
        .arg("sandbox::isolation::inner_on_v2")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("1 passed"),
        "{text} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
#[ignore = "run where only cgroup v2 is mounted by the test above"]
fn inner_on_v2_devices_and_the_containers_own_cgroup() {
    device_nodes();
    let script =
        "cd /sys/fs/cgroup; stat -f -c %T .; cat cgroup.procs | head -n 1; tail -n 1 /proc/self/cgroup
                  (mkdir own) 2>/dev/null || echo read-only";
    assert_eq!(output_of(&shell(script)), "cgroup2fs\n1\n0::/\nread-only\n");
}
