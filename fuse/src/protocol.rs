//! What the kernel asks and is told, in our own words: the types between `fs` and the transports.
//!
//! A transport decodes a message into a call of [`Fs`](crate::fs::Fs) with these types and encodes what comes back; its own
//! types stop there. Spec: linux/fuse.h.

use silt_store::{Device, Name, Time};

/// An inode number: what `st_ino` shows and what the kernel names inodes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct InodeNo(pub(crate) u64);

impl InodeNo {
    /// The root directory's.
    pub(crate) const ROOT: Self = Self(1);
}

/// The type bits of a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
}

/// An inode as `stat` shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes {
    pub(crate) ino: InodeNo,
    pub(crate) kind: Kind,
    pub(crate) mode: u16,
    pub(crate) nlink: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) device: Option<Device>,
    pub(crate) size: u64,
    /// Bytes that take space, holes left out.
    pub(crate) allocated: u64,
    pub(crate) atime: Time,
    pub(crate) mtime: Time,
    pub(crate) ctime: Time,
}

/// Who asks, in the ids of the mount's user namespace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The permissions a new inode is asked for, and by whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Creation {
    pub(crate) caller: Caller,
    pub(crate) mode: u16,
    pub(crate) umask: u16,
}

/// A time to set.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TimeChange {
    Now,
    At(Time),
}

/// What SETATTR changes; `None` stays.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AttributeChanges {
    pub(crate) mode: Option<u16>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) size: Option<u64>,
    pub(crate) atime: Option<TimeChange>,
    pub(crate) mtime: Option<TimeChange>,
    pub(crate) ctime: Option<Time>,
    /// A change of size takes setuid, setgid and capabilities away (the caller has no `CAP_FSETID`).
    pub(crate) kill_privileges: bool,
}

/// What a rename does with a target that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RenameMode {
    Replace,
    NoReplace,
    Exchange,
    /// Replace, and leave a whiteout (character device 0, 0) behind.
    Whiteout,
}

/// What `setxattr` does with a name that is there, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum XattrMode {
    Either,
    Create,
    Replace,
}

/// `fallocate`, as far as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allocate {
    /// Space; the file grows unless `keep_size`.
    Reserve { keep_size: bool },
    /// A hole within the file's length.
    PunchHole,
    /// Zeros; the file grows unless `keep_size`.
    Zero { keep_size: bool },
}

/// `lseek` for sparse files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seek {
    Data,
    Hole,
}

/// One name of a listing. `cookie` is where a listing goes on after it: a function of the name alone.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) ino: InodeNo,
    pub(crate) cookie: u64,
    pub(crate) kind: Kind,
    pub(crate) name: Name,
}

/// `statfs`: the disk that takes what is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Space {
    pub(crate) block_size: u32,
    pub(crate) blocks: u64,
    pub(crate) free: u64,
    pub(crate) available: u64,
    pub(crate) files: u64,
    pub(crate) files_free: u64,
}
