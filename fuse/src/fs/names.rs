//! Operations on names: making, linking, renaming and removing inodes.

use nix::errno::Errno;
use silt_store::{Device, Meta, Name};

use super::{Fs, name};
use crate::acl::{self, Acl};
use crate::content::Content;
use crate::error::Reply;
use crate::inode::{Dir, File, Inode, Node, Origin, Place, State};
use crate::protocol::{Attributes, Creation, InodeNo, RenameMode};
use crate::trace::Message;
use crate::upper::{Upper, now};

const SETGID: u16 = 0o2000;

/// A file, pipe, socket or device to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Special {
    File,
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
    Socket,
}

impl Fs {
    /// CREATE and MKNOD; the kernel opens the file itself.
    pub(crate) fn make_node(
        &self,
        message: Message,
        parent: InodeNo,
        bytes: &[u8],
        creation: Creation,
        special: Special,
    ) -> Reply<Attributes> {
        self.trace.count(message);
        self.make(parent, bytes, creation, |_| match special {
            Special::File => Node::File(File::new(Content::empty()).into()),
            Special::CharDevice(device) => Node::CharDevice(device),
            Special::BlockDevice(device) => Node::BlockDevice(device),
            Special::Fifo => Node::Fifo,
            Special::Socket => Node::Socket,
        })
    }

    /// MKDIR.
    pub(crate) fn make_directory(
        &self,
        parent: InodeNo,
        bytes: &[u8],
        creation: Creation,
    ) -> Reply<Attributes> {
        self.trace.count(Message::MkDir);
        self.make(parent, bytes, creation, |place| {
            Node::Directory(Box::new(Dir::new(None, place)))
        })
    }

    /// SYMLINK.
    pub(crate) fn make_symlink(
        &self,
        parent: InodeNo,
        bytes: &[u8],
        creation: Creation,
        target: &[u8],
    ) -> Reply<Attributes> {
        self.trace.count(Message::Symlink);
        self.make(parent, bytes, creation, |_| Node::Symlink(target.into()))
    }

    fn make(
        &self,
        parent: InodeNo,
        bytes: &[u8],
        creation: Creation,
        node: impl FnOnce(Place) -> Node,
    ) -> Reply<Attributes> {
        let name = name(bytes)?;
        let mut upper = self.upper_mut()?;
        vacant(&upper, parent, &name)?;
        let time = now();
        let node = node(Place {
            parent,
            name: name.clone(),
        });
        let mut meta = inherit(&upper.table.get(parent)?.meta, creation, &node)?;
        meta.mtime = time;
        let ino = upper.table.insert_new(Inode {
            meta,
            atime: time,
            ctime: time,
            nlink: 1,
            node,
            origin: Origin::New,
            state: State::Changed,
            lookups: 1,
            held: 0,
        });
        upper.link_in(parent, &name, ino, time)?;
        Ok(upper.table.get(ino)?.attributes(ino))
    }

    /// LINK: another name for an inode.
    pub(crate) fn link(&self, ino: InodeNo, parent: InodeNo, bytes: &[u8]) -> Reply<Attributes> {
        self.trace.count(Message::Link);
        let name = name(bytes)?;
        let mut upper = self.upper_mut()?;
        vacant(&upper, parent, &name)?;
        let inode = upper.table.get(ino)?;
        if inode.dir().is_ok() {
            return Err(Errno::EPERM);
        }
        if inode.state == State::Orphan {
            return Err(Errno::ENOENT);
        }
        let time = now();
        let inode = upper.change(ino)?;
        inode.nlink += 1;
        inode.ctime = time;
        inode.lookups += 1;
        upper.link_in(parent, &name, ino, time)?;
        Ok(upper.table.get(ino)?.attributes(ino))
    }

    /// UNLINK: everything but directories.
    pub(crate) fn unlink(&self, parent: InodeNo, bytes: &[u8]) -> Reply<()> {
        self.trace.count(Message::Unlink);
        self.remove(parent, bytes, |_, _, inode| {
            if inode.dir().is_ok() {
                Err(Errno::EISDIR)
            } else {
                Ok(())
            }
        })
    }

    /// RMDIR: an empty directory.
    pub(crate) fn remove_directory(&self, parent: InodeNo, bytes: &[u8]) -> Reply<()> {
        self.trace.count(Message::RmDir);
        self.remove(parent, bytes, |upper, ino, _| {
            if upper.is_empty(ino)? {
                Ok(())
            } else {
                Err(Errno::ENOTEMPTY)
            }
        })
    }

    fn remove(
        &self,
        parent: InodeNo,
        bytes: &[u8],
        check: impl FnOnce(&Upper, InodeNo, &Inode) -> Reply<()>,
    ) -> Reply<()> {
        let name = name(bytes)?;
        let mut upper = self.upper_mut()?;
        let ino = upper.child(parent, &name)?.ok_or(Errno::ENOENT)?;
        let result = check(&upper, ino, upper.table.get(ino)?).and_then(|()| {
            let time = now();
            upper.change(ino)?;
            upper.link_out(parent, &name, time)?;
            upper.unlinked(ino, time)
        });
        upper.table.collect(ino);
        result
    }

