//! A file's bytes as they were written over what it was: ranges of base content, of memory, of the staging disk, and holes between.
//!
//! In: writes, truncations, holes. Out: bytes, data ranges. Effects: staging. Nothing is copied up: a partial write to a large base
//! file is one piece over it.

use std::collections::BTreeMap;
use std::ops::Range as Span;

use nix::errno::Errno;
use silt_store::Data;

use super::{Content, Contents};
use crate::error::{Reply, io_errno};
use crate::staging::{Block, Range, Staging};

/// The pieces by where they start; they don't overlap and end at or before `len`.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    map: BTreeMap<u64, Piece>,
    len: u64,
    /// Bytes under pieces: the file's length without its holes.
    covered: u64,
    /// Bytes under pieces in memory.
    in_memory: u64,
}

#[derive(Debug)]
enum Piece {
    /// Boxed: a file that was written anew has one piece in memory, and there are many such files.
    Shared(Box<Shared>),
    Memory(Block),
    Disk(Range),
}

/// `len` bytes of immutable content from `offset` on.
#[derive(Debug)]
struct Shared {
    content: Content,
    offset: u64,
    len: u64,
}

impl Piece {
    fn shared(content: Content, offset: u64, len: u64) -> Self {
        Self::Shared(Box::new(Shared { content, offset, len }))
    }

    fn len(&self) -> u64 {
        match self {
            Self::Shared(shared) => shared.len,
            Self::Memory(block) => block.len(),
            Self::Disk(range) => range.len(),
        }
    }

    fn split_off(&mut self, at: u64) -> Self {
        match self {
            Self::Shared(shared) => {
                let rest = Self::shared(shared.content.clone(), shared.offset + at, shared.len - at);
                shared.len = at;
                rest
            }
            Self::Memory(block) => Self::Memory(block.split_off(at)),
            Self::Disk(range) => Self::Disk(range.split_off(at)),
        }
    }

    fn truncate(&mut self, to: u64) {
        match self {
            Self::Shared(shared) => shared.len = to,
            Self::Memory(block) => block.truncate(to),
            Self::Disk(range) => range.truncate(to),
        }
    }

    fn read_at(&self, contents: &Contents, at: u64, buffer: &mut [u8]) -> Reply<()> {
        match self {
            Self::Shared(shared) => shared.content.read_exact_at(contents, shared.offset + at, buffer),
            Self::Memory(block) => {
                let at = at as usize;
                buffer.copy_from_slice(&block.bytes()[at..at + buffer.len()]);
                Ok(())
            }
            Self::Disk(range) => range.read_at(at, buffer).map_err(|error| io_errno(&error)),
        }
    }
}

impl Pieces {
    /// The pieces of a file that is `content`.
    pub(crate) fn of(content: Content) -> Self {
        let len = content.len();
        let mut pieces = Self {
            len,
            ..Self::default()
        };
        if len > 0 {
            pieces.insert(0, Piece::shared(content, 0, len));
        }
        pieces
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn covered(&self) -> u64 {
        self.covered
    }

    /// The one content that these pieces are, unchanged from its first byte to its last.
    pub(crate) fn whole(&self) -> Option<&Content> {
        match self.map.first_key_value() {
            Some((0, Piece::Shared(shared)))
                if shared.offset == 0 && shared.len == self.len && shared.content.len() == self.len =>
            {
                Some(&shared.content)
            }
            _ => None,
        }
    }

    /// The large stored file that these pieces are an edition of, and what differs from it: `None` where that is not most of them.
    pub(crate) fn edition(&self) -> Option<(silt_store::Content, Vec<Span<u64>>)> {
        let kept = |start: u64, piece: &Piece| match piece {
            Piece::Shared(shared) if shared.offset == start => shared.content.sealed(),
            _ => None,
        };
        let base = self.map.iter().find_map(|(start, piece)| kept(*start, piece))?;
        if !matches!(base.data, Data::List(_)) || self.len > base.len.saturating_mul(2) {
            return None;
        }
        let mut dirty = Vec::new();
        let mut clean = 0;
        let mut done = 0;
        for (&start, piece) in &self.map {
            if kept(start, piece).as_ref() == Some(&base) {
                if done < start {
                    dirty.push(done..start);
                }
                clean += piece.len();
                done = start + piece.len();
            }
        }
        if done < self.len {
            dirty.push(done..self.len);
        }
        (clean > self.len / 2).then_some((base, dirty))
    }

    fn insert(&mut self, start: u64, piece: Piece) {
        self.covered += piece.len();
        if let Piece::Memory(block) = &piece {
            self.in_memory += block.len();
        }
        self.map.insert(start, piece);
    }

    fn remove(&mut self, start: u64) -> Option<Piece> {
        let piece = self.map.remove(&start)?;
        self.covered -= piece.len();
        if let Piece::Memory(block) = &piece {
            self.in_memory -= block.len();
        }
        Some(piece)
    }

    /// Makes a hole of `span`.
    fn carve(&mut self, span: &Span<u64>) {
        if let Some((&start, piece)) = self.map.range(..span.start).next_back()
            && start + piece.len() > span.start
            && let Some(mut piece) = self.remove(start)
        {
            let rest = piece.split_off(span.start - start);
            self.insert(start, piece);
            self.insert(span.start, rest);
        }
        while let Some((&start, _)) = self.map.range(span.clone()).next() {
            let Some(mut piece) = self.remove(start) else {
                return;
            };
            if start + piece.len() > span.end {
                let rest = piece.split_off(span.end - start);
                self.insert(span.end, rest);
            }
        }
    }

    /// Writes `data` at `offset`; the file grows if need be.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8], staging: &Staging) -> Reply<()> {
        if data.is_empty() {
            return Ok(());
        }
        let end = offset.checked_add(data.len() as u64).ok_or(Errno::EFBIG)?;
        if !self.write_in_place(offset, data)? && !self.append_to_neighbour(offset, data, staging)? {
            let piece = match staging.block(self.in_memory, data) {
                Some(block) => Piece::Memory(block),
                None => Piece::Disk(staging.range(data).map_err(|error| io_errno(&error))?),
            };
            self.carve(&(offset..end));
            self.insert(offset, piece);
        }
        self.len = self.len.max(end);
        Ok(())
    }

