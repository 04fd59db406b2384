//! Random operations, as data, and how to do them on a directory.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, RenameFlags};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, LinkatFlags, Uid};

/// A small deterministic generator (xorshift64*).
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let seed = self.next();
        (0..len)
            .map(|at| (seed.rotate_left((at % 64) as u32) as u8).wrapping_add(at as u8))
            .collect()
    }
}

#[derive(Debug, Clone)]
pub enum Op {
    Create {
        path: String,
        mode: u32,
    },
    Write {
        path: String,
        offset: u64,
        data: Vec<u8>,
    },
    Append {
        path: String,
        data: Vec<u8>,
    },
    OpenTruncate {
        path: String,
    },
    Truncate {
        path: String,
        len: u64,
    },
    Mkdir {
        path: String,
        mode: u32,
    },
    Rmdir {
        path: String,
    },
    Unlink {
        path: String,
    },
    Symlink {
        path: String,
        target: String,
    },
    Link {
        from: String,
        to: String,
    },
    Rename {
        from: String,
        to: String,
        flags: u32,
    },
    Chmod {
        path: String,
        mode: u32,
    },
    Chown {
        path: String,
        uid: u32,
        gid: u32,
    },
    Utimens {
        path: String,
        seconds: i64,
    },
    SetXattr {
        path: String,
        name: &'static str,
        value: Vec<u8>,
    },
    RemoveXattr {
        path: String,
        name: &'static str,
    },
    SetAcl {
        path: String,
        name: &'static str,
        permissions: [u16; 5],
    },
    Mknod {
        path: String,
        kind: u32,
        mode: u32,
    },
    Fallocate {
        path: String,
        mode: i32,
        offset: u64,
        len: u64,
    },
    Copy {
        from: String,
        to: String,
        from_offset: u64,
        to_offset: u64,
        len: u64,
    },
    MapShared {
        path: String,
        offset: u64,
        byte: u8,
    },
    /// Keeps a descriptor in slot; later operations go through it whatever became of the name.
    Hold {
        slot: usize,
        path: String,
    },
    HeldWrite {
        slot: usize,
        offset: u64,
        data: Vec<u8>,
    },
    HeldRead {
        slot: usize,
    },
    HeldTruncate {
        slot: usize,
        len: u64,
    },
    Tmpfile {
        path: String,
    },
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const XATTRS: [&str; 4] = ["user.one", "user.two", "trusted.t", "security.capability"];

/// The paths that are there, so that most operations find what they want.
pub struct Known {
    files: Vec<String>,
    directories: Vec<String>,
    all: Vec<String>,
}

impl Known {
    pub fn new(tree: &std::collections::BTreeMap<String, super::scene::Seen>) -> Self {
        let of = |kind: Option<&str>| {
            let kept = tree
                .iter()
                .filter(|(path, seen)| *path != "/" && kind.is_none_or(|kind| kind == seen.kind));
            kept.map(|(path, _)| path[1..].to_owned()).collect()
        };
        Self {
            files: of(Some("file")),
            directories: of(Some("directory")),
            all: of(None),
        }
    }

    fn pick(random: &mut Random, paths: &[String]) -> Option<String> {
        (!paths.is_empty()).then(|| paths[random.below(paths.len() as u64) as usize].clone())
    }

    fn file(&self, random: &mut Random) -> String {
        let file = Self::pick(random, &self.files).filter(|_| random.below(10) < 8);
        file.unwrap_or_else(|| self.any(random))
    }

    fn any(&self, random: &mut Random) -> String {
        let path = Self::pick(random, &self.all).filter(|_| random.below(10) < 8);
        path.unwrap_or_else(|| self.new_name(random))
    }

    fn new_name(&self, random: &mut Random) -> String {
        let name = random.pick(&NAMES).to_owned();
        match Self::pick(random, &self.directories).filter(|_| random.below(10) < 7) {
            Some(directory) if directory.len() < 12 => format!("{directory}/{name}"),
            _ => name,
        }
    }
}

fn offset(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => 0,
        1 => random.below(100),
        2 => random.below(20_000),
        _ => random.below(40) * 4096,
    }
}

