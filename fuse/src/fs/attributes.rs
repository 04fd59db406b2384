//! Operations on metadata: modes, owners, times, extended attributes, the disk's space.

use std::os::fd::AsFd as _;

use nix::errno::Errno;
use silt_store::Meta;

use super::Fs;
use crate::acl::{self, Acl};
use crate::error::Reply;
use crate::inode::{Inode, Node};
use crate::protocol::{AttributeChanges, Attributes, InodeNo, Space, TimeChange, XattrMode};
use crate::trace::Message;
use crate::upper::now;

const SETUID: u16 = 0o4000;
const SETGID: u16 = 0o2000;
const GROUP_EXECUTE: u16 = 0o010;
const CAPABILITY: &[u8] = b"security.capability";

/// Takes away what lets a file run with its owner's rights, as every change of owner and every foreign write must. Setgid without
/// group execution is no such right. Spec: chown(2), write(2); linux/fuse.h, `FUSE_HANDLE_KILLPRIV_V2`.
pub(crate) fn kill_privileges(meta: &mut Meta) {
    meta.mode &= !SETUID;
    if meta.mode & GROUP_EXECUTE != 0 {
        meta.mode &= !SETGID;
    }
    meta.xattrs.remove(CAPABILITY);
}

impl Fs {
    /// SETATTR.
    pub(crate) fn set_attributes(&self, ino: InodeNo, changes: AttributeChanges) -> Reply<Attributes> {
        self.trace.count(Message::SetAttr);
        let file = {
            let mut upper = self.upper_mut()?;
            let time = now();
            let inode = upper.change(ino)?;
            change_meta(inode, &changes)?;
            inode.ctime = changes.ctime.unwrap_or(time);
            let at = |change| match change {
                TimeChange::Now => time,
                TimeChange::At(at) => at,
            };
            if changes.size.is_some() {
                inode.meta.mtime = time;
            }
            if let Some(mtime) = changes.mtime {
                inode.meta.mtime = at(mtime);
            }
            if let Some(atime) = changes.atime {
                inode.atime = at(atime);
            }
            if changes.size.is_some() {
                Some(inode.file()?.clone())
            } else {
                None
            }
        };
        if let (Some(file), Some(size)) = (file, changes.size) {
            if size > i64::MAX as u64 {
                return Err(Errno::EFBIG);
            }
            file.change(|pieces| {
                pieces.truncate(size);
                Ok(())
            })?;
        }
        Ok(self.upper().table.get(ino)?.attributes(ino))
    }

    /// SETXATTR.
    pub(crate) fn set_xattr(&self, ino: InodeNo, name: &[u8], value: &[u8], mode: XattrMode) -> Reply<()> {
        self.trace.count(Message::SetXattr);
        let mut upper = self.upper_mut()?;
        let inode = upper.table.get(ino)?;
        match (mode, inode.meta.xattrs.get(name)) {
            (XattrMode::Create, Some(_)) => return Err(Errno::EEXIST),
            (XattrMode::Replace, None) => return Err(Errno::ENODATA),
            _ => {}
        }
        let acl = match name {
            acl::ACCESS | acl::DEFAULT => {
                let acl = Acl::parse(value)?;
                check_acl(inode, name, acl.is_some())?;
                Some(acl)
            }
            _ if name.starts_with(b"system.") => return Err(Errno::EOPNOTSUPP),
            _ => None,
        };
        let time = now();
        let inode = upper.change(ino)?;
        inode.ctime = time;
        let meta = &mut inode.meta;
        match (acl, name) {
            (None, _) => meta.xattrs.set(name, value),
            (Some(Some(acl)), acl::ACCESS) => {
                let (permissions, minimal) = acl.mode();
                meta.mode = meta.mode & !0o777 | permissions;
                if minimal {
                    meta.xattrs.remove(name);
                } else {
                    meta.xattrs.set(name, &acl.encode());
                }
            }
            (Some(Some(acl)), _) => meta.xattrs.set(name, &acl.encode()),
            (Some(None), _) => drop(meta.xattrs.remove(name)),
        }
        Ok(())
    }

    /// GETXATTR.
    pub(crate) fn xattr(&self, ino: InodeNo, name: &[u8]) -> Reply<Vec<u8>> {
        self.trace.count(Message::GetXattr);
        let upper = self.upper();
        let inode = upper.table.get(ino)?;
        if name.starts_with(b"system.") && name != acl::ACCESS && name != acl::DEFAULT {
            return Err(Errno::EOPNOTSUPP);
        }
        inode
            .meta
            .xattrs
            .get(name)
            .map(<[u8]>::to_vec)
            .ok_or(Errno::ENODATA)
    }

    /// LISTXATTR: the names, each ended by a NUL.
    pub(crate) fn xattr_names(&self, ino: InodeNo) -> Reply<Vec<u8>> {
        self.trace.count(Message::ListXattr);
        let upper = self.upper();
        let mut names = Vec::new();
        for (name, _) in upper.table.get(ino)?.meta.xattrs.iter() {
            names.extend_from_slice(name);
            names.push(0);
        }
        Ok(names)
    }

    /// REMOVEXATTR. Removing an ACL that is not there is no error, as on other filesystems.
    pub(crate) fn remove_xattr(&self, ino: InodeNo, name: &[u8]) -> Reply<()> {
        self.trace.count(Message::RemoveXattr);
        let mut upper = self.upper_mut()?;
        if upper.table.get(ino)?.meta.xattrs.get(name).is_none() {
            return match name {
                acl::ACCESS | acl::DEFAULT => Ok(()),
                _ => Err(Errno::ENODATA),
            };
        }
        let time = now();
        let inode = upper.change(ino)?;
        inode.ctime = time;
        inode.meta.xattrs.remove(name);
        Ok(())
    }

    /// STATFS: the disk that takes what is written.
    pub(crate) fn space(&self) -> Reply<Space> {
        self.trace.count(Message::StatFs);
        let disk = nix::sys::statvfs::fstatvfs(self.staging.file().as_fd())?;
        Ok(Space {
            block_size: disk.fragment_size() as u32,
            blocks: disk.blocks(),
            free: disk.blocks_free(),
            available: disk.blocks_available(),
            files: disk.files(),
            files_free: disk.files_free(),
        })
    }
}

fn change_meta(inode: &mut Inode, changes: &AttributeChanges) -> Reply<()> {
    if changes.size.is_some() {
        inode.file()?;
    }
    let directory = inode.dir().is_ok();
    let meta = &mut inode.meta;
    if let Some(mode) = changes.mode {
        meta.mode = mode & 0o7777;
        if let Some(access) = meta.xattrs.get(acl::ACCESS)
            && let Some(list) = Acl::parse(access)?
        {
            meta.xattrs.set(acl::ACCESS, &list.chmod(mode).encode());
        }
    }
    meta.uid = changes.uid.unwrap_or(meta.uid);
    meta.gid = changes.gid.unwrap_or(meta.gid);
    let owner_changes = changes.uid.is_some() || changes.gid.is_some();
    if (owner_changes && !directory) || (changes.size.is_some() && changes.kill_privileges) {
        kill_privileges(meta);
    }
    Ok(())
}

fn check_acl(inode: &Inode, name: &[u8], present: bool) -> Reply<()> {
    match (&inode.node, name) {
        (Node::Symlink(_), _) => Err(Errno::EOPNOTSUPP),
        (Node::Directory(_), _) => Ok(()),
        (_, acl::DEFAULT) if present => Err(Errno::EACCES),
        _ => Ok(()),
    }
}
