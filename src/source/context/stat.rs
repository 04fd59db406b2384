//! The stat cache: what was read of a directory's files, so that files which look unchanged are not read again.
//!
//! In: a directory's identity. Out: its files as last seen. Effects: stat records, one for each directory, written lazily.
//!
//! A file is believed unchanged when device, inode, size, mtime and ctime are as recorded, and it is recorded only if it had
//! not been changed shortly before or after the scan began: a later change then gives a later ctime. Records keep no content
//! alive; whoever uses what they name asks whether it is still there.

use std::os::fd::AsFd;

use bytes::Bytes;
use nix::sys::stat::{FileStat, fstat};
use silt_store::{ChunkId, Content, Data, Name, Record, RecordKind, Store, StoreResult, Time};

use crate::solve::encode::{Decoder, Encoder};

const FORMAT: u64 = 1;

/// The kernel's clock for files runs behind by up to a tick.
const TICK: i128 = 20_000_000;
/// Filesystems that keep whole seconds, or pairs of them.
const COARSE: i128 = 2_000_000_000;

/// A directory on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Identity {
    pub(super) device: u64,
    inode: u64,
}

/// What tells a changed file from an unchanged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    pub(super) size: u64,
    pub(super) mtime: Time,
    ctime: Time,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) name: Name,
    pub(super) stamp: Stamp,
    pub(super) content: Content,
}

impl Identity {
    pub(super) fn of(directory: impl AsFd) -> nix::Result<Self> {
        let stat = fstat(directory)?;
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }

    fn key(self) -> Vec<u8> {
        let mut key = b"context".to_vec();
        key.extend_from_slice(&self.device.to_be_bytes());
        key.extend_from_slice(&self.inode.to_be_bytes());
        key
    }
}

fn nanoseconds(time: Time) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

impl Stamp {
    pub(super) fn of(stat: &FileStat) -> Self {
        let time = |seconds: i64, nanos: i64| Time {
            seconds,
            nanos: u32::try_from(nanos).unwrap_or(0),
        };
        Self {
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: time(stat.st_mtime, stat.st_mtime_nsec),
            ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether a change at or after `scan` would give another stamp.
    pub(super) fn is_settled(&self, scan: Time) -> bool {
        let slack = if self.ctime.nanos == 0 { COARSE } else { TICK };
        nanoseconds(self.ctime) + slack < nanoseconds(scan)
    }
}

/// The files of a directory as last seen, sorted by name; empty if never.
pub(super) fn load(store: &dyn Store, directory: Identity) -> StoreResult<Vec<Seen>> {
    let Some(record) = store.record(RecordKind::Stat, &directory.key())? else {
        return Ok(Vec::new());
    };
    let mut decoder = Decoder::new(&record.value, "stat record");
    if decoder.number()? != FORMAT {
        return Ok(Vec::new());
    }
    let seen = decoder.list(|decoder| {
        let name = Name::new(decoder.bytes()?).map_err(|_| decoder.malformed("a name"))?;
        let stamp = Stamp {
            inode: decoder.number()?,
            size: decoder.number()?,
            mtime: decoder.time()?,
            ctime: decoder.time()?,
        };
        let len = decoder.number()?;
        let data = match decoder.number()? {
            0 => Data::Inline(Bytes::copy_from_slice(decoder.bytes()?)),
            1 => Data::Chunk(ChunkId::from_bytes(decoder.digest()?)),
            2 => Data::List(ChunkId::from_bytes(decoder.digest()?)),
            _ => return Err(decoder.malformed("a kind of content")),
        };
        let content = Content { len, data };
        Ok(Seen { name, stamp, content })
    })?;
    decoder.end()?;
    Ok(seen)
}

/// The record of a directory, ready to be put.
pub(super) fn record(directory: Identity, files: &[Seen]) -> (Vec<u8>, Record) {
    let mut encoder = Encoder::default();
    encoder.number(FORMAT);
    encoder.list(files, |encoder, file| {
        encoder.bytes(file.name.as_bytes());
        encoder.number(file.stamp.inode);
        encoder.number(file.stamp.size);
        encoder.time(file.stamp.mtime);
        encoder.time(file.stamp.ctime);
        encoder.number(file.content.len);
        match &file.content.data {
            Data::Inline(bytes) => {
                encoder.number(0);
                encoder.bytes(bytes);
            }
            Data::Chunk(id) => {
                encoder.number(1);
                encoder.digest(id.as_bytes());
            }
            Data::List(id) => {
                encoder.number(2);
                encoder.digest(id.as_bytes());
            }
        }
    });
    let record = Record {
        value: encoder.finish(),
        ..Record::default()
    };
    (directory.key(), record)
}

/// Now, by the clock that files are stamped with.
pub(super) fn now() -> Time {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME);
    now.map_or(Time::default(), |now| Time {
        seconds: now.tv_sec(),
        nanos: u32::try_from(now.tv_nsec()).unwrap_or(0),
    })
}
