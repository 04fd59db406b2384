//! Signals, terminals, further processes, limits, ends.

use super::*;

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
fn needs_root_a_terminals_interrupt_comes_once_under_an_init() {
    let helper = helper();
    let mut spec = shell("trap 'echo caught' INT; echo ready; sleep 1; sleep 0.2; echo end");
    (spec.tty, spec.init) = (true, true);
    let running = helper
        .spawn(&spec, RootFilesystem::Directory(debian().to_owned()), piped().0)
        .unwrap();
    let mut terminal = File::from(running.take_pty().unwrap());
    let mut text = String::new();
    while !text.contains("ready") {
        let mut buffer = [0; 64];
        let count = terminal.read(&mut buffer).unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    std::io::Write::write_all(&mut terminal, b"\x03").unwrap();
    let mut rest = Vec::new();
    let _end = terminal.read_to_end(&mut rest);
    text.push_str(&String::from_utf8_lossy(&rest));
    assert_eq!(text.matches("caught").count(), 1, "{text}");
    assert_eq!(running.wait().unwrap(), Exit::Code(0));
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
        run(&helper, &shell("set -- /proc/[0-9]*; echo $#")),
        (Exit::Code(0), "1\n".into())
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
    until(|| running_anywhere(&marker));
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
