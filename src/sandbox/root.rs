//! A container's view of files: its root filesystem, what is mounted into it, then `/` itself.
//!
//! In: a Spec, in a child that already has its own mount namespace. Effect: mounts, all of them in that namespace. Sources are
//! opened as detached mounts first (`open_tree(2)`, `fsmount(2)`), targets are descriptors from `target`, and `move_mount(2)` joins
//! them: no path of the container is ever followed by the kernel. The new root is mounted over the old `/`, reached by its
//! descriptor, and pivoted to; so nothing of the host needs a mount point. Spec: runtime-spec, config-linux "Default Filesystems";
//! masked and read-only paths are Docker's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change,
    move_mount, open_tree, unmount,
};

use super::error::{During, Failure, Step};
use super::sys::set_mount_attributes;
use super::target::{Kind, Targets};
use super::{Mount, Spec, Stub};
use crate::plan::Network;

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];
/// Docker's, of paths that leak or change the host.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];
const DEFAULT_SHM: u64 = 64 << 20;

const NOTHING_SPECIAL: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// A detached mount.
type Detached = OwnedFd;

/// Makes a new filesystem of this type, detached.
fn new_filesystem(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<Detached> {
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
fn copy_of(directory: impl AsFd, path: &Path, recursive: bool) -> io::Result<Detached> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(directory, path, flags)?)
}

fn attach(mount: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", target, "", flags)?)
}

fn at(target: &str) -> Step {
    Step::Mount {
        target: target.to_owned(),
    }
}

/// Parts this mount namespace from all others.
pub(super) fn make_private() -> io::Result<()> {
    Ok(mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?)
}

/// A FUSE filesystem on an opened /dev/fuse, as the container's root.
pub(super) fn fuse(device: BorrowedFd<'_>, privileged: bool) -> io::Result<Detached> {
    use std::os::fd::AsRawFd;
    let descriptor = device.as_raw_fd().to_string();
    let options = [
        ("fd", descriptor.as_str()),
        ("rootmode", "40000"),
        ("user_id", "0"),
        ("group_id", "0"),
        ("default_permissions", ""),
        ("allow_other", ""),
    ];
    new_filesystem("fuse", &options, root_attributes(privileged))
}

/// A host directory as the container's root.
pub(super) fn directory(path: &Path, privileged: bool) -> io::Result<Detached> {
    let mount = copy_of(CWD, path, false)?;
    set_mount_attributes(
        mount.as_fd(),
        u64::from(root_attributes(privileged).bits()),
        false,
    )?;
    Ok(mount)
}

fn root_attributes(privileged: bool) -> MountAttrFlags {
    if privileged {
        MountAttrFlags::empty()
    } else {
        MountAttrFlags::MOUNT_ATTR_NODEV
    }
}

/// The container's files while they are put together.
pub(super) struct Root {
    mount: Detached,
    files: Detached,
}