fn length(random: &mut Random) -> usize {
    match random.below(5) {
        0 => random.below(4) as usize,
        1 | 2 => random.below(5000) as usize,
        3 => 4096,
        _ => random.below(150_000) as usize,
    }
}

impl Op {
    pub fn random(random: &mut Random, known: &Known) -> Self {
        let mode = random.pick(&[0o644, 0o755, 0o600, 0o4755, 0o2755, 0o1777, 0o2644, 0o777, 0]);
        let kind = random.below(38);
        let path = match kind {
            0..=2 | 10..=12 | 16 | 29 => known.new_name(random),
            3..=9 | 14 | 17 | 30.. => known.file(random),
            13 => Known::pick(random, &known.directories).unwrap_or_else(|| known.any(random)),
            _ => known.any(random),
        };
        match kind {
            0..=2 => Self::Create { path, mode },
            3..=5 => {
                let (offset, len) = (offset(random), length(random));
                Self::Write {
                    path,
                    offset,
                    data: random.bytes(len),
                }
            }
            6 => {
                let len = length(random);
                Self::Append {
                    path,
                    data: random.bytes(len),
                }
            }
            7 => Self::OpenTruncate { path },
            8 | 9 => Self::Truncate {
                path,
                len: offset(random),
            },
            10..=12 => Self::Mkdir { path, mode },
            13 => Self::Rmdir { path },
            14 | 15 => Self::Unlink { path },
            16 => Self::Symlink {
                path,
                target: known.any(random),
            },
            17 | 18 => Self::Link {
                from: path,
                to: known.new_name(random),
            },
            19..=22 => Self::Rename {
                from: path,
                to: if random.below(2) == 0 {
                    known.any(random)
                } else {
                    known.new_name(random)
                },
                flags: random.pick(&[0, 0, 0, 1, 2, 4]),
            },
            23 => Self::Chmod { path, mode },
            24 => Self::Chown {
                path,
                uid: random.pick(&[0, 1000, 65534]),
                gid: random.pick(&[0, 1000]),
            },
            25 => Self::Utimens {
                path,
                seconds: random.below(2_000_000_000) as i64 - 1000,
            },
            26 => {
                let name = random.pick(&XATTRS);
                let len = random.pick(&[0, 1, 20, 300]);
                let value = if name == "security.capability" {
                    CAPABILITY.to_vec()
                } else {
                    random.bytes(len)
                };
                Self::SetXattr { path, name, value }
            }
            27 => Self::RemoveXattr {
                path,
                name: random.pick(&XATTRS),
            },
            28 => Self::SetAcl {
                path,
                name: random.pick(&["system.posix_acl_access", "system.posix_acl_default"]),
                permissions: std::array::from_fn(|_| random.below(8) as u16),
            },
            29 => Self::Mknod {
                path,
                kind: random.pick(&[0o010_000, 0o020_000, 0o060_000, 0o140_000]),
                mode,
            },
            30 => Self::Fallocate {
                path,
                mode: random.pick(&[0, 1, 3, 0x10, 0x11]),
                offset: offset(random),
                len: length(random) as u64,
            },
            31 => Self::Copy {
                from: path,
                to: known.file(random),
                from_offset: offset(random),
                to_offset: offset(random),
                len: length(random) as u64,
            },
            32 => Self::MapShared {
                path,
                offset: offset(random),
                byte: random.next() as u8,
            },
            _ => {
                let slot = random.below(4) as usize;
                match random.below(6) {
                    0 | 1 => Self::Hold { slot, path },
                    2 => {
                        let (offset, len) = (offset(random), length(random));
                        Self::HeldWrite {
                            slot,
                            offset,
                            data: random.bytes(len),
                        }
                    }
                    3 => Self::HeldRead { slot },
                    4 => Self::HeldTruncate {
                        slot,
                        len: offset(random),
                    },
                    _ => Self::Tmpfile { path },
                }
            }
        }
    }
}

