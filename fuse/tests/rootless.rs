//! The same tests in a user namespace, where the mount speaks the namespace's ids and its root has no power outside.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn root_and_fuse_it_all_holds_in_a_user_namespace() {
    let tests = [
        "semantics::",
        "bases::",
        "differential::root_and_fuse_many_short_mounts",
    ];
    let mut inside = Command::new("unshare")
        .args(["-U", "/bin/sh", "-c", "read go; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(tests)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare (Debian: util-linux)");
    let process = format!("/proc/{}", inside.id());
    let namespace = |process: &str| std::fs::read_link(format!("{process}/ns/user")).unwrap();
    while namespace(&process) == namespace("/proc/self") {
        std::thread::sleep(Duration::from_millis(1));
    }
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("{process}/{map}"), "0 0 65536").expect("mapping ids (these tests need root)");
    }
    inside.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let output = inside.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("test result: ok. 2"), "no tests ran: {text}");
}