/// Sources on the host, opened while its paths are still there.
pub(super) struct Sources {
    devices: Vec<(&'static str, Detached)>,
    mounts: Vec<(Detached, Kind)>,
}

impl Sources {
    /// Opens what will be mounted.
    pub(super) fn open(spec: &Spec) -> Result<Self, Failure> {
        let open = |path: &Path, recursive| {
            copy_of(CWD, path, recursive).during(|| Step::Source { path: path.into() })
        };
        let mut devices = Vec::new();
        for name in DEVICES {
            devices.push((name, open(&Path::new("/dev").join(name), false)?));
        }
        let mut mounts = Vec::new();
        for mount in &spec.mounts {
            mounts.push(match mount {
                Mount::Bind {
                    source, read_only, ..
                } => {
                    let copy = open(source, true)?;
                    bind_attributes(copy.as_fd(), *read_only, spec.privileged)
                        .during(|| Step::Source { path: source.clone() })?;
                    let kind = kind_of(copy.as_fd()).during(|| Step::Source { path: source.clone() })?;
                    (copy, kind)
                }
                Mount::Tmpfs { target, size, mode } => {
                    let (size, mode) = (size.to_string(), format!("{mode:o}"));
                    let options = [("mode", mode.as_str()), ("size", size.as_str())];
                    let options = if size == "0" { &options[..1] } else { &options[..] };
                    (
                        new_filesystem("tmpfs", options, NOTHING_SPECIAL).during(|| at(target))?,
                        Kind::Directory,
                    )
                }
            });
        }
        Ok(Self { devices, mounts })
    }
}

fn bind_attributes(mount: BorrowedFd<'_>, read_only: bool, privileged: bool) -> io::Result<()> {
    let mut attributes = root_attributes(privileged);
    if read_only {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    if attributes.is_empty() {
        Ok(())
    } else {
        set_mount_attributes(mount, u64::from(attributes.bits()), true)
    }
}

fn kind_of(descriptor: BorrowedFd<'_>) -> io::Result<Kind> {
    let directory = FileType::from_raw_mode(fstat(descriptor)?.st_mode) == FileType::Directory;
    Ok(if directory { Kind::Directory } else { Kind::File })
}

impl Root {
    /// Attaches the root over `/` and prepares the files that are bound into it.
    pub(super) fn attach(mount: Detached, spec: &Spec) -> Result<Self, Failure> {
        let files = generated_files(spec).during(|| at("/etc/hosts"))?;
        // Over this process's own `/`, where only the descriptor reaches it.
        move_mount(&mount, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).during(|| at("/"))?;
        Ok(Self { mount, files })
    }

    /// Mounts everything into it; gives what had to be created for that.
    pub(super) fn fill(&self, spec: &Spec, sources: Sources) -> Result<Vec<Stub>, Failure> {
        let mut targets = Targets::new(self.mount.as_fd()).during(|| at("/"))?;
        Self::kernel_filesystems(spec, &mut targets)?;
        Self::devices(spec, sources.devices, &mut targets)?;
        for (name, path) in [
            ("hosts", "/etc/hosts"),
            ("resolv.conf", "/etc/resolv.conf"),
            ("hostname", "/etc/hostname"),
        ] {
            let mount = copy_of(&self.files, Path::new(name), false).during(|| at(path))?;
            place(&mut targets, &mount, path, Kind::File)?;
        }
        for (mount, (source, kind)) in spec.mounts.iter().zip(sources.mounts) {
            let (Mount::Bind { target, .. } | Mount::Tmpfs { target, .. }) = mount;
            place(&mut targets, &source, target, kind)?;
        }
        if !spec.privileged {
            self.cover(&mut targets)?;
        }
        Ok(targets.into_stubs())
    }

    fn kernel_filesystems(spec: &Spec, targets: &mut Targets<'_>) -> Result<(), Failure> {
        let proc = new_filesystem("proc", &[], NOTHING_SPECIAL).during(|| at("/proc"))?;
        place(targets, &proc, "/proc", Kind::Directory)?;
        let mut attributes = NOTHING_SPECIAL;
        if !spec.privileged {
            attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
        }
        let sys = match new_filesystem("sysfs", &[], attributes) {
            // Only the owner of the network namespace may mount a new one.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) && spec.network == Network::Host => {
                let host = copy_of(CWD, Path::new("/sys"), true).during(|| at("/sys"))?;
                set_mount_attributes(host.as_fd(), u64::from(attributes.bits()), true)
                    .during(|| at("/sys"))?;
                host
            }
            other => other.during(|| at("/sys"))?,
        };
        place(targets, &sys, "/sys", Kind::Directory)
    }

    fn devices(
        spec: &Spec,
        host: Vec<(&'static str, Detached)>,
        targets: &mut Targets<'_>,
    ) -> Result<(), Failure> {
        let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let nodev = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let dev =
            new_filesystem("tmpfs", &[("mode", "755"), ("size", "65536k")], nodev).during(|| at("/dev"))?;
        for name in ["pts", "shm", "mqueue"] {
            mkdirat(&dev, name, Mode::from_raw_mode(0o755)).during(|| at("/dev"))?;
        }
        for (target, name) in DEVICE_LINKS {
            symlinkat(target, &dev, name).during(|| at("/dev"))?;
        }
        place(targets, &dev, "/dev", Kind::Directory)?;
        for (name, mount) in host {
            place(targets, &mount, &format!("/dev/{name}"), Kind::File)?;
        }
        let pts = terminals(quiet).during(|| at("/dev/pts"))?;
        place(targets, &pts, "/dev/pts", Kind::Directory)?;
        let size = spec.limits.shm.unwrap_or(DEFAULT_SHM).to_string();
        let options = [("mode", "1777"), ("size", size.as_str())];
        let shm = new_filesystem("tmpfs", &options, NOTHING_SPECIAL).during(|| at("/dev/shm"))?;
        place(targets, &shm, "/dev/shm", Kind::Directory)?;
        let queues = new_filesystem("mqueue", &[], NOTHING_SPECIAL).during(|| at("/dev/mqueue"))?;
        place(targets, &queues, "/dev/mqueue", Kind::Directory)
    }

    /// Hides Docker's masked paths and makes its read-only paths read-only.
    fn cover(&self, targets: &mut Targets<'_>) -> Result<(), Failure> {
        for path in MASKED {
            let Some((target, kind)) = self.existing(path).during(|| at(path))? else {
                continue;
            };
            let cover = match kind {
                Kind::Directory => copy_of(&self.files, Path::new("empty"), false),
                Kind::File => targets
                    .resolve("/dev/null", Kind::File)
                    .and_then(|null| copy_of(null, Path::new(""), false)),
            };
            let cover = cover.during(|| at(path))?;
            set_mount_attributes(
                cover.as_fd(),
                u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits()),
                false,
            )
            .and_then(|()| attach(&cover, &target))
            .during(|| at(path))?;
        }
        for path in READ_ONLY {
            let Some((target, _)) = self.existing(path).during(|| at(path))? else {
                continue;
            };
            copy_of(&target, Path::new(""), true)
                .and_then(|copy| {
                    set_mount_attributes(
                        copy.as_fd(),
                        u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits()),
                        true,
                    )?;
                    attach(&copy, &target)
                })
                .during(|| at(path))?;
        }
        Ok(())
    }

