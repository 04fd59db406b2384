//! Sparse members in GNU tar's four forms (old GNU, PAX 0.0, 0.1, 1.0): their maps, and a reader that fills the holes.
//!
//! In: headers and stored data. Out: the file's bytes. No effects. Spec: GNU tar manual, "Storing Sparse Files".
//! Layers should not have them, but root filesystem tars do. Never written.

use std::io::{self, Read};

use super::error::MemberError;
use super::header::{decimal, number};

/// A file that claims to be larger is refused: its zeros would have to be read and written for ever.
const MAX_SIZE: u64 = 64 << 30;

/// (offset, length), in order.
type Runs = Vec<(u64, u64)>;

/// Where stored data belongs: (offset, length) runs in order, and the file's whole size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Map {
    pub(super) runs: Runs,
    pub(super) size: u64,
}

impl Map {
    /// Checks that runs are in order, within the size, and that they add up to `stored`.
    pub(super) fn checked(self, stored: u64) -> Result<Self, MemberError> {
        if self.size > MAX_SIZE {
            return Err(MemberError::SparseSize { size: self.size });
        }
        let mut end = 0;
        let mut sum = 0;
        for (offset, length) in &self.runs {
            let run_end = offset.checked_add(*length).ok_or(MemberError::Sparse)?;
            if *offset < end || run_end > self.size {
                return Err(MemberError::Sparse);
            }
            end = run_end;
            sum += length;
        }
        if sum == stored {
            Ok(self)
        } else {
            Err(MemberError::Sparse)
        }
    }
}

/// What PAX records say of a sparse file.
#[derive(Debug, Default)]
pub(super) struct Declared {
    pub(super) name: Option<Vec<u8>>,
    size: Option<u64>,
    runs: Option<Runs>,
    offset: Option<u64>,
    major: Option<u32>,
}

impl Declared {
    /// Takes the record `GNU.sparse.<key>`.
    pub(super) fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), MemberError> {
        match key {
            b"name" => self.name = Some(value.into()),
            b"size" | b"realsize" => self.size = decimal(value, "sparse size")?,
            b"major" => self.major = decimal(value, "sparse version")?,
            b"map" => self.runs = Some(pairs(value)?),
            b"offset" => self.offset = decimal(value, "sparse offset")?,
            b"numbytes" => {
                let length = decimal(value, "sparse length")?.ok_or(MemberError::Sparse)?;
                let offset = self.offset.take().ok_or(MemberError::Sparse)?;
                self.runs.get_or_insert_default().push((offset, length));
            }
            // `numblocks` and `minor` say nothing more.
            _ => {}
        }
        Ok(())
    }

    /// Whether the map stands at the head of the data (PAX 1.0).
    pub(super) fn map_is_in_data(&self) -> bool {
        self.major == Some(1)
    }

    /// The map, with `runs` read from the data for PAX 1.0; `None` for a plain file.
    pub(super) fn map(self, from_data: Option<Runs>) -> Option<Map> {
        Some(Map {
            size: self.size?,
            runs: from_data.or(self.runs)?,
        })
    }
}

fn pairs(value: &[u8]) -> Result<Runs, MemberError> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: Vec<u64> = value
        .split(|byte| *byte == b',')
        .map(|digits| decimal(digits, "sparse map")?.ok_or(MemberError::Sparse))
        .collect::<Result<_, _>>()?;
    if numbers.len() % 2 == 1 {
        return Err(MemberError::Sparse);
    }
    Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

/// Reads the (offset, length) fields of an old GNU header or its continuation.
pub(super) fn gnu_runs(fields: &[u8], runs: &mut Runs) -> Result<(), MemberError> {
    for field in fields.chunks_exact(24) {
        if field[0] == 0 && field[12] == 0 {
            break;
        }
        let part = |bytes| u64::try_from(number(bytes, "sparse map")?).map_err(|_| MemberError::Sparse);
        runs.push((part(&field[..12])?, part(&field[12..])?));
    }
    Ok(())
}

/// Reads a PAX 1.0 map from the data: decimal lines, the first the count, padded to a block. Returns the runs and the bytes read.
pub(super) fn read_map(data: &mut dyn Read, stored: u64) -> io::Result<Option<(Runs, u64)>> {
    let mut used = 0;
    let mut block = [0; 512];
    let mut digits = Vec::new();
    let mut numbers: Vec<u64> = Vec::new();
    loop {
        // The map is part of the stored bytes; one that never ends is malformed.
        if used + 512 > stored {
            return Ok(None);
        }
        data.read_exact(&mut block)?;
        used += 512;
        for byte in block {
            match byte {
                b'0'..=b'9' if digits.len() < 20 => digits.push(byte),
                b'\n' => match decimal(&digits, "sparse map") {
                    Ok(Some(number)) => {
                        numbers.push(number);
                        digits.clear();
                    }
                    _ => return Ok(None),
                },
                _ => return Ok(None),
            }
            if let [count, pairs @ ..] = &*numbers
                && pairs.len() as u64 == count.saturating_mul(2)
            {
                let runs = pairs.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
                return Ok(Some((runs, used)));
            }
        }
    }
}

/// Reads the whole file from its stored runs.
pub(super) struct Expand<'a, R: Read> {
    stored: &'a mut R,
    map: &'a Map,
    run: usize,
    position: u64,
}

impl<'a, R: Read> Expand<'a, R> {
    pub(super) fn new(stored: &'a mut R, map: &'a Map) -> Self {
        Self {
            stored,
            map,
            run: 0,
            position: 0,
        }
    }
}

impl<R: Read> Read for Expand<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (offset, length) = loop {
            match self.map.runs.get(self.run) {
                Some((offset, length)) if self.position >= offset + length => self.run += 1,
                Some(run) => break *run,
                None => break (self.map.size, 0),
            }
        };
        let room = buffer.len() as u64;
        if self.position < offset {
            let zeros = room.min(offset - self.position) as usize;
            buffer[..zeros].fill(0);
            self.position += zeros as u64;
            return Ok(zeros);
        }
        let wanted = room.min(offset + length - self.position) as usize;
        let read = self.stored.read(&mut buffer[..wanted])?;
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_filled_and_maps_checked() {
        let map = Map {
            runs: vec![(2, 3), (5, 0), (7, 1)],
            size: 10,
        };
        let map = map.checked(4).unwrap();
        let mut stored = &b"abcd"[..];
        let mut out = Vec::new();
        Expand::new(&mut stored, &map).read_to_end(&mut out).unwrap();
        assert_eq!(out, b"\0\0abc\0\0d\0\0");
        let wrong = |runs: Runs, size| Map { runs, size }.checked(4).is_err();
        assert!(wrong(vec![(0, 3)], 10));
        assert!(wrong(vec![(4, 2), (0, 2)], 10));
        assert!(wrong(vec![(8, 4)], 10));
        assert!(wrong(vec![(u64::MAX, 4)], 10));
        assert!(wrong(vec![(0, 4)], 1 << 50));
    }

    #[test]
    fn maps_in_the_data_end_at_a_block() {
        let mut block = b"2\n0\n5\n512\n7\n".to_vec();
        block.resize(512, 0);
        block.extend_from_slice(b"data");
        let read = read_map(&mut &block[..], 600).unwrap();
        assert_eq!(read, Some((vec![(0, 5), (512, 7)], 512)));
        assert_eq!(read_map(&mut &[b'1'; 512][..], 512).unwrap(), None);
        assert_eq!(read_map(&mut &block[..], 100).unwrap(), None);
    }
}
