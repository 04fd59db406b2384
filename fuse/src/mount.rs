//! Opening the device and mounting it: before and apart from serving it, often in another process.
//!
//! In: a device, a place. Out: a mount that waits for a [`Session`](crate::Session). Effects: mounts. Who mounts by `fsopen(2)`, as a
//! container's own process does, sets [`MOUNT_OPTIONS`] and the descriptor; `mount_at` does the same by mount(2). It neither
//! allocates nor takes a lock: after `fork` another thread's lock stays taken for ever.

use std::ffi::CStr;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use nix::mount::MsFlags;

/// How the filesystem is to be mounted, besides the device's descriptor (`fd`) and the subtype `silt`: the kernel checks permissions
/// (`default_permissions`), for every user (`allow_other`). An empty value is a flag.
pub const MOUNT_OPTIONS: [(&str, &str); 5] = [
    ("rootmode", "40000"),
    ("user_id", "0"),
    ("group_id", "0"),
    ("default_permissions", ""),
    ("allow_other", ""),
];

/// Opens `/dev/fuse`, close-on-exec: one descriptor for one mount.
///
/// # Errors
/// `NotFound` without the kernel's fuse, `PermissionDenied` where the device is root's alone.
pub fn open_device() -> io::Result<OwnedFd> {
    Ok(OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")?
        .into())
}

/// Mounts the filesystem that serves `device` on the directory `target`. Needs `CAP_SYS_ADMIN` in the caller's user namespace,
/// whose ids the mount then speaks.
///
/// # Errors
/// What mount(2) says: `EPERM`, `ENOENT`, `EINVAL` (the device is mounted already).
pub fn mount_at(device: BorrowedFd<'_>, target: &CStr, read_only: bool) -> io::Result<()> {
    let mut options = [0_u8; 128];
    let room = options.len() - 1;
    let mut left = &mut options[..room];
    write!(left, "fd={}", device.as_raw_fd())?;
    for (key, value) in MOUNT_OPTIONS {
        let equals = if value.is_empty() { "" } else { "=" };
        write!(left, ",{key}{equals}{value}")?;
    }
    let options = CStr::from_bytes_until_nul(&options).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut flags = MsFlags::empty();
    flags.set(MsFlags::MS_RDONLY, read_only);
    nix::mount::mount(Some(c"silt"), target, Some(c"fuse.silt"), flags, Some(options))?;
    Ok(())
}