    /// Opens a path of the mounted /proc or /sys, where it exists.
    fn existing(&self, path: &str) -> io::Result<Option<(OwnedFd, Kind)>> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let how = rustix::fs::ResolveFlags::IN_ROOT;
        match rustix::fs::openat2(&self.mount, path, flags, Mode::empty(), how) {
            Ok(descriptor) => {
                let kind = kind_of(descriptor.as_fd())?;
                Ok(Some((descriptor, kind)))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A new terminal of the container's own devpts: master and slave; the slave is bound on /dev/console.
    pub(super) fn terminal(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        let ptmx = rustix::fs::openat2(
            &self.mount,
            "/dev/pts/ptmx",
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
            rustix::fs::ResolveFlags::IN_ROOT,
        )?;
        let slave = open_slave(&ptmx)?;
        let name = rustix::pty::ptsname(&ptmx, Vec::new())?;
        let path = name.to_str().map_err(|_| io::ErrorKind::InvalidData)?;
        let mut targets = Targets::new(self.mount.as_fd())?;
        let console = targets.resolve("/dev/console", Kind::File)?;
        let copy = copy_of(targets.resolve(path, Kind::File)?, Path::new(""), false)?;
        attach(&copy, &console)?;
        Ok((ptmx, slave))
    }

    /// Makes this the process's root; the old one is gone afterwards, with the generated files' mount in it.
    pub(super) fn enter(self, read_only: bool) -> io::Result<()> {
        if read_only {
            set_mount_attributes(
                self.mount.as_fd(),
                u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits()),
                false,
            )?;
        }
        rustix::process::fchdir(&self.mount)?;
        // Puts the old root on top of the new one; the next call takes it off.
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")?;
        Ok(())
    }
}

/// Unlocks a terminal and opens its other end.
pub(super) fn open_slave(master: &OwnedFd) -> io::Result<OwnedFd> {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
    unlockpt(master)?;
    Ok(ioctl_tiocgptpeer(
        master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?)
}

fn place(targets: &mut Targets<'_>, mount: &Detached, path: &str, kind: Kind) -> Result<(), Failure> {
    targets
        .resolve(path, kind)
        .and_then(|target| attach(mount, target))
        .during(|| at(path))
}

/// The container's own devpts. Group 5 is `tty` wherever there is one.
fn terminals(attributes: MountAttrFlags) -> io::Result<Detached> {
    new_filesystem(
        "devpts",
        &[
            ("newinstance", ""),
            ("ptmxmode", "0666"),
            ("mode", "0620"),
            ("gid", "5"),
        ],
        attributes,
    )
}

/// A small tmpfs with the container's hosts, resolv.conf and hostname, and an empty directory that hides others.
fn generated_files(spec: &Spec) -> io::Result<Detached> {
    let nodev = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let files = new_filesystem("tmpfs", &[("mode", "755")], nodev)?;
    let hostname = format!("{}\n", spec.hostname);
    let contents = [
        ("hosts", &spec.hosts),
        ("resolv.conf", &spec.resolv_conf),
        ("hostname", &hostname),
    ];
    for (name, content) in contents {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let file = openat(&files, name, flags, Mode::from_raw_mode(0o644))?;
        io::Write::write_all(&mut std::fs::File::from(file), content.as_bytes())?;
    }
    mkdirat(&files, "empty", Mode::from_raw_mode(0o555))?;
    // A copy can be made only of what is attached. It must not lie over `/`: there it would be what `Root::enter` unmounts.
    move_mount(&files, "", CWD, "/proc", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(files)
}
