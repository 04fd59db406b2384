//! What a container wrote, kept exactly: a file of records, each with its stream and time.
//!
//! In: bytes as they come. Out: the same bytes, from any point, also while more comes. Effects: one file. It begins with the
//! offset of the oldest record (u64); a record is the stream (1 stdout, 2 stderr), the time in nanoseconds since the epoch
//! (u64), the length (u32), numbers little-endian, the bytes. A record that a dead engine left unfinished ends the log.
//!
//! A log keeps at most `MOST` bytes: the oldest records go first, their place in the file becomes a hole, offsets stay. It
//! leaves the store the space that it needs to open and to remove the container again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::{FallocateFlags, fallocate};

use crate::progress::Stream;

const HEADER: usize = 13;
/// Where the first record of a new log is.
const FIRST: u64 = 8;
/// Bytes of records that a log keeps.
const MOST: u64 = 64 << 20;

/// Free bytes that a log leaves on its disk.
const RESERVE: u64 = 48 << 20;

/// How much is written between two looks at what is free.
const STRIDE: u64 = 1 << 20;

/// A container's log. Many may append and read.
pub(crate) struct Log {
    file: File,
    state: Mutex<State>,
    grown: Condvar,
}

struct State {
    /// The oldest record.
    start: u64,
    /// Behind the newest.
    len: u64,
    /// The length at which to look at what is free.
    look: u64,
    /// Nothing comes any more.
    closed: bool,
}

/// One piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) stream: Stream,
    /// Nanoseconds since the epoch.
    pub(crate) time: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Log {
    /// An empty log for a container that is about to run.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)?;
        file.write_all_at(&FIRST.to_le_bytes(), 0)?;
        let state = State {
            start: FIRST,
            len: FIRST,
            look: STRIDE,
            closed: false,
        };
        Ok(Self::new(file, state))
    }

    /// The log of a container that ended.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut start = [0; FIRST as usize];
        file.read_exact_at(&mut start, 0)?;
        let len = file.metadata()?.len();
        let state = State {
            start: u64::from_le_bytes(start),
            len,
            look: len,
            closed: true,
        };
        Ok(Self::new(file, state))
    }

    fn new(file: File, state: State) -> Self {
        Self {
            file,
            state: Mutex::new(state),
            grown: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds bytes of one stream, with the time that it is.
    ///
    /// # Errors
    ///
    /// The disk has no space left, or next to none.
    pub(crate) fn append(&self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        self.put(stream, bytes, RESERVE)
    }

    /// Says in the log itself that what follows is missing.
    pub(crate) fn cut(&self, error: &io::Error) -> io::Result<()> {
        let note = format!("\nsilt: from here on nothing was logged: {error}\n");
        self.put(Stream::Stderr, note.as_bytes(), 0)
    }

    fn put(&self, stream: Stream, bytes: &[u8], reserve: u64) -> io::Result<()> {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as u64);
        let mut record = Vec::with_capacity(HEADER + bytes.len());
        record.push(match stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        });
        record.extend_from_slice(&time.to_le_bytes());
        record.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        record.extend_from_slice(bytes);
        let mut state = self.state();
        if state.len >= state.look && reserve > 0 {
            let disk = nix::sys::statvfs::fstatvfs(&self.file)?;
            if disk.blocks_available() * disk.fragment_size() < reserve {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.look = state.len + STRIDE;
        }
        self.file.write_all_at(&record, state.len)?;
        state.len += record.len() as u64;
        self.forget_oldest(&mut state)?;
        drop(state);
        self.grown.notify_all();
        Ok(())
    }

    /// Once there is more than `MOST`, drops a quarter of it.
    fn forget_oldest(&self, state: &mut State) -> io::Result<()> {
        if state.len - state.start <= MOST {
            return Ok(());
        }
        while state.len - state.start > MOST / 4 * 3 {
            let (_, size) = self.header(state.start)?;
            state.start += HEADER as u64 + size;
        }
        self.file.write_all_at(&state.start.to_le_bytes(), 0)?;
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        Ok(fallocate(
            &self.file,
            flags,
            FIRST as i64,
            (state.start - FIRST) as i64,
        )?)
    }

    /// Stream and time, and the length, of the record at `offset`.
    fn header(&self, offset: u64) -> io::Result<((Stream, u64), u64)> {
        let mut header = [0; HEADER];
        self.file.read_exact_at(&mut header, offset)?;
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .rev()
                .fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
        };
        let stream = if header[0] == 1 {
            Stream::Stdout
        } else {
            Stream::Stderr
        };
        Ok(((stream, number(&header[1..9])), number(&header[9..13])))
    }

    /// Says that nothing comes any more.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.grown.notify_all();
    }

    /// The piece at `offset`, or the oldest if that is gone, and the offset behind it; `None` when there is none yet.
    pub(crate) fn piece(&self, offset: u64) -> io::Result<Option<(Piece, u64)>> {
        // Kept for as long as it is read: what is dropped meanwhile would read as zeros.
        let state = self.state();
        let offset = offset.max(state.start);
        if offset + HEADER as u64 > state.len {
            return Ok(None);
        }
        let ((stream, time), size) = self.header(offset)?;
        let end = offset + HEADER as u64 + size;
        if end > state.len {
            return Ok(None);
        }
        let mut bytes = vec![0; size as usize];
        self.file.read_exact_at(&mut bytes, offset + HEADER as u64)?;
        drop(state);
        Ok(Some((Piece { stream, time, bytes }, end)))
    }

    /// Waits a moment for something behind `offset`; `false` when nothing will come.
    pub(crate) fn wait(&self, offset: u64, moment: Duration) -> bool {
        let state = self.state();
        if state.len > offset {
            return true;
        }
        if state.closed {
            return false;
        }
        let state = self
            .grown
            .wait_timeout(state, moment)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        state.len > offset || !state.closed
    }

    /// Where the next piece will be: who reads up to here does not chase a container that writes faster.
    pub(crate) fn end(&self) -> u64 {
        self.state().len
    }

    /// The offset of the piece and the number of bytes in it to skip, so that the last `lines` lines remain.
    pub(crate) fn tail(&self, lines: usize) -> io::Result<(u64, usize)> {
        let mut offset = self.state().start;
        let end = self.end();
        let mut starts = std::collections::VecDeque::from([(offset, 0)]);
        while offset < end
            && let Some((piece, next)) = self.piece(offset)?
        {
            for (at, _) in piece.bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
                starts.push_back(if at + 1 == piece.bytes.len() {
                    (next, 0)
                } else {
                    (offset, at + 1)
                });
                // One more than asked for: the newest start may have no line behind it yet.
                if starts.len() > lines + 1 {
                    starts.pop_front();
                }
            }
            offset = next;
        }
        let open_line = starts.back().is_some_and(|start| *start != (offset, 0));
        if open_line && starts.len() > lines {
            starts.pop_front();
        }
        Ok(starts.front().copied().unwrap_or((offset, 0)))
    }
}

