//! Mounts before they have a place: filesystems and copies as descriptors (`fsopen(2)`, `open_tree(2)`, `move_mount(2)`).
//!
//! In: a type, options or a path. Out: a detached mount, which vanishes when its descriptor is closed unless it was attached. No path
//! of a container is followed here: targets are descriptors.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, fstat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount,
    open_tree,
};

use super::error::{During, Failure, Step};
use super::sys;
use super::target::{Kind, Targets};

/// No setuid programs, no devices, no programs at all: for what the kernel and the sandbox provide.
pub(super) const NOTHING_SPECIAL: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

pub(super) const NODEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
pub(super) const NOSUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
pub(super) const NOEXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
pub(super) const READ_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;

/// A detached mount.
pub(super) type Detached = OwnedFd;

/// Makes a new filesystem of this type, detached.
pub(super) fn new_filesystem(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> io::Result<Detached> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", if kind == "fuse" { "silt" } else { kind })?;
    for &(key, value) in options {
        if value.is_empty() {
            fsconfig_set_flag(&context, key)?;
        } else {
            fsconfig_set_string(&context, key, value)?;
        }
    }
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// A detached copy of what is at `path`, seen from `directory`.
pub(super) fn copy_of(directory: impl AsFd, path: &Path, recursive: bool) -> io::Result<Detached> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(directory, path, flags)?)
}

/// Gives a mount its place.
pub(super) fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", target, "", flags)?)
}

/// Gives a mount its place over a directory of this process's own root, `/` even, where only its descriptor reaches it.
pub(super) fn attach_over(mount: impl AsFd, path: &str) -> io::Result<()> {
    Ok(move_mount(
        mount,
        "",
        CWD,
        path,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?)
}

/// Adds attributes to a mount, to its submounts too when `recursive`.
pub(super) fn restrict(mount: &Detached, attributes: MountAttrFlags, recursive: bool) -> io::Result<()> {
    if attributes.is_empty() {
        return Ok(());
    }
    sys::set_mount_attributes(mount.as_fd(), u64::from(attributes.bits()), recursive)
}

/// Attaches at a path of the container, which is created when missing.
pub(super) fn place(
    targets: &mut Targets<'_>,
    mount: &Detached,
    path: &str,
    kind: Kind,
) -> Result<(), Failure> {
    targets
        .resolve(path, kind)
        .and_then(|target| attach(mount, target))
        .during(|| at(path))
}

/// Names the mount at `target` in errors.
pub(super) fn at(target: &str) -> Step {
    Step::Mount {
        target: target.to_owned(),
    }
}

/// What a descriptor can be mounted on.
pub(super) fn kind_of(descriptor: BorrowedFd<'_>) -> io::Result<Kind> {
    let directory = FileType::from_raw_mode(fstat(descriptor)?.st_mode) == FileType::Directory;
    Ok(if directory { Kind::Directory } else { Kind::File })
}

/// Parts this mount namespace from all others.
pub(super) fn make_private() -> io::Result<()> {
    Ok(mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?)
}

/// A FUSE filesystem on an opened /dev/fuse, as the container's root.
pub(super) fn fuse(device: BorrowedFd<'_>, devices: bool) -> io::Result<Detached> {
    let descriptor = device.as_raw_fd().to_string();
    let mut options = vec![("fd", descriptor.as_str()), ("subtype", "silt")];
    options.extend(silt_fuse::MOUNT_OPTIONS);
    new_filesystem("fuse", &options, common(devices))
}

/// A host directory as the container's root.
pub(super) fn directory(path: &Path, devices: bool) -> io::Result<Detached> {
    let mount = copy_of(CWD, path, false)?;
    restrict(&mount, common(devices), false)?;
    Ok(mount)
}

/// What holds for the root and every bind: device nodes in them cannot be opened, unless the cgroup sees to that (`devices`).
pub(super) fn common(devices: bool) -> MountAttrFlags {
    if devices { MountAttrFlags::empty() } else { NODEV }
}