    /// RENAME, RENAME2.
    pub(crate) fn rename(
        &self,
        from: (InodeNo, &[u8]),
        to: (InodeNo, &[u8]),
        mode: RenameMode,
        creation: Creation,
    ) -> Reply<()> {
        self.trace.count(Message::Rename);
        let rename = Rename {
            from: from.0,
            old: name(from.1)?,
            to: to.0,
            new: name(to.1)?,
            mode,
        };
        let mut upper = self.upper_mut()?;
        let source = upper.child(rename.from, &rename.old)?.ok_or(Errno::ENOENT)?;
        let target = match upper.child(rename.to, &rename.new) {
            Ok(target) => target,
            Err(errno) => {
                upper.table.collect(source);
                return Err(errno);
            }
        };
        let result = rename.check(&upper, source, target).and_then(|()| {
            if target == Some(source) {
                return Ok(());
            }
            rename.run(&mut upper, source, target)?;
            if mode == RenameMode::Whiteout {
                rename.leave_whiteout(&mut upper, creation)?;
            }
            Ok(())
        });
        upper.table.collect(source);
        if let Some(target) = target {
            upper.table.collect(target);
        }
        result
    }
}

struct Rename {
    from: InodeNo,
    old: Name,
    to: InodeNo,
    new: Name,
    mode: RenameMode,
}

impl Rename {
    fn check(&self, upper: &Upper, source: InodeNo, target: Option<InodeNo>) -> Reply<()> {
        if upper.table.get(self.to)?.state == State::Orphan {
            return Err(Errno::ENOENT);
        }
        match (target, self.mode) {
            (Some(_), RenameMode::NoReplace) => return Err(Errno::EEXIST),
            (None, RenameMode::Exchange) => return Err(Errno::ENOENT),
            _ => {}
        }
        let directory = upper.table.get(source)?.dir().is_ok();
        if directory && upper.is_below(self.to, source)? {
            return Err(Errno::EINVAL);
        }
        let Some(target) = target.filter(|target| *target != source) else {
            return Ok(());
        };
        let onto_directory = upper.table.get(target)?.dir().is_ok();
        if self.mode == RenameMode::Exchange {
            let invalid = onto_directory && upper.is_below(self.from, target)?;
            return if invalid { Err(Errno::EINVAL) } else { Ok(()) };
        }
        match (directory, onto_directory) {
            (true, false) => Err(Errno::ENOTDIR),
            (false, true) => Err(Errno::EISDIR),
            (true, true) if !upper.is_empty(target)? => Err(Errno::ENOTEMPTY),
            _ => Ok(()),
        }
    }

    fn run(&self, upper: &mut Upper, source: InodeNo, target: Option<InodeNo>) -> Reply<()> {
        let time = now();
        let moved = [Some(source), target.filter(|_| self.mode == RenameMode::Exchange)];
        for ino in moved.into_iter().flatten() {
            let inode = upper.change(ino)?;
            inode.ctime = time;
            upper.moved |= upper.table.get(ino)?.dir().is_ok();
        }
        match target {
            Some(target) if self.mode == RenameMode::Exchange => {
                upper.link_in(self.from, &self.old, target, time)?;
            }
            Some(target) => {
                upper.change(target)?;
                upper.unlinked(target, time)?;
                upper.link_out(self.from, &self.old, time)?;
            }
            None => upper.link_out(self.from, &self.old, time)?,
        }
        upper.link_in(self.to, &self.new, source, time)
    }

    /// Spec: renameat2(2), `RENAME_WHITEOUT`.
    fn leave_whiteout(&self, upper: &mut Upper, creation: Creation) -> Reply<()> {
        let time = now();
        let node = Node::CharDevice(Device { major: 0, minor: 0 });
        let mut meta = inherit(&upper.table.get(self.from)?.meta, creation, &node)?;
        meta.mtime = time;
        let ino = upper.table.insert_new(Inode {
            meta,
            atime: time,
            ctime: time,
            nlink: 1,
            node,
            origin: Origin::New,
            state: State::Changed,
            lookups: 0,
            held: 0,
        });
        upper.link_in(self.from, &self.old, ino, time)
    }
}

/// A name that may be given in a directory that is still there.
fn vacant(upper: &Upper, parent: InodeNo, name: &Name) -> Reply<()> {
    if upper.exists(parent, name)? {
        return Err(Errno::EEXIST);
    }
    if upper.table.get(parent)?.state == State::Orphan {
        return Err(Errno::ENOENT);
    }
    Ok(())
}

/// The metadata of a new inode: a setgid directory gives its group, a default ACL takes the place of the umask.
/// Spec: inode(7), "set-group-ID"; acl(5), "Object creation and default ACLs".
fn inherit(parent: &Meta, creation: Creation, node: &Node) -> Reply<Meta> {
    let directory = matches!(node, Node::Directory(_));
    let mut meta = Meta {
        mode: creation.mode,
        uid: creation.caller.uid,
        gid: creation.caller.gid,
        ..Meta::default()
    };
    if parent.mode & SETGID != 0 {
        meta.gid = parent.gid;
        meta.mode |= if directory { SETGID } else { 0 };
    }
    if matches!(node, Node::Symlink(_)) {
        meta.mode = 0o777;
        return Ok(meta);
    }
    let Some(default) = parent.xattrs.get(acl::DEFAULT) else {
        meta.mode &= !creation.umask;
        return Ok(meta);
    };
    if let Some(list) = Acl::parse(default)? {
        let (access, mode) = list.inherit(meta.mode);
        meta.mode = mode;
        if !access.mode().1 {
            meta.xattrs.set(acl::ACCESS, &access.encode());
        }
    }
    if directory {
        meta.xattrs.set(acl::DEFAULT, default);
    }
    Ok(meta)
}