/// `cap_net_raw=ep`, version 2.
pub const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An ACL with one named user: owner, user 1000, group, mask, other.
pub fn acl(permissions: [u16; 5]) -> Vec<u8> {
    let mut value = 2_u32.to_le_bytes().to_vec();
    for ((tag, id), permissions) in [
        (1_u16, u32::MAX),
        (2, 1000),
        (4, u32::MAX),
        (16, u32::MAX),
        (32, u32::MAX),
    ]
    .into_iter()
    .zip(permissions)
    {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

/// A directory to run operations on.
pub struct Runner {
    pub top: PathBuf,
    held: [Option<File>; 4],
}

type Outcome = Result<Vec<u8>, Errno>;

fn io<T>(result: std::io::Result<T>) -> Result<T, Errno> {
    result.map_err(|error| error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw))
}

impl Runner {
    pub fn new(top: &Path) -> Self {
        Self {
            top: top.to_owned(),
            held: Default::default(),
        }
    }

    pub fn let_go(&mut self) {
        self.held = Default::default();
    }

    fn at(&self, path: &str) -> PathBuf {
        self.top.join(path)
    }

    /// Without following a link at the end.
    fn open(&self, path: &str) -> Result<File, Errno> {
        let path = self.at(path);
        // A pipe or a device would block or act on the host.
        let meta = io(std::fs::symlink_metadata(&path))?;
        if !meta.is_file() {
            return Err(Errno::ENOTSUP);
        }
        io(OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(path))
    }

    fn held(&self, slot: usize) -> Result<&File, Errno> {
        self.held[slot].as_ref().ok_or(Errno::EBADF)
    }

    /// What the operation gave, or its errno.
    pub fn run(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Create { path, mode } => {
                io(OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(*mode)
                    .open(self.at(path)))
                .map(drop)?;
            }
            Op::Write { path, offset, data } => io(self.open(path)?.write_all_at(data, *offset))?,
            Op::Append { path, data } => {
                self.open(path)?;
                io(OpenOptions::new()
                    .append(true)
                    .open(self.at(path))
                    .and_then(|mut file| file.write_all(data)))?;
            }
            Op::OpenTruncate { path } => {
                self.open(path)?;
                io(OpenOptions::new().write(true).truncate(true).open(self.at(path)))?;
            }
            Op::Truncate { path, len } => io(self.open(path)?.set_len(*len))?,
            Op::Mkdir { path, mode } => nix::unistd::mkdir(&self.at(path), Mode::from_bits_truncate(*mode))?,
            Op::Rmdir { path } => io(std::fs::remove_dir(self.at(path)))?,
            Op::Unlink { path } => nix::unistd::unlink(&self.at(path))?,
            Op::Symlink { path, target } => {
                nix::unistd::symlinkat(target.as_str(), AT_FDCWD, &self.at(path))?
            }
            Op::Link { from, to } => {
                nix::unistd::linkat(
                    AT_FDCWD,
                    &self.at(from),
                    AT_FDCWD,
                    &self.at(to),
                    LinkatFlags::empty(),
                )?;
            }
            Op::Rename { from, to, flags } => {
                let flags = RenameFlags::from_bits_truncate(*flags);
                nix::fcntl::renameat2(AT_FDCWD, &self.at(from), AT_FDCWD, &self.at(to), flags)?;
            }
            _ => return self.run_metadata(op),
        }
        Ok(Vec::new())
    }

    fn run_metadata(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Chmod { path, mode } => {
                let meta = io(std::fs::symlink_metadata(self.at(path)))?;
                if meta.is_symlink() {
                    return Err(Errno::ELOOP);
                }
                let mode = Mode::from_bits_truncate(*mode);
                nix::sys::stat::fchmodat(AT_FDCWD, &self.at(path), mode, FchmodatFlags::FollowSymlink)?;
            }
            Op::Chown { path, uid, gid } => {
                let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
                nix::unistd::fchownat(
                    AT_FDCWD,
                    &self.at(path),
                    Some(uid),
                    Some(gid),
                    AtFlags::AT_SYMLINK_NOFOLLOW,
                )?;
            }
            Op::Utimens { path, seconds } => {
                let time = TimeSpec::new(*seconds, 123_456_789);
                nix::sys::stat::utimensat(
                    AT_FDCWD,
                    &self.at(path),
                    &time,
                    &time,
                    UtimensatFlags::NoFollowSymlink,
                )?;
            }
            Op::SetXattr { path, name, value } => io(xattr::set(self.at(path), name, value))?,
            Op::RemoveXattr { path, name } => io(xattr::remove(self.at(path), name))?,
            Op::SetAcl {
                path,
                name,
                permissions,
            } => io(xattr::set(self.at(path), name, &acl(*permissions)))?,
            Op::Mknod { path, kind, mode } => {
                let kind = SFlag::from_bits_truncate(*kind);
                nix::sys::stat::mknod(
                    &self.at(path),
                    kind,
                    Mode::from_bits_truncate(*mode),
                    nix::sys::stat::makedev(1, 3),
                )?;
            }
            _ => return self.run_data(op),
        }
        Ok(Vec::new())
    }

    fn run_data(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Fallocate {
                path,
                mode,
                offset,
                len,
            } => {
                let mode = FallocateFlags::from_bits_truncate(*mode);
                let (file, offset, len) = (self.open(path)?, *offset as i64, *len as i64);
                match nix::fcntl::fallocate(&file, mode, offset, len) {
                    // tmpfs cannot zero a range; it can punch one and grow.
                    Err(Errno::EOPNOTSUPP) if mode.contains(FallocateFlags::FALLOC_FL_ZERO_RANGE) => {
                        let punch =
                            FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                        nix::fcntl::fallocate(&file, punch, offset, len)?;
                        nix::fcntl::fallocate(
                            &file,
                            mode & FallocateFlags::FALLOC_FL_KEEP_SIZE,
                            offset,
                            len,
                        )?;
                    }
                    result => result?,
                }
            }
            Op::Copy {
                from,
                to,
                from_offset,
                to_offset,
                len,
            } => {
                let (from, to) = (self.open(from)?, self.open(to)?);
                let (mut from_offset, mut to_offset) = (*from_offset as i64, *to_offset as i64);
                let copied = nix::fcntl::copy_file_range(
                    &from,
                    Some(&mut from_offset),
                    &to,
                    Some(&mut to_offset),
                    *len as usize,
                )?;
                return Ok(copied.to_string().into_bytes());
            }
            Op::MapShared { path, offset, byte } => {
                let file = self.open(path)?;
                let len = io(file.metadata())?.len();
                if *offset >= len {
                    return Err(Errno::ENXIO);
                }
                map_shared(&file, *offset, *byte)?;
            }
            Op::Hold { slot, path } => self.held[*slot] = Some(self.open(path)?),
            Op::HeldWrite { slot, offset, data } => io(self.held(*slot)?.write_all_at(data, *offset))?,
            Op::HeldRead { slot } => {
                let mut bytes = Vec::new();
                let mut file = self.held(*slot)?;
                io(file.seek(SeekFrom::Start(0)))?;
                io(file.read_to_end(&mut bytes))?;
                return Ok(super::scene::digest(&bytes));
            }
            Op::HeldTruncate { slot, len } => io(self.held(*slot)?.set_len(*len))?,
            Op::Tmpfile { path } => {
                let flags = nix::libc::O_TMPFILE;
                io(OpenOptions::new()
                    .write(true)
                    .custom_flags(flags)
                    .mode(0o600)
                    .open(self.at(path)))?;
            }
            _ => unreachable!(),
        }
        Ok(Vec::new())
    }
}

fn map_shared(file: &File, offset: u64, byte: u8) -> Result<(), Errno> {
    let mut map = io(unsafe_map::shared(file))?;
    map[offset as usize] = byte;
    io(map.flush())?;
    drop(map);
    nix::unistd::fsync(file.as_fd())
}

/// The one `unsafe` of these tests.
#[allow(
    unsafe_code,
    reason = "mapping a file is unsafe where others may truncate it; nobody does while a test maps it"
)]
pub mod unsafe_map {
    pub fn shared(file: &std::fs::File) -> std::io::Result<memmap2::MmapMut> {
        // SAFETY: the tests run one operation at a time on a file they map.
        unsafe { memmap2::MmapMut::map_mut(file) }
    }

    pub fn private(file: &std::fs::File) -> std::io::Result<memmap2::MmapMut> {
        // SAFETY: as above.
        unsafe { memmap2::MmapOptions::new().map_copy(file) }
    }
}
