//! The system calls without a safe wrapper elsewhere. In: checked arguments. Out: values that own what they name.
//!
//! Everything else of the sandbox goes through rustix and nix, which keep descriptors owned. What stays here: forking into
//! namespaces, `mount_setattr(2)`, installing a filter, signal dispositions, an interface ioctl, leaving without unwinding.
#![allow(unsafe_code, reason = "raw system calls; each block says why it is sound")]

use std::io;
use std::mem::{size_of, size_of_val};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

/// Proof that this process has one thread, so that a forked child finds no lock held and may run any code.
#[derive(Debug, Clone, Copy)]
pub(super) struct SingleThreaded(());

impl SingleThreaded {
    /// Looks at the process's threads.
    ///
    /// # Errors
    /// `InvalidInput` when there is more than one; otherwise what reading `/proc/self/task` gave.
    pub(super) fn prove() -> io::Result<Self> {
        match std::fs::read_dir("/proc/self/task")?.count() {
            1 => Ok(Self(())),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the sandbox helper must have one thread",
            )),
        }
    }
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Forks into new namespaces (`CLONE_NEW*` flags). The parent gets the child's pid, the child `None`.
pub(super) fn fork_into(_proof: SingleThreaded, namespaces: libc::c_int) -> io::Result<Option<Pid>> {
    // SAFETY: all-zero is a valid clone_args; no stack, tls or tid pointers are passed, so the child runs on a copy of this stack.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = u64::from(namespaces.cast_unsigned());
    arguments.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    // SAFETY: without CLONE_VM this is fork(2); the process has one thread (`_proof`), so no lock of libc or Rust is held by another.
    let pid = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<libc::clone_args>(),
        )
    })?;
    Ok(Pid::from_raw(pid as i32))
}

/// Forks plainly, through libc: under a seccomp filter that refuses clone3.
pub(super) fn fork(_proof: SingleThreaded) -> io::Result<Option<Pid>> {
    // SAFETY: the process has one thread (`_proof`).
    let pid = check(libc::c_long::from(unsafe { libc::fork() }))?;
    Ok(Pid::from_raw(pid as i32))
}

/// Ends the process at once: no destructors, no handlers, nothing flushed twice.
pub(super) fn exit(status: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(status) }
}

/// Sets every signal to its default disposition, so that no child inherits an ignored one.
pub(super) fn default_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL installs no code; numbers that cannot be set are refused by the kernel without effect.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Closes every descriptor but the standard ones and `keep`: what this process inherited by its parents' carelessness would
/// otherwise be in every container.
pub(super) fn close_others(keep: BorrowedFd<'_>) -> io::Result<()> {
    let keep = keep.as_raw_fd().cast_unsigned();
    for (first, last) in [(3, keep.saturating_sub(1)), ((keep + 1).max(3), u32::MAX)] {
        if first <= last {
            // SAFETY: called before this process has opened anything but `keep`, so no owned descriptor is closed.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
        }
    }
    Ok(())
}

/// Sends any signal, real-time ones too, to the process that `pidfd` names.
pub(super) fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_information: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: no pointer but the null one is passed, which the call allows.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            no_information,
            0,
        )
    })?;
    Ok(())
}

/// Sets attributes (`MOUNT_ATTR_*`) of the mount that `mount` refers to, of its submounts too when `recursive`.
pub(super) fn set_mount_attributes(mount: BorrowedFd<'_>, set: u64, recursive: bool) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated constant, the attributes live across the call and their size is given.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// One instruction of classic BPF, as the kernel reads it.
pub(super) type Instruction = libc::sock_filter;

/// Installs a seccomp filter on this process. Needs `CAP_SYS_ADMIN`, since `no_new_privs` stays off.
pub(super) fn install_filter(program: &[Instruction]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies `len` instructions from `filter`, which outlives the call, and writes nothing.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        )
    })?;
    Ok(())
}

/// One instruction of extended BPF, for a program that decides about devices.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct DeviceInstruction {
    code: u8,
    registers: u8,
    /// How far a jump goes.
    pub(super) offset: i16,
    value: i32,
}

impl DeviceInstruction {
    pub(super) fn new(code: u8, destination: u8, source: u8, offset: i16, value: i32) -> Self {
        let registers = if cfg!(target_endian = "little") {
            destination | source << 4
        } else {
            destination << 4 | source
        };
        Self {
            code,
            registers,
            offset,
            value,
        }
    }
}

/// Loads a `BPF_PROG_TYPE_CGROUP_DEVICE` program.
pub(super) fn load_device_program(program: &[DeviceInstruction]) -> io::Result<OwnedFd> {
    const PROG_LOAD: libc::c_int = 5;
    const CGROUP_DEVICE: u32 = 15;
    /// The first fields of `union bpf_attr` for this command.
    #[repr(C)]
    struct Attributes {
        kind: u32,
        length: u32,
        instructions: u64,
        license: u64,
    }
    let attributes = Attributes {
        kind: CGROUP_DEVICE,
        length: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
    };
    // SAFETY: the kernel reads `length` instructions and the license's string, which outlive the call, and verifies the program.
    let descriptor = check(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_LOAD,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    })?;
    // SAFETY: the call gave a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) })
}

/// Attaches such a program to a cgroup, beside what is attached already.
pub(super) fn attach_device_program(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>) -> io::Result<()> {
    const PROG_ATTACH: libc::c_int = 8;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    // The first fields of `union bpf_attr` for this command: target, program, type, flags.
    let attributes = [
        cgroup.as_raw_fd() as u32,
        program.as_raw_fd() as u32,
        CGROUP_DEVICE,
        ALLOW_MULTI,
    ];
    // SAFETY: the kernel reads the four words, which outlive the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_ATTACH,
            &raw const attributes,
            size_of_val(&attributes),
        )
    })?;
    Ok(())
}

/// Brings the loopback interface of this network namespace up.
pub(super) fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l'.cast_signed() as libc::c_char;
    request.ifr_name[1] = b'o'.cast_signed() as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which lives across the call.
    check(libc::c_long::from(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    }))?;
    Ok(())
}
