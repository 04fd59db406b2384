//! Where written bytes stay until they are sealed: in memory while there is little, then in one unnamed file on the staging disk.
//!
//! In: bytes. Out: `Source`s that own them. Effects: memory (counted against a limit), a file without a name, so that a killed
//! engine leaves nothing behind. One append-only file serves a whole session: a descriptor for each file would end at `EMFILE`.
//! A range that is no longer needed is punched out of it. Space is taken before a write is acknowledged, so that a full disk is the
//! writer's `ENOSPC`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

/// A file keeps this much of its dirty data in memory; what it writes beyond goes to disk even when memory is left for others.
const FILE_MEMORY: u64 = 1 << 20;
/// Ranges of the staging file start at multiples of this, so that each can be given back to the disk.
const ALIGNMENT: u64 = 4096;
/// Staging leaves this much of its disk free, or an eighth of a small disk: the store beside it has to open, record and forget.
const RESERVE: u64 = 48 << 20;
/// How much is taken between two looks at what is free.
const STRIDE: u64 = 1 << 20;

/// The session's staging room.
#[derive(Debug)]
pub(crate) struct Staging {
    memory: Arc<Memory>,
    disk: Arc<Disk>,
}

#[derive(Debug)]
struct Memory {
    used: AtomicU64,
    limit: u64,
}

#[derive(Debug)]
struct Disk {
    file: File,
    end: AtomicU64,
    /// Where `end` was when there was space, plus a stride.
    look: AtomicU64,
}

impl Disk {
    /// Refuses what would take the disk's last space.
    fn check_space(&self, end: u64) -> io::Result<()> {
        if end < self.look.load(Ordering::Relaxed) {
            return Ok(());
        }
        let stat = nix::sys::statvfs::fstatvfs(&self.file)?;
        let unit = stat.fragment_size();
        if stat.blocks_available() * unit < RESERVE.min(stat.blocks() * unit / 8) {
            return Err(Errno::ENOSPC.into());
        }
        self.look.store(end + STRIDE, Ordering::Relaxed);
        Ok(())
    }
}

/// Bytes in memory, counted while they live: what is allocated for them, not their number.
#[derive(Debug)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    counted: u64,
    memory: Arc<Memory>,
}

/// A range of the staging file, given back when dropped.
#[derive(Debug)]
pub(crate) struct Range {
    disk: Arc<Disk>,
    offset: u64,
    len: u64,
}

impl Staging {
    /// Makes room in directory `dir`.
    pub(crate) fn new(dir: &Path, memory_limit: u64) -> io::Result<Self> {
        Ok(Self {
            memory: Arc::new(Memory {
                used: AtomicU64::new(0),
                limit: memory_limit,
            }),
            disk: Arc::new(Disk {
                file: tempfile::tempfile_in(dir)?,
                end: AtomicU64::new(0),
                look: AtomicU64::new(0),
            }),
        })
    }

    /// The staging file, to ask its disk for its space.
    pub(crate) fn file(&self) -> &File {
        &self.disk.file
    }

    /// Bytes held in memory now.
    #[cfg(test)]
    pub(crate) fn memory_used(&self) -> u64 {
        self.memory.used.load(Ordering::Relaxed)
    }

    /// Whether a file that has `held` bytes in memory may have `more` there; takes them from the limit if so.
    fn reserve(&self, held: u64, more: u64) -> bool {
        held + more <= FILE_MEMORY
            && self
                .memory
                .used
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                    used.checked_add(more).filter(|sum| *sum <= self.memory.limit)
                })
                .is_ok()
    }

    /// Keeps `data` in memory if the file (which has `held` bytes there) and the session may have more.
    pub(crate) fn block(&self, held: u64, data: &[u8]) -> Option<Block> {
        let counted = data.len() as u64;
        self.reserve(held, counted).then(|| Block {
            bytes: data.to_vec(),
            counted,
            memory: Arc::clone(&self.memory),
        })
    }

    /// Appends `data` to `block` under the same condition.
    pub(crate) fn extend_block(&self, held: u64, block: &mut Block, data: &[u8]) -> bool {
        let len = block.bytes.len() + data.len();
        if len > block.bytes.capacity() {
            let capacity = len.max(2 * block.bytes.capacity());
            let more = (capacity as u64).saturating_sub(block.counted);
            if !self.reserve(held, more) {
                return false;
            }
            block.bytes.reserve_exact(capacity - block.bytes.len());
            block.counted += more;
        } else if held + data.len() as u64 > FILE_MEMORY {
            return false;
        }
        block.bytes.extend_from_slice(data);
        true
    }

    /// Writes `data` to a new range of the staging file.
    pub(crate) fn range(&self, data: &[u8]) -> io::Result<Range> {
        let len = data.len() as u64;
        let taken = len.next_multiple_of(ALIGNMENT);
        self.disk
            .check_space(self.disk.end.load(Ordering::Relaxed) + taken)?;
        let offset = self.disk.end.fetch_add(taken, Ordering::Relaxed);
        let range = Range {
            disk: Arc::clone(&self.disk),
            offset,
            len,
        };
        self.disk.file.write_all_at(data, offset)?;
        Ok(range)
    }

    /// Appends `data` to `range` if that is the last of the staging file.
    pub(crate) fn extend_range(&self, range: &mut Range, data: &[u8]) -> io::Result<bool> {
        let end = range.offset + range.len;
        let taken = end.next_multiple_of(ALIGNMENT);
        let grown = (end + data.len() as u64).next_multiple_of(ALIGNMENT);
        self.disk.check_space(grown)?;
        if self
            .disk
            .end
            .compare_exchange(taken, grown, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
        {
            return Ok(false);
        }
        self.disk.file.write_all_at(data, end)?;
        range.len += data.len() as u64;
        Ok(true)
    }
}

