//! Mount points that the sandbox had to create: taken out again before the tree is frozen.
//!
//! In: a path. Out: nothing. Effects: the entry is gone from the upper if it is still as it was made, empty; its parent's time stays.

use nix::errno::Errno;
use silt_store::GuestPath;

use crate::error::Reply;
use crate::fs::Fs;
use crate::protocol::InodeNo;

impl Fs {
    /// Removes the empty directory, or the empty file, at `path`. What is not there, or is something else by now, stays.
    pub(crate) fn remove_stub(&self, path: &GuestPath, directory: bool) -> Reply<()> {
        let Some((parents, name)) = path.split_last() else {
            return Ok(());
        };
        let mut upper = self.upper_mut()?;
        let mut parent = InodeNo::ROOT;
        for name in parents.names() {
            match upper.child(parent, name) {
                Ok(Some(child)) => parent = child,
                Ok(None) | Err(Errno::ENOTDIR) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        let Some(ino) = upper.child(parent, name)? else {
            return Ok(());
        };
        let inode = upper.table.get(ino)?;
        let untouched = if directory {
            inode.dir().is_ok() && upper.is_empty(ino)?
        } else {
            inode.file().is_ok_and(|file| file.len() == 0)
        };
        if untouched {
            let time = upper.table.get(parent)?.meta.mtime;
            upper.change(ino)?;
            upper.link_out(parent, name, time)?;
            upper.unlinked(ino, time)?;
        }
        upper.table.collect(ino);
        Ok(())
    }
}
