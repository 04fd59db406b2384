//! Opening the device and mounting it: the two steps that happen in different processes.
//!
//! `open_device` runs in the engine, `mount_at` in a helper's forked child, inside the step's own namespaces. So `mount_at` neither
//! allocates nor takes a lock: after `fork` another thread's lock stays taken for ever.

use std::ffi::CStr;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use nix::mount::MsFlags;

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
/// whose ids the mount then speaks. The kernel checks permissions (`default_permissions`) for every user (`allow_other`).
///
/// # Errors
/// What mount(2) says: `EPERM`, `ENOENT`, `EINVAL` (the device is mounted already).
pub fn mount_at(device: BorrowedFd<'_>, target: &CStr, read_only: bool) -> io::Result<()> {
    let mut options = [0_u8; 128];
    let room = options.len() - 1;
    write!(
        &mut options[..room],
        "fd={},rootmode=40755,user_id=0,group_id=0,default_permissions,allow_other",
        device.as_raw_fd()
    )?;
    let options = CStr::from_bytes_until_nul(&options).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut flags = MsFlags::empty();
    flags.set(MsFlags::MS_RDONLY, read_only);
    nix::mount::mount(Some(c"silt"), target, Some(c"fuse.silt"), flags, Some(options))?;
    Ok(())
}
