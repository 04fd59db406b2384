//! A container's /dev: a tmpfs with the usual host devices bound into it, terminals, shared memory and message queues of its own.
//!
//! In: the host's device files, opened while its paths are there. Effect: mounts. Binding works for ordinary users, making nodes
//! doesn't; and only what is bound can be opened, since everything else is `nodev`. A privileged container gets all host devices.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2, symlinkat};
use std::os::unix::fs::FileTypeExt;

use super::Spec;
use super::error::{During, Failure, Step};
use super::mount::{
    Detached, NODEV, NOEXEC, NOSUID, NOTHING_SPECIAL, at, attach, copy_of, new_filesystem, place,
};
use super::target::{Kind, Targets};

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];
const DEFAULT_SHM: u64 = 64 << 20;

/// Host devices, opened.
pub(super) struct Devices(Vec<(String, Detached)>);

impl Devices {
    /// Opens those that the container gets.
    pub(super) fn open(privileged: bool) -> Result<Self, Failure> {
        let names = if privileged {
            all().during(|| at("/dev"))?
        } else {
            DEVICES.map(str::to_owned).to_vec()
        };
        let mut devices = Vec::new();
        for name in names {
            let path = Path::new("/dev").join(&name);
            let device = copy_of(CWD, &path, false).during(|| Step::Source {
                path: PathBuf::from(&path),
            })?;
            devices.push((name, device));
        }
        Ok(Self(devices))
    }

    /// Makes /dev.
    pub(super) fn place(self, spec: &Spec, targets: &mut Targets<'_>) -> Result<(), Failure> {
        let dev = new_filesystem("tmpfs", &[("mode", "755"), ("size", "65536k")], NOSUID | NODEV)
            .during(|| at("/dev"))?;
        for name in ["pts", "shm", "mqueue"] {
            mkdirat(&dev, name, Mode::from_raw_mode(0o755)).during(|| at("/dev"))?;
        }
        for (target, name) in DEVICE_LINKS {
            symlinkat(target, &dev, name).during(|| at("/dev"))?;
        }
        place(targets, &dev, "/dev", Kind::Directory)?;
        for (name, mount) in self.0 {
            place(targets, &mount, &format!("/dev/{name}"), Kind::File)?;
        }
        let pts = terminals().during(|| at("/dev/pts"))?;
        place(targets, &pts, "/dev/pts", Kind::Directory)?;
        let size = spec.limits.shm.unwrap_or(DEFAULT_SHM).to_string();
        let options = [("mode", "1777"), ("size", size.as_str())];
        let shm = new_filesystem("tmpfs", &options, NOTHING_SPECIAL).during(|| at("/dev/shm"))?;
        place(targets, &shm, "/dev/shm", Kind::Directory)?;
        let queues = new_filesystem("mqueue", &[], NOTHING_SPECIAL).during(|| at("/dev/mqueue"))?;
        place(targets, &queues, "/dev/mqueue", Kind::Directory)
    }
}

/// The names of all device files directly in the host's /dev.
fn all() -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir("/dev")? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if (kind.is_char_device() || kind.is_block_device()) && entry.file_name() != "ptmx" {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

/// The container's own devpts. Group 5 is `tty` wherever there is one.
fn terminals() -> io::Result<Detached> {
    new_filesystem(
        "devpts",
        &[
            ("newinstance", ""),
            ("ptmxmode", "0666"),
            ("mode", "0620"),
            ("gid", "5"),
        ],
        NOSUID | NOEXEC,
    )
}

/// A new terminal of the container's own devpts, below `root`: master and slave; the slave is bound on /dev/console.
pub(super) fn terminal(root: &OwnedFd) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let ptmx = openat2(root, "/dev/pts/ptmx", flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    let slave = open_slave(&ptmx)?;
    let name = rustix::pty::ptsname(&ptmx, Vec::new())?;
    let path = name.to_str().map_err(|_| io::ErrorKind::InvalidData)?;
    let mut targets = Targets::new(root.as_fd())?;
    let console = targets.resolve("/dev/console", Kind::File)?;
    let copy = copy_of(targets.resolve(path, Kind::File)?, Path::new(""), false)?;
    attach(&copy, &console)?;
    Ok((ptmx, slave))
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
