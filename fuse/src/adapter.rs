//! fuser's calls to `Fs`, and back: decodes, calls, replies. No meaning here, and no type of fuser's anywhere else.
//!
//! In: messages from /dev/fuse. Out: replies. Effects: those of `Fs`. Spec: linux/fuse.h. The kernel may keep what it was told for
//! ever, as nobody but it changes this tree: entries, absences, attributes, listings, data. Files and directories are opened
//! without telling us (`no_open`), so there are no handles.

mod convert;

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Config, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, SessionACL, TimeOrNow, WriteFlags,
};

use crate::error::Reply;
use crate::fs::{Fs, Special};
use crate::protocol::{AttributeChanges, Attributes, InodeNo};
use crate::trace::Message;
use convert::{
    absent, allocate_mode, attr, creation, errno, file_type, ino, rename_mode, seek_mode, special, time,
    time_change, xattr_mode,
};

/// For ever, as far as the kernel counts.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);
/// The largest write in one message: what kernels allow without configuration.
const MAX_WRITE: u32 = 1 << 20;
/// Messages the kernel may send ahead (readahead, writeback, asynchronous RELEASE).
const MAX_BACKGROUND: u16 = 64;

/// What we want of the kernel where it has it.
const WANTED: [InitFlags; 9] = [
    InitFlags::FUSE_ASYNC_READ,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_NO_OPEN_SUPPORT,
    InitFlags::FUSE_NO_OPENDIR_SUPPORT,
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    InitFlags::FUSE_POSIX_ACL,
    InitFlags::FUSE_DONT_MASK,
];

/// fuser's view of a filesystem.
pub(crate) struct Adapter {
    fs: Arc<Fs>,
    /// Attributes with listings save messages, and hide from a trace what the step asked for.
    list_attributes: bool,
    /// Whether user 0 of the mount has `CAP_FSETID` as the kernel sees it: not in a user namespace.
    root_keeps_privileges: bool,
}

/// Serves a mounted device until the mount is gone.
pub(crate) fn serve(adapter: Adapter, device: OwnedFd, threads: usize) -> io::Result<()> {
    let mut config = Config::default();
    config.acl = SessionACL::All;
    config.n_threads = Some(threads.max(1));
    // One descriptor for all threads: clones share its queue, measure the same, and are refused where the device was opened in
    // another user namespace.
    config.clone_fd = false;
    match fuser::Session::from_fd(adapter, device, SessionACL::All, config) {
        Ok(session) => session.run(),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        Err(error) => Err(error),
    }
}

impl Adapter {
    pub(crate) fn new(fs: Arc<Fs>, list_attributes: bool) -> Self {
        let initial = std::fs::read_to_string("/proc/self/uid_map")
            .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
        Self {
            fs,
            list_attributes,
            root_keeps_privileges: initial && nix::unistd::geteuid().is_root(),
        }
    }

    /// Whether setuid, setgid and capabilities go when `request` changes a file's bytes. WRITE says so itself; fuser does not pass
    /// `FATTR_KILL_SUIDGID` on, and other messages have no such flag. An engine that is not the host's root mounts in user namespaces.
    fn may_not_keep(&self, request: &Request) -> bool {
        request.uid() != 0 || !self.root_keeps_privileges
    }
}

fn reply_entry(result: Reply<Attributes>, reply: ReplyEntry) {
    match result {
        Ok(attributes) => reply.entry(&FOREVER, &attr(&attributes), Generation(0)),
        Err(error) => reply.error(errno(error)),
    }
}

fn reply_attr(result: Reply<Attributes>, reply: ReplyAttr) {
    match result {
        Ok(attributes) => reply.attr(&FOREVER, &attr(&attributes)),
        Err(error) => reply.error(errno(error)),
    }
}

fn reply_empty(result: Reply<()>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(error)),
    }
}

fn reply_xattr(result: Reply<Vec<u8>>, room: u32, reply: ReplyXattr) {
    match result {
        Ok(bytes) if room == 0 => reply.size(bytes.len() as u32),
        Ok(bytes) if bytes.len() > room as usize => reply.error(Errno::ERANGE),
        Ok(bytes) => reply.data(&bytes),
        Err(error) => reply.error(errno(error)),
    }
}

