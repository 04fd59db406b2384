//! Which device nodes may be opened: Docker's list, by the devices controller of v1 or a BPF program on v2.
//!
//! Any node may be made (images hold them); opened are null, zero, full, random, urandom, tty, console, ptmx and pseudo-terminals.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::super::sys::{self, DeviceInstruction};

const BLOCK_OR_CHAR: [&str; 2] = ["b *:* m", "c *:* m"];
/// Major, minors.
const OPEN: [(u32, &[u32]); 2] = [(1, &[3, 5, 7, 8, 9]), (5, &[0, 1, 2])];
const TERMINALS: u32 = 136;

/// Gives a v1 devices cgroup our rules; cgroups made below it later get them, too.
pub(super) fn restrict(directory: &Path) -> io::Result<()> {
    let allow = directory.join("devices.allow");
    super::write(&directory.join("devices.deny"), "a")?;
    for rule in BLOCK_OR_CHAR {
        super::write(&allow, rule)?;
    }
    for (major, minors) in OPEN {
        for minor in minors {
            super::write(&allow, &format!("c {major}:{minor} rwm"))?;
        }
    }
    super::write(&allow, &format!("c {TERMINALS}:* rwm"))
}

/// Loads the program that says the same on v2.
pub(super) fn program() -> io::Result<OwnedFd> {
    sys::load_device_program(&instructions())
}

/// Has the program decide for all processes in this cgroup.
pub(super) fn attach(program: &OwnedFd, cgroup: &Path) -> io::Result<()> {
    sys::attach_device_program(program.as_fd(), File::open(cgroup)?.as_fd())
}

/// The context (register 1) holds: type and access in one word, major, minor. 1 in register 0 allows. Spec: kernel,
/// `struct bpf_cgroup_dev_ctx`.
fn instructions() -> Vec<DeviceInstruction> {
    const LOAD: u8 = 0x61;
    const SHIFT_RIGHT: u8 = 0x77;
    const AND: u8 = 0x57;
    const SET: u8 = 0xb7;
    const IF_EQUAL: u8 = 0x15;
    const IF_NOT_EQUAL: u8 = 0x55;
    const EXIT: u8 = 0x95;
    const MAKE_NODE: i32 = 1;
    const CHARACTER: i32 = 2;
    let (result, context, kind, access, major, minor) = (0, 1, 2, 3, 4, 5);
    let set = |code, register, value| DeviceInstruction::new(code, register, 0, 0, value);
    let load = |register, offset| DeviceInstruction::new(LOAD, register, context, offset, 0);
    let mut code = vec![
        load(kind, 0),
        load(access, 0),
        load(major, 4),
        load(minor, 8),
        set(SHIFT_RIGHT, access, 16),
        set(AND, kind, 0xffff),
        set(SET, result, 1),
    ];
    // Jumps to the two exits at the end are filled in when the length is known.
    let mut allow: Vec<usize> = Vec::new();
    let mut branch = |code: &mut Vec<DeviceInstruction>, register, value: u32| {
        allow.push(code.len());
        code.push(set(IF_EQUAL, register, value as i32));
    };
    branch(&mut code, access, MAKE_NODE as u32);
    let not_character = code.len();
    code.push(set(IF_NOT_EQUAL, kind, CHARACTER));
    branch(&mut code, major, TERMINALS);
    for (number, minors) in OPEN {
        code.push(DeviceInstruction::new(
            IF_NOT_EQUAL,
            major,
            0,
            minors.len() as i16,
            number as i32,
        ));
        for &value in minors {
            branch(&mut code, minor, value);
        }
    }
    let refuse = code.len();
    code.push(set(SET, result, 0));
    let end = code.len();
    code.push(set(EXIT, 0, 0));
    let distance = |from: usize, to: usize| (to - from - 1) as i16;
    for at in allow {
        code[at].offset = distance(at, end);
    }
    code[not_character].offset = distance(not_character, refuse);
    code
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn needs_root_the_program_refuses_devices_in_a_v2_cgroup() {
        let mount = tempfile::tempdir().unwrap();
        let point = mount.path().display();
        // The scene holds the mount, in its own namespace; it is reached through its root.
        let mut scene = Command::new("unshare")
            .args(["-m", "sh", "-c"])
            .arg(format!(
                "mount -t cgroup2 none {point} && mkdir -p {point}/silt-test && exec cat"
            ))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let cgroup = format!("/proc/{}/root{point}/silt-test", scene.id());
        let cgroup = Path::new(&cgroup);
        for _ in 0..500 {
            if cgroup.join("cgroup.procs").exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        attach(&program().unwrap(), cgroup).unwrap();
        let node = mount.path().join("mem");
        let refused = |device: &str| format!("head -c 1 {device} 2>&1 >/dev/null | grep -o 'not permitted';");
        let script = format!(
            "echo 0 > {}/cgroup.procs; echo x > /dev/null && head -c 1 /dev/zero | wc -c
             mknod {1} c 1 1 && echo made; {2} {3}",
            cgroup.display(),
            node.display(),
            refused(node.to_str().unwrap()),
            refused("/dev/kmsg"),
        );
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        std::fs::remove_dir(cgroup).unwrap();
        drop(scene.stdin.take());
        scene.wait().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text, "1\nmade\nnot permitted\nnot permitted\n", "{output:?}");
    }
}