    /// Overwrites within one staged piece.
    fn write_in_place(&mut self, offset: u64, data: &[u8]) -> Reply<bool> {
        let Some((&start, piece)) = self.map.range_mut(..=offset).next_back() else {
            return Ok(false);
        };
        let at = offset - start;
        if at + data.len() as u64 > piece.len() {
            return Ok(false);
        }
        match piece {
            Piece::Shared(_) => return Ok(false),
            Piece::Memory(block) => block.overwrite(at as usize, data),
            Piece::Disk(range) => range.overwrite(at, data).map_err(|error| io_errno(&error))?,
        }
        Ok(true)
    }

    /// Grows the staged piece that ends at `offset`, where nothing lies in the way.
    fn append_to_neighbour(&mut self, offset: u64, data: &[u8], staging: &Staging) -> Reply<bool> {
        let more = data.len() as u64;
        if self.map.range(offset..offset + more).next().is_some() {
            return Ok(false);
        }
        let held = self.in_memory;
        let Some((&start, piece)) = self.map.range_mut(..offset).next_back() else {
            return Ok(false);
        };
        if start + piece.len() != offset {
            return Ok(false);
        }
        let grown = match piece {
            Piece::Shared(_) => false,
            Piece::Memory(block) => {
                let grown = staging.extend_block(held, block, data);
                self.in_memory += if grown { more } else { 0 };
                grown
            }
            Piece::Disk(range) => staging
                .extend_range(range, data)
                .map_err(|error| io_errno(&error))?,
        };
        self.covered += if grown { more } else { 0 };
        Ok(grown)
    }

    /// Cuts the file or grows it with a hole.
    pub(crate) fn truncate(&mut self, len: u64) {
        if len < self.len {
            if let Some((&start, piece)) = self.map.range(..len).next_back()
                && start + piece.len() > len
                && let Some(mut piece) = self.remove(start)
            {
                piece.truncate(len - start);
                self.insert(start, piece);
            }
            while let Some((&start, _)) = self.map.range(len..).next() {
                drop(self.remove(start));
            }
        }
        self.len = len;
    }

    /// Makes zeros of what the file has of `span`.
    pub(crate) fn punch(&mut self, span: &Span<u64>) {
        let span = span.start..span.end.min(self.len);
        if !span.is_empty() {
            self.carve(&span);
        }
    }

    /// Takes over the immutable content under `span`, which stands at `to` here from now on: a copy that moves no bytes. Staged
    /// bytes are copied.
    pub(crate) fn share(&self, span: &Span<u64>) -> Vec<(u64, Content, u64, u64)> {
        let mut shared = Vec::new();
        for (start, piece) in self.overlapping(span) {
            if let Piece::Shared(piece) = piece {
                let from = span.start.max(start);
                let to = span.end.min(start + piece.len);
                shared.push((
                    from,
                    piece.content.clone(),
                    piece.offset + (from - start),
                    to - from,
                ));
            }
        }
        shared
    }

    /// Puts `len` bytes of `content` at `start`.
    pub(crate) fn place(&mut self, start: u64, content: Content, offset: u64, len: u64) {
        self.carve(&(start..start + len));
        self.insert(start, Piece::shared(content, offset, len));
        self.len = self.len.max(start + len);
    }

    fn overlapping(&self, span: &Span<u64>) -> impl Iterator<Item = (u64, &Piece)> {
        let first = self
            .map
            .range(..=span.start)
            .next_back()
            .filter(|(start, piece)| *start + piece.len() > span.start)
            .map_or(span.start, |(start, _)| *start);
        self.map
            .range(first..span.end.max(first))
            .map(|(start, piece)| (*start, piece))
    }

    /// Fills `buffer` from `offset` on, as far as the file goes; how far that is.
    pub(crate) fn read_at(&self, contents: &Contents, offset: u64, buffer: &mut [u8]) -> Reply<usize> {
        let count = self.len.saturating_sub(offset).min(buffer.len() as u64);
        let span = offset..offset + count;
        let buffer = &mut buffer[..count as usize];
        let mut done = offset;
        for (start, piece) in self.overlapping(&span) {
            let from = start.max(offset);
            let to = (start + piece.len()).min(span.end);
            buffer[(done - offset) as usize..(from - offset) as usize].fill(0);
            piece.read_at(
                contents,
                from - start,
                &mut buffer[(from - offset) as usize..(to - offset) as usize],
            )?;
            done = to;
        }
        buffer[(done - offset) as usize..].fill(0);
        Ok(count as usize)
    }

    /// The first range of data that ends after `offset`; immutable content answers for its own holes.
    pub(crate) fn next_data(&self, contents: &Contents, offset: u64) -> Reply<Option<Span<u64>>> {
        for (start, piece) in self.overlapping(&(offset..u64::MAX)) {
            let end = start + piece.len();
            let Piece::Shared(shared) = piece else {
                return Ok(Some(start..end));
            };
            let at = shared.offset;
            let Some(data) = shared
                .content
                .next_data(contents, at + offset.saturating_sub(start))?
            else {
                continue;
            };
            let data = (start + data.start.saturating_sub(at)).max(start)..(start + (data.end - at)).min(end);
            if data.start < end && !data.is_empty() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