fn reply_written(result: Reply<u64>, reply: ReplyWrite) {
    match result {
        Ok(count) => reply.written(count as u32),
        Err(error) => reply.error(errno(error)),
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let listings = [InitFlags::FUSE_DO_READDIRPLUS, InitFlags::FUSE_READDIRPLUS_AUTO];
        let listings = listings.into_iter().filter(|_| self.list_attributes);
        for flag in WANTED.into_iter().chain(listings) {
            if config.add_capabilities(flag).is_err() {
                tracing::debug!(?flag, "the kernel does not have it");
            }
        }
        let nearest = |limit| tracing::debug!(limit, "the kernel's limit is lower");
        config.set_max_write(MAX_WRITE).map_or_else(nearest, drop);
        config
            .set_max_background(MAX_BACKGROUND)
            .map_or_else(|limit| nearest(limit.into()), drop);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.fs.lookup(ino(parent), name.as_bytes()) {
            Ok(None) => reply.entry(&FOREVER, &absent(), Generation(0)),
            Ok(Some(attributes)) => reply_entry(Ok(attributes), reply),
            Err(error) => reply_entry(Err(error), reply),
        }
    }

    fn forget(&self, _request: &Request, number: INodeNo, count: u64) {
        self.fs.forget(ino(number), count);
    }

    fn getattr(&self, _request: &Request, number: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        reply_attr(self.fs.attributes(ino(number)), reply);
    }

    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _created: Option<SystemTime>,
        _changed: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changes = AttributeChanges {
            mode: mode.map(|mode| (mode & 0o7777) as u16),
            uid,
            gid,
            size,
            atime: atime.map(time_change),
            mtime: mtime.map(time_change),
            ctime: ctime.map(time),
            kill_privileges: self.may_not_keep(request),
        };
        reply_attr(self.fs.set_attributes(ino(number), changes), reply);
    }

    fn readlink(&self, _request: &Request, number: INodeNo, reply: ReplyData) {
        match self.fs.read_link(ino(number)) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        device: u32,
        reply: ReplyEntry,
    ) {
        let result = special(mode, device).and_then(|special| {
            let creation = creation(request, mode, umask);
            self.fs
                .make_node(Message::MkNod, ino(parent), name.as_bytes(), creation, special)
        });
        reply_entry(result, reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let creation = creation(request, mode, umask);
        reply_entry(
            self.fs.make_directory(ino(parent), name.as_bytes(), creation),
            reply,
        );
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(self.fs.unlink(ino(parent), name.as_bytes()), reply);
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(self.fs.remove_directory(ino(parent), name.as_bytes()), reply);
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let creation = creation(request, 0o777, 0);
        let target = target.as_os_str().as_bytes();
        reply_entry(
            self.fs
                .make_symlink(ino(parent), name.as_bytes(), creation, target),
            reply,
        );
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let from = (ino(parent), name.as_bytes());
        let to = (ino(new_parent), new_name.as_bytes());
        let result =
            rename_mode(flags).and_then(|mode| self.fs.rename(from, to, mode, creation(request, 0, 0)));
        reply_empty(result, reply);
    }

    fn link(&self, _request: &Request, number: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        reply_entry(self.fs.link(ino(number), ino(parent), name.as_bytes()), reply);
    }

    /// `ENOSYS` tells the kernel to open files without asking, for good.
    fn open(&self, _request: &Request, _number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    /// The same for directories; their listings are then cached.
    fn opendir(&self, _request: &Request, _number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let creation = creation(request, mode, umask);
        match self.fs.make_node(
            Message::Create,
            ino(parent),
            name.as_bytes(),
            creation,
            Special::File,
        ) {
            Ok(attributes) => reply.created(
                &FOREVER,
                &attr(&attributes),
                Generation(0),
                FileHandle(0),
                FopenFlags::FOPEN_KEEP_CACHE,
            ),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn read(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut buffer = vec![0; size as usize];
        match self.fs.read(ino(number), offset, &mut buffer) {
            Ok(count) => reply.data(&buffer[..count]),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn write(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        _open_flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let kill = flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let result = self.fs.write(ino(number), offset, data, kill);
        reply_written(result.map(|()| data.len() as u64), reply);
    }

    /// `ENOSYS` once, and the kernel flushes and syncs without us for good: nothing is durable before sealing anyway.
    fn flush(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _data: bool,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _data: bool,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn readdir(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let add = |child: InodeNo, cookie, kind, name: &[u8]| {
            !reply.add(INodeNo(child.0), cookie, file_type(kind), OsStr::from_bytes(name))
        };
        match self.fs.list(ino(number), offset, add) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn readdirplus(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let add = |attributes: &Attributes, cookie, name: &[u8]| {
            let number = INodeNo(attributes.ino.0);
            !reply.add(
                number,
                cookie,
                OsStr::from_bytes(name),
                &FOREVER,
                &attr(attributes),
                Generation(0),
            )
        };
        match self.fs.list_plus(ino(number), offset, add) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn statfs(&self, _request: &Request, _number: INodeNo, reply: ReplyStatfs) {
        match self.fs.space() {
            Ok(space) => reply.statfs(
                space.blocks,
                space.free,
                space.available,
                space.files,
                space.files_free,
                space.block_size,
                255,
                space.block_size,
            ),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn setxattr(
        &self,
        _request: &Request,
        number: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let mode = xattr_mode(flags);
        reply_empty(
            self.fs.set_xattr(ino(number), name.as_bytes(), value, mode),
            reply,
        );
    }

    fn getxattr(&self, _request: &Request, number: INodeNo, name: &OsStr, room: u32, reply: ReplyXattr) {
        reply_xattr(self.fs.xattr(ino(number), name.as_bytes()), room, reply);
    }

    fn listxattr(&self, _request: &Request, number: INodeNo, room: u32, reply: ReplyXattr) {
        reply_xattr(self.fs.xattr_names(ino(number)), room, reply);
    }

    fn removexattr(&self, _request: &Request, number: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(self.fs.remove_xattr(ino(number), name.as_bytes()), reply);
    }

    /// Python asks on every open whether a file is a terminal.
    fn ioctl(
        &self,
        _request: &Request,
        _number: INodeNo,
        _handle: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _data: &[u8],
        _room: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn fallocate(
        &self,
        request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let result = allocate_mode(mode).and_then(|mode| {
            self.fs
                .allocate(ino(number), offset, len, mode, self.may_not_keep(request))
        });
        reply_empty(result, reply);
    }

    fn lseek(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        match seek_mode(whence, offset).and_then(|(offset, seek)| self.fs.seek(ino(number), offset, seek)) {
            Ok(offset) => reply.offset(offset as i64),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn copy_file_range(
        &self,
        request: &Request,
        from: INodeNo,
        _from_handle: FileHandle,
        from_offset: u64,
        to: INodeNo,
        _to_handle: FileHandle,
        to_offset: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        // The reply counts in 32 bits.
        let len = len.min(1 << 30);
        reply_written(
            self.fs.copy(
                (ino(from), from_offset),
                (ino(to), to_offset),
                len,
                self.may_not_keep(request),
            ),
            reply,
        );
    }
}