/// Writes pieces to the caller's streams, with times before each line when asked for.
pub(crate) struct Copier {
    pub(crate) stdout: File,
    pub(crate) stderr: File,
    pub(crate) timestamps: bool,
    /// Whether stdout and stderr are at the start of a line.
    pub(crate) fresh: [bool; 2],
}

impl Copier {
    pub(crate) fn write(&mut self, piece: &Piece) -> io::Result<()> {
        let (target, fresh) = match piece.stream {
            Stream::Stdout => (&mut self.stdout, &mut self.fresh[0]),
            Stream::Stderr => (&mut self.stderr, &mut self.fresh[1]),
        };
        if !self.timestamps {
            return target.write_all(&piece.bytes);
        }
        let nanos = i128::from(piece.time);
        let time = jiff::Timestamp::from_nanosecond(nanos)
            .map_or_else(|_| nanos.to_string(), |time| format!("{time:.9}"));
        let mut stamped = Vec::new();
        for line in piece.bytes.split_inclusive(|byte| *byte == b'\n') {
            if *fresh {
                stamped.extend_from_slice(time.as_bytes());
                stamped.push(b' ');
            }
            stamped.extend_from_slice(line);
            *fresh = line.ends_with(b"\n");
        }
        target.write_all(&stamped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(log: &Log, (mut offset, mut skip): (u64, usize)) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some((piece, next)) = log.piece(offset).unwrap() {
            bytes.extend_from_slice(&piece.bytes[skip..]);
            (offset, skip) = (next, 0);
        }
        bytes
    }

    #[test]
    fn a_log_gives_back_every_byte_and_its_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::create(&path).unwrap();
        for piece in [&b"one\ntw"[..], b"o\n", b"\xff\x00three\nfour"] {
            log.append(Stream::Stdout, piece).unwrap();
        }
        assert_eq!(all(&log, (0, 0)), b"one\ntwo\n\xff\x00three\nfour");
        assert_eq!(all(&log, log.tail(0).unwrap()), b"");
        assert_eq!(all(&log, log.tail(1).unwrap()), b"four");
        assert_eq!(all(&log, log.tail(2).unwrap()), b"\xff\x00three\nfour");
        assert_eq!(all(&log, log.tail(3).unwrap()), b"two\n\xff\x00three\nfour");
        assert_eq!(all(&log, log.tail(9).unwrap()), b"one\ntwo\n\xff\x00three\nfour");
        log.append(Stream::Stderr, b"\n").unwrap();
        assert_eq!(all(&log, log.tail(1).unwrap()), b"four\n");
        assert!(log.wait(0, Duration::ZERO));
        log.close();
        let reopened = Log::open(&path).unwrap();
        assert_eq!(all(&reopened, (0, 0)), b"one\ntwo\n\xff\x00three\nfour\n");
        let end = reopened.state().len;
        assert!(!reopened.wait(end, Duration::from_mins(1)));
    }

    fn bytes_on_disk(path: &Path) -> u64 {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).unwrap().blocks() * 512
    }

    #[test]
    fn a_log_forgets_its_oldest_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::create(&path).unwrap();
        let pieces = MOST / (1 << 20) + 10;
        for number in 0..pieces {
            log.append(Stream::Stdout, &vec![number as u8; 1 << 20]).unwrap();
        }
        let kept = all(&log, (0, 0));
        assert!(kept.len() as u64 <= MOST && kept.len() as u64 > MOST / 2);
        assert_eq!(kept.last(), Some(&((pieces - 1) as u8)));
        assert!(bytes_on_disk(&path) <= MOST + (1 << 20));
        assert_eq!(all(&Log::open(&path).unwrap(), (0, 0)), kept);
    }

    #[test]
    fn an_unfinished_record_ends_a_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::create(&path).unwrap();
        log.append(Stream::Stdout, b"whole").unwrap();
        log.append(Stream::Stdout, b"cut").unwrap();
        let len = log.state().len;
        OpenOptions::new()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(len - 1)
            .unwrap();
        assert_eq!(all(&Log::open(&path).unwrap(), (0, 0)), b"whole");
    }
}