impl Block {
    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Overwrites bytes at `at`; they are there already.
    pub(crate) fn overwrite(&mut self, at: usize, data: &[u8]) {
        self.bytes[at..at + data.len()].copy_from_slice(data);
    }

    /// Cuts at `at`; what follows comes back.
    pub(crate) fn split_off(&mut self, at: u64) -> Self {
        let bytes = self.bytes.split_off(at as usize);
        let counted = bytes.len() as u64;
        self.memory.used.fetch_add(counted, Ordering::Relaxed);
        self.truncate(at);
        Self {
            bytes,
            counted,
            memory: Arc::clone(&self.memory),
        }
    }

    /// Keeps the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: u64) {
        self.bytes.truncate(len as usize);
        self.bytes.shrink_to_fit();
        self.memory.used.fetch_sub(self.counted - len, Ordering::Relaxed);
        self.counted = len;
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

impl Range {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.disk.file.read_exact_at(buffer, self.offset + at)
    }

    /// Overwrites bytes at `at`; they are there already.
    pub(crate) fn overwrite(&self, at: u64, data: &[u8]) -> io::Result<()> {
        self.disk.file.write_all_at(data, self.offset + at)
    }

    /// Cuts at `at`; what follows comes back.
    pub(crate) fn split_off(&mut self, at: u64) -> Self {
        let rest = Self {
            disk: Arc::clone(&self.disk),
            offset: self.offset + at,
            len: self.len - at,
        };
        self.len = at;
        rest
    }

    /// Keeps the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: u64) {
        drop(self.split_off(len));
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        // Whole blocks only: a neighbour that was split off may share the first or last one.
        let start = self.offset.next_multiple_of(ALIGNMENT);
        let end = (self.offset + self.len) / ALIGNMENT * ALIGNMENT;
        if start >= end {
            return;
        }
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        if let Err(error) = fallocate(&self.disk.file, flags, start as i64, (end - start) as i64) {
            tracing::debug!(%error, "staging space stays taken until the session's end");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let staging = Staging::new(dir.path(), 100).unwrap();
        let mut first = staging.block(0, &[1; 60]).unwrap();
        assert!(staging.block(60, &[2; 60]).is_none());
        assert!(
            !staging.extend_block(60, &mut first, &[3; 40]),
            "what grows takes room to grow"
        );
        drop(first);
        let mut first = staging.block(0, &[1; 40]).unwrap();
        assert!(staging.extend_block(40, &mut first, &[3; 20]));
        assert_eq!(staging.memory_used(), 80);
        assert!(staging.extend_block(60, &mut first, &[3; 20]));
        let tail = first.split_off(30);
        assert_eq!(staging.memory_used(), 80);
        drop(tail);
        assert_eq!((staging.memory_used(), first.len()), (30, 30));
        let mut grown = staging.block(0, &[1; 30]).unwrap();
        assert!(staging.extend_block(30, &mut grown, &[2; 1]));
        drop((first, grown));
        assert_eq!(staging.memory_used(), 0, "room to grow is given back, too");
    }

    #[test]
    fn ranges_grow_at_the_end_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let staging = Staging::new(dir.path(), 0).unwrap();
        let mut first = staging.range(b"hello").unwrap();
        assert!(staging.extend_range(&mut first, b" world").unwrap());
        let second = staging.range(&[7; 9000]).unwrap();
        assert!(!staging.extend_range(&mut first, b"!").unwrap());
        let tail = first.split_off(6);
        let mut buffer = [0; 5];
        tail.read_at(0, &mut buffer).unwrap();
        assert_eq!(&buffer, b"world");
        drop(second);
        first.read_at(0, &mut buffer).unwrap();
        assert_eq!(&buffer, b"hello");
    }
}
