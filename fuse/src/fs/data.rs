//! Operations on a file's bytes.

use nix::errno::Errno;

use super::Fs;
use super::attributes::kill_privileges;
use crate::error::Reply;
use crate::inode::{Body, File};
use crate::protocol::{Allocate, InodeNo, Seek};
use crate::trace::Message;
use crate::upper::now;

use std::sync::Arc;

/// How much `COPY_FILE_RANGE` moves through memory at once.
const COPY: usize = 1 << 20;

impl Fs {
    fn file(&self, ino: InodeNo) -> Reply<Arc<File>> {
        self.upper().table.get(ino)?.file().cloned()
    }

    /// The file, about to change: its times are now, its privileges go if the writer may not keep them.
    fn file_to_change(&self, ino: InodeNo, kill: bool) -> Reply<Arc<File>> {
        let mut upper = self.upper_mut()?;
        upper.table.get(ino)?.file()?;
        let time = now();
        let inode = upper.change(ino)?;
        inode.meta.mtime = time;
        inode.ctime = time;
        if kill {
            kill_privileges(&mut inode.meta);
        }
        inode.file().cloned()
    }

    /// READ: fills `buffer`, less only at the file's end.
    pub(crate) fn read(&self, ino: InodeNo, offset: u64, buffer: &mut [u8]) -> Reply<usize> {
        self.trace.count(Message::Read);
        self.read_file(&*self.file(ino)?, offset, buffer)
    }

    fn read_file(&self, file: &File, offset: u64, buffer: &mut [u8]) -> Reply<usize> {
        match &*file.body() {
            Body::Clean(content) => content.read_at(&self.contents, offset, buffer),
            Body::Dirty(pieces) => pieces.read_at(&self.contents, offset, buffer),
        }
    }

    /// WRITE. `kill`: the writer has no `CAP_FSETID`.
    pub(crate) fn write(&self, ino: InodeNo, offset: u64, data: &[u8], kill: bool) -> Reply<()> {
        self.trace.count(Message::Write);
        self.file_to_change(ino, kill)?
            .change(|pieces| pieces.write(offset, data, &self.staging))
    }

    /// FALLOCATE. Space is not reserved: what is written later may still meet a full disk.
    pub(crate) fn allocate(
        &self,
        ino: InodeNo,
        offset: u64,
        len: u64,
        mode: Allocate,
        kill: bool,
    ) -> Reply<()> {
        self.trace.count(Message::Allocate);
        let end = offset
            .checked_add(len)
            .filter(|end| i64::try_from(*end).is_ok())
            .ok_or(Errno::EFBIG)?;
        self.file_to_change(ino, kill)?.change(|pieces| {
            let grow = match mode {
                Allocate::Reserve { keep_size } => !keep_size,
                Allocate::PunchHole => {
                    pieces.punch(&(offset..end));
                    false
                }
                Allocate::Zero { keep_size } => {
                    pieces.punch(&(offset..end));
                    !keep_size
                }
            };
            if grow && end > pieces.len() {
                pieces.truncate(end);
            }
            Ok(())
        })
    }

    /// LSEEK for data and holes. Spec: lseek(2).
    pub(crate) fn seek(&self, ino: InodeNo, offset: u64, seek: Seek) -> Reply<u64> {
        self.trace.count(Message::Seek);
        let file = self.file(ino)?;
        let body = file.body();
        let next = |offset| match &*body {
            Body::Clean(content) => content.next_data(&self.contents, offset),
            Body::Dirty(pieces) => pieces.next_data(&self.contents, offset),
        };
        if offset >= file.len() {
            return Err(Errno::ENXIO);
        }
        match seek {
            Seek::Data => next(offset)?
                .map(|data| data.start.max(offset))
                .ok_or(Errno::ENXIO),
            Seek::Hole => {
                let mut hole = offset;
                while let Some(data) = next(hole)?.filter(|data| data.start <= hole) {
                    hole = data.end;
                }
                Ok(hole.min(file.len()))
            }
        }
    }

    /// `COPY_FILE_RANGE`: how many bytes were copied. What is immutable is shared, not copied.
    pub(crate) fn copy(&self, from: (InodeNo, u64), to: (InodeNo, u64), len: u64, kill: bool) -> Reply<u64> {
        self.trace.count(Message::Copy);
        let source = self.file(from.0)?;
        let target = self.file_to_change(to.0, kill)?;
        let len = source.len().saturating_sub(from.1).min(len);
        to.1.checked_add(len)
            .filter(|end| i64::try_from(*end).is_ok())
            .ok_or(Errno::EFBIG)?;
        let shared = match &*source.body() {
            Body::Clean(content) => vec![(from.1, content.clone(), from.1, len)],
            Body::Dirty(pieces) => pieces.share(&(from.1..from.1 + len)),
        };
        let mut position = from.1;
        for (start, content, offset, count) in shared {
            self.copy_bytes(&source, &target, position..start, to.1 + (position - from.1))?;
            if count > 0 {
                target.change(|pieces| {
                    pieces.place(to.1 + (start - from.1), content, offset, count);
                    Ok(())
                })?;
            }
            position = start + count;
        }
        self.copy_bytes(
            &source,
            &target,
            position..from.1 + len,
            to.1 + (position - from.1),
        )?;
        Ok(len)
    }

    fn copy_bytes(&self, source: &File, target: &File, span: std::ops::Range<u64>, mut to: u64) -> Reply<()> {
        let mut position = span.start;
        let mut buffer = vec![0; COPY.min((span.end - span.start) as usize)];
        while position < span.end {
            let wanted = buffer.len().min((span.end - position) as usize);
            let count = self.read_file(source, position, &mut buffer[..wanted])?;
            if count == 0 {
                break;
            }
            target.change(|pieces| pieces.write(to, &buffer[..count], &self.staging))?;
            position += count as u64;
            to += count as u64;
        }
        Ok(())
    }
}
