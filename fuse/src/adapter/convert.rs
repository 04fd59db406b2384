//! Values of fuser's to values of `protocol`, and back. No effects.

use std::time::{Duration, SystemTime};

use fuser::{Errno, FileAttr, FileType, INodeNo, RenameFlags, Request, TimeOrNow};
use nix::libc;
use nix::sys::stat::SFlag;
use silt_store::{Device, Time};

use crate::error::Reply;
use crate::fs::Special;
use crate::protocol::{
    Allocate, Attributes, Caller, Creation, InodeNo, Kind, RenameMode, Seek, TimeChange, XattrMode,
};

pub(super) fn ino(number: INodeNo) -> InodeNo {
    InodeNo(number.0)
}

pub(super) fn errno(errno: nix::errno::Errno) -> Errno {
    Errno::from_i32(errno as i32)
}

pub(super) fn system_time(time: Time) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 {
        SystemTime::UNIX_EPOCH - seconds
    } else {
        SystemTime::UNIX_EPOCH + seconds
    };
    whole + Duration::from_nanos(time.nanos.into())
}

pub(super) fn time(time: SystemTime) -> Time {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => Time {
            seconds: after.as_secs() as i64,
            nanos: after.subsec_nanos(),
        },
        Err(before) => {
            let before = before.duration();
            let nanos = before.subsec_nanos();
            Time {
                seconds: -(before.as_secs() as i64) - i64::from(nanos > 0),
                nanos: if nanos > 0 { 1_000_000_000 - nanos } else { 0 },
            }
        }
    }
}

pub(super) fn time_change(time_or_now: TimeOrNow) -> TimeChange {
    match time_or_now {
        TimeOrNow::Now => TimeChange::Now,
        TimeOrNow::SpecificTime(at) => TimeChange::At(time(at)),
    }
}

pub(super) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
        Kind::CharDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
    }
}

/// The protocol's 32-bit device number. Spec: `linux/kdev_t.h`, `new_encode_dev`.
pub(super) fn encode_device(device: Device) -> u32 {
    device.minor & 0xff | (device.major & 0xfff) << 8 | (device.minor & !0xff) << 12
}

pub(super) fn decode_device(encoded: u32) -> Device {
    Device {
        major: encoded >> 8 & 0xfff,
        minor: encoded & 0xff | encoded >> 12 & 0xf_ff00,
    }
}

pub(super) fn attr(attributes: &Attributes) -> FileAttr {
    FileAttr {
        ino: INodeNo(attributes.ino.0),
        size: attributes.size,
        blocks: attributes.allocated.div_ceil(512),
        atime: system_time(attributes.atime),
        mtime: system_time(attributes.mtime),
        ctime: system_time(attributes.ctime),
        crtime: SystemTime::UNIX_EPOCH,
        kind: file_type(attributes.kind),
        perm: attributes.mode,
        nlink: attributes.nlink,
        uid: attributes.uid,
        gid: attributes.gid,
        rdev: attributes.device.map_or(0, encode_device),
        blksize: 4096,
        flags: 0,
    }
}

/// The answer to a LOOKUP of what is not there: the kernel remembers that too.
pub(super) fn absent() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

pub(super) fn creation(request: &Request, mode: u32, umask: u32) -> Creation {
    Creation {
        caller: Caller {
            uid: request.uid(),
            gid: request.gid(),
        },
        mode: (mode & 0o7777) as u16,
        umask: (umask & 0o777) as u16,
    }
}

pub(super) fn special(mode: u32, device: u32) -> Reply<Special> {
    match SFlag::from_bits_truncate(mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Ok(Special::File),
        SFlag::S_IFCHR => Ok(Special::CharDevice(decode_device(device))),
        SFlag::S_IFBLK => Ok(Special::BlockDevice(decode_device(device))),
        SFlag::S_IFIFO => Ok(Special::Fifo),
        SFlag::S_IFSOCK => Ok(Special::Socket),
        _ => Err(nix::errno::Errno::EINVAL),
    }
}

pub(super) fn rename_mode(flags: RenameFlags) -> Reply<RenameMode> {
    match flags {
        flags if flags.is_empty() => Ok(RenameMode::Replace),
        RenameFlags::RENAME_NOREPLACE => Ok(RenameMode::NoReplace),
        RenameFlags::RENAME_EXCHANGE => Ok(RenameMode::Exchange),
        RenameFlags::RENAME_WHITEOUT => Ok(RenameMode::Whiteout),
        _ => Err(nix::errno::Errno::EINVAL),
    }
}

pub(super) fn xattr_mode(flags: i32) -> XattrMode {
    match flags {
        libc::XATTR_CREATE => XattrMode::Create,
        libc::XATTR_REPLACE => XattrMode::Replace,
        _ => XattrMode::Either,
    }
}

pub(super) fn allocate_mode(mode: i32) -> Reply<Allocate> {
    const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;
    const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | KEEP;
    const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE;
    const ZERO_KEEP: i32 = ZERO | KEEP;
    match mode {
        0 => Ok(Allocate::Reserve { keep_size: false }),
        KEEP => Ok(Allocate::Reserve { keep_size: true }),
        PUNCH => Ok(Allocate::PunchHole),
        ZERO => Ok(Allocate::Zero { keep_size: false }),
        ZERO_KEEP => Ok(Allocate::Zero { keep_size: true }),
        _ => Err(nix::errno::Errno::EOPNOTSUPP),
    }
}

pub(super) fn seek_mode(whence: i32, offset: i64) -> Reply<(u64, Seek)> {
    let offset = u64::try_from(offset).map_err(|_| nix::errno::Errno::ENXIO)?;
    match whence {
        libc::SEEK_DATA => Ok((offset, Seek::Data)),
        libc::SEEK_HOLE => Ok((offset, Seek::Hole)),
        _ => Err(nix::errno::Errno::EINVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip_before_and_after_the_epoch() {
        for (seconds, nanos) in [
            (0, 0),
            (1, 999_999_999),
            (-1, 0),
            (-1, 1),
            (-2, 500_000_000),
            (1 << 40, 3),
        ] {
            let original = Time { seconds, nanos };
            assert_eq!(time(system_time(original)), original);
        }
    }

    #[test]
    fn devices_round_trip() {
        for (major, minor) in [(0, 0), (1, 3), (8, 255), (8, 256), (4095, 0xf_ffff)] {
            let device = Device { major, minor };
            assert_eq!(decode_device(encode_device(device)), device);
        }
    }
}
