//! A container's view of files: its root filesystem, what is mounted into it, then `/` itself.
//!
//! In: a Spec, in a child that already has its own mount namespace. Effect: mounts, all of them in that namespace. Sources are
//! opened as detached mounts first (`open_tree(2)`, `fsmount(2)`), targets are descriptors from `target`, and `move_mount(2)` joins
//! them: no path of the container is ever followed by the kernel. The new root is mounted over the old `/`, reached by its
//! descriptor, and pivoted to; so nothing of the host needs a mount point. Spec: runtime-spec, config-linux "Default Filesystems";
//! masked and read-only paths are Docker's.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::devices::{self, Devices};
use super::error::{During, Failure, Step};
use super::mount::{
    self, Detached, NODEV, NOSUID, NOTHING_SPECIAL, READ_ONLY, at, attach, attach_over, copy_of, kind_of,
    new_filesystem, place, restrict,
};
use super::target::{Kind, Targets};
use super::{Mount, Spec, Stub};
use crate::plan::Network;

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
const FIXED: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The container's files while they are put together.
pub(super) struct Root {
    mount: Detached,
    files: Detached,
}

/// Sources on the host, opened while its paths are still there.
pub(super) struct Sources {
    devices: Devices,
    mounts: Vec<(Detached, Kind)>,
}

impl Sources {
    /// Opens what will be mounted.
    pub(super) fn open(spec: &Spec, device_nodes: bool) -> Result<Self, Failure> {
        let devices = Devices::open(spec.privileged)?;
        let mut mounts = Vec::new();
        for mount in &spec.mounts {
            mounts.push(match mount {
                Mount::Bind {
                    source, read_only, ..
                } => {
                    let step = || Step::Source { path: source.clone() };
                    let copy = copy_of(CWD, source, true).during(step)?;
                    let mut attributes = mount::common(device_nodes);
                    attributes.set(READ_ONLY, *read_only);
                    restrict(&copy, attributes, true).during(step)?;
                    let kind = kind_of(copy.as_fd()).during(step)?;
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

impl Root {
    /// Attaches the root over `/` and prepares the files that are bound into it.
    pub(super) fn attach(mount: Detached, spec: &Spec) -> Result<Self, Failure> {
        let files = generated_files(spec).during(|| at("/etc/hosts"))?;
        // Over this process's own `/`, where only the descriptor reaches it.
        attach_over(&mount, "/").during(|| at("/"))?;
        Ok(Self { mount, files })
    }

    /// Mounts everything into it; gives what had to be created for that.
    pub(super) fn fill(&self, spec: &Spec, sources: Sources) -> Result<Vec<Stub>, Failure> {
        let mut targets = Targets::new(self.mount.as_fd()).during(|| at("/"))?;
        Self::kernel_filesystems(spec, &mut targets)?;
        sources.devices.place(spec, &mut targets)?;
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
            attributes |= READ_ONLY;
        }
        let sys = match new_filesystem("sysfs", &[], attributes) {
            // Only the owner of the network namespace may mount a new one.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) && spec.network == Network::Host => {
                let host = copy_of(CWD, Path::new("/sys"), true).during(|| at("/sys"))?;
                restrict(&host, attributes, true).during(|| at("/sys"))?;
                host
            }
            other => other.during(|| at("/sys"))?,
        };
        place(targets, &sys, "/sys", Kind::Directory)?;
        if unified_cgroups() {
            match new_filesystem("cgroup2", &[], attributes) {
                Ok(own) => place(targets, &own, "/sys/fs/cgroup", Kind::Directory)?,
                // In a container that may not mount it programs see no limits, and start as they do on v1.
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
                Err(error) => return Err(error).during(|| at("/sys/fs/cgroup")),
            }
        }
        Ok(())
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
            restrict(&cover, READ_ONLY, false)
                .and_then(|()| attach(&cover, &target))
                .during(|| at(path))?;
        }
        for path in FIXED {
            let Some((target, _)) = self.existing(path).during(|| at(path))? else {
                continue;
            };
            copy_of(&target, Path::new(""), true)
                .and_then(|copy| {
                    restrict(&copy, READ_ONLY, true)?;
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

    /// A new terminal of the container: master and slave.
    pub(super) fn terminal(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        devices::terminal(&self.mount)
    }

    /// Makes this the process's root; the old one is gone afterwards, with the generated files' mount in it.
    pub(super) fn enter(self, read_only: bool) -> io::Result<()> {
        if read_only {
            restrict(&self.mount, READ_ONLY, false)?;
        }
        rustix::process::fchdir(&self.mount)?;
        // Puts the old root on top of the new one; the next call takes it off.
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")?;
        Ok(())
    }
}

/// Whether the host has cgroup v2 where programs look for it. They size themselves by the limits they read there; v1's many
/// hierarchies are left out.
fn unified_cgroups() -> bool {
    const CGROUP2: i64 = 0x6367_7270;
    rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|found| found.f_type == CGROUP2)
}

/// A small tmpfs with the container's hosts, resolv.conf and hostname, and an empty directory that hides others.
fn generated_files(spec: &Spec) -> io::Result<Detached> {
    let files = new_filesystem("tmpfs", &[("mode", "755")], NOSUID | NODEV)?;
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
    attach_over(&files, "/proc")?;
    Ok(files)
}
