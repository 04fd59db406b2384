//! What a step asked of the filesystem: messages counted by kind. What it changed is counted when it is frozen.
//!
//! In: one call per message. Out: numbers. The counters are the cheap half of the trace; a recorder of what was read stands in the
//! same place, as every message passes here once.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! messages {
    ($($variant:ident $name:literal),* $(,)?) => {
        /// The kernel's messages, by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Message { $($variant),* }

        const NAMES: &[&str] = &[$($name),*];
    };
}

messages! {
    Lookup "lookup", Forget "forget", GetAttr "getattr", SetAttr "setattr", ReadLink "readlink", Symlink "symlink",
    MkNod "mknod", MkDir "mkdir", Unlink "unlink", RmDir "rmdir", Rename "rename", Link "link", Create "create",
    Read "read", Write "write", StatFs "statfs", SetXattr "setxattr", GetXattr "getxattr", ListXattr "listxattr",
    RemoveXattr "removexattr", ReadDir "readdir", ReadDirPlus "readdirplus", Allocate "fallocate", Seek "lseek",
    Copy "copy_file_range",
}

/// Counters of messages, shared by the serving threads.
#[derive(Debug)]
pub(crate) struct Trace {
    counts: [AtomicU64; NAMES.len()],
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Trace {
    pub(crate) fn count(&self, message: Message) {
        self.counts[message as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Name and number of each kind of message that came.
    pub(crate) fn messages(&self) -> Vec<(&'static str, u64)> {
        NAMES
            .iter()
            .zip(&self.counts)
            .map(|(name, count)| (*name, count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}
