//! Content to pieces: chunks whose boundaries follow the bytes, and holes.
//!
//! In: a byte stream. Out: pieces in order, a function of the bytes alone. Effects: reads its input. Spec: `store/DESIGN.md`,
//! "Content". Holes come from aligned runs of zeros and never from `SEEK_HOLE`: a copy has the same id as its source.

use std::io::Read;

use bytes::Bytes;
use fastcdc::v2020::FastCDC;

/// Content shorter than this is one chunk. Part of the format.
pub(crate) const WHOLE: usize = 256 * 1024;
/// The least, average and greatest chunk of longer content. Part of the format.
const MIN: usize = 16 * 1024;
const AVERAGE: usize = 64 * 1024;
const MAX: usize = 256 * 1024;
/// A block of zeros at a multiple of this offset is a hole. Part of the format.
pub(crate) const HOLE: usize = 16 * 1024;

/// How much is read at once.
const BUFFER: usize = 1024 * 1024;

/// A part of some content.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Bytes, at most `MAX`.
    Chunk(Bytes),
    /// So many zeros.
    Hole(u64),
}

/// A stream that knows of zeros ahead without reading them.
pub trait SparseRead: Read {
    /// Passes over zeros that come next and says how many: a multiple of `unit`, 0 where the next bytes must be read.
    ///
    /// # Errors
    /// What finding out meets.
    fn skip_zeros(&mut self, unit: u64) -> std::io::Result<u64>;
}

impl<R: SparseRead + ?Sized> SparseRead for &mut R {
    fn skip_zeros(&mut self, unit: u64) -> std::io::Result<u64> {
        (**self).skip_zeros(unit)
    }
}

/// Cuts a stream.
pub(crate) struct Chunker<R> {
    reader: R,
    skip_zeros: fn(&mut R, u64) -> std::io::Result<u64>,
    buffer: Vec<u8>,
    /// Bytes of the buffer already given out.
    start: usize,
    /// Bytes of the buffer known to lie before any hole.
    solid: usize,
    /// The stream's offset of the buffer's first byte.
    offset: u64,
    ended: bool,
}

impl<R: Read> Chunker<R> {
    /// Cuts what `head` and then `reader` give.
    pub(crate) fn new(head: Vec<u8>, reader: R) -> Self {
        Self {
            reader,
            skip_zeros: |_, _| Ok(0),
            buffer: head,
            start: 0,
            solid: 0,
            offset: 0,
            ended: false,
        }
    }

    /// Cuts what `reader` gives from `offset` of the content on, where a piece is known to begin.
    pub(crate) fn from_offset(offset: u64, reader: R) -> Self {
        Self {
            offset,
            ..Self::new(Vec::new(), reader)
        }
    }

    /// As `new`; the pieces are the same, but holes that `reader` knows of are not read.
    pub(crate) fn sparse(head: Vec<u8>, reader: R) -> Self
    where
        R: SparseRead,
    {
        Self {
            skip_zeros: R::skip_zeros,
            ..Self::new(head, reader)
        }
    }

    /// The next piece; `None` at the end.
    pub(crate) fn next(&mut self) -> std::io::Result<Option<Piece>> {
        self.fill()?;
        if self.start == self.buffer.len() {
            return Ok(None);
        }
        let zeros = self.take_zeros()?;
        if zeros > 0 {
            return Ok(Some(Piece::Hole(zeros)));
        }
        let window = self.buffer.len().min(self.start + MAX);
        self.find_hole(window);
        let end = window.min(self.solid);
        let slice = &self.buffer[self.start..end];
        let (_, len) = FastCDC::new(slice, MIN as u32, AVERAGE as u32, MAX as u32).cut(0, slice.len());
        let chunk = Bytes::copy_from_slice(&slice[..len]);
        self.start += len;
        Ok(Some(Piece::Chunk(chunk)))
    }

    /// Makes at least `MAX` bytes and a block available, unless the stream ends before.
    fn fill(&mut self) -> std::io::Result<()> {
        if self.ended || self.buffer.len() - self.start >= MAX + HOLE {
            return Ok(());
        }
        self.buffer.drain(..self.start);
        self.offset += self.start as u64;
        self.solid = self.solid.saturating_sub(self.start);
        self.start = 0;
        let wanted = (BUFFER - self.buffer.len()) as u64;
        let read = (&mut self.reader).take(wanted).read_to_end(&mut self.buffer)?;
        self.ended = (read as u64) < wanted;
        Ok(())
    }

    /// The block of zeros at `at`, if one begins there: its length.
    fn zero_block(&self, at: usize) -> Option<usize> {
        if !(self.offset + at as u64).is_multiple_of(HOLE as u64) {
            return None;
        }
        let end = self.buffer.len().min(at + HOLE);
        let whole = end == at + HOLE || self.ended;
        (whole && end > at && is_zero(&self.buffer[at..end])).then_some(end - at)
    }

    fn take_zeros(&mut self) -> std::io::Result<u64> {
        let mut zeros = 0;
        while self.start >= self.solid
            && let Some(len) = self.zero_block(self.start)
        {
            self.start += len;
            zeros += len as u64;
            zeros += self.skip()?;
            self.fill()?;
        }
        Ok(zeros)
    }

    /// Passes over zeros ahead of the buffer where the buffer ends in zeros: among zeros their order does not matter.
    fn skip(&mut self) -> std::io::Result<u64> {
        let rest = &self.buffer[self.start..];
        let ends_block = (self.offset + self.buffer.len() as u64).is_multiple_of(HOLE as u64);
        if self.ended || rest.len() >= MAX + HOLE || !ends_block || !is_zero(rest) {
            return Ok(0);
        }
        let skipped = (self.skip_zeros)(&mut self.reader, HOLE as u64)?;
        self.offset += skipped;
        Ok(skipped)
    }

    /// Moves `solid` to the next hole, or to `window` or beyond.
    fn find_hole(&mut self, window: usize) {
        let mut at = self.solid.max(self.start);
        while at < window {
            let into = (self.offset + at as u64) % HOLE as u64;
            if into == 0 && self.zero_block(at).is_some() {
                break;
            }
            at += HOLE - into as usize;
        }
        self.solid = at;
    }
}

/// Whether all of `bytes` are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(128)
        .all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads in the given portions, over and over.
    struct Portions<'a>(&'a [u8], Vec<usize>, usize);

    impl Read for Portions<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let portion = self.1[self.2 % self.1.len()];
            self.2 += 1;
            let len = portion.min(buf.len()).min(self.0.len());
            buf[..len].copy_from_slice(&self.0[..len]);
            self.0 = &self.0[len..];
            Ok(len)
        }
    }

    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .finalize_xof()
            .fill(&mut bytes);
        bytes
    }

    fn pieces(mut chunker: Chunker<impl Read>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while let Some(piece) = chunker.next().unwrap() {
            pieces.push(piece);
        }
        pieces
    }

    #[test]
    fn pieces_join_to_the_content_and_do_not_depend_on_how_it_is_read() {
        let mut content = noise(900_000, 1);
        content.extend(vec![0; 700_001]);
        content.extend(noise(1_500_000, 2));
        content.extend(vec![0; 3 * HOLE]);
        let whole = pieces(Chunker::new(Vec::new(), &content[..]));
        for portions in [vec![1 << 30], vec![4096, 1, 70_000], vec![300_000]] {
            let head = content[..260_000].to_vec();
            let chunker = Chunker::new(head, Portions(&content[260_000..], portions, 0));
            assert!(pieces(chunker) == whole);
        }
        let mut joined = Vec::new();
        for piece in &whole {
            match piece {
                Piece::Chunk(bytes) => joined.extend_from_slice(bytes),
                Piece::Hole(len) => joined.resize(joined.len() + *len as usize, 0),
            }
        }
        assert!(joined == content);
        let holes: Vec<_> = whole
            .iter()
            .filter(|piece| matches!(piece, Piece::Hole(_)))
            .collect();
        assert_eq!(holes.len(), 2, "{holes:?}");
    }

    #[test]
    fn an_insertion_changes_chunks_around_it_only() {
        let content = noise(4_000_000, 3);
        let mut changed = content.clone();
        changed.splice(2_000_000..2_000_000, *b"inserted");
        let old = pieces(Chunker::new(Vec::new(), &content[..]));
        let new = pieces(Chunker::new(Vec::new(), &changed[..]));
        let fresh = new.iter().filter(|piece| !old.contains(piece)).count();
        assert!(fresh <= 3, "{fresh} of {} chunks are new", new.len());
    }

    #[test]
    fn many_zeros_are_one_hole() {
        let chunker = Chunker::new(Vec::new(), std::io::repeat(0).take(10 * 1024 * 1024 + 5));
        assert_eq!(pieces(chunker), [Piece::Hole(10 * 1024 * 1024 + 5)]);
    }

    /// Data with zeros in front of each part, which are passed over when asked.
    struct Gaps(Vec<(u64, Vec<u8>)>);

    impl Read for Gaps {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let Some((zeros, data)) = self.0.first_mut() else {
                return Ok(0);
            };
            let len = match *zeros {
                0 => data.len().min(buf.len()),
                zeros => zeros.min(buf.len() as u64) as usize,
            };
            if *zeros > 0 {
                buf[..len].fill(0);
                *zeros -= len as u64;
            } else {
                buf[..len].copy_from_slice(&data[..len]);
                data.drain(..len);
            }
            if *zeros == 0 && data.is_empty() {
                self.0.remove(0);
            }
            Ok(len)
        }
    }

    impl SparseRead for Gaps {
        fn skip_zeros(&mut self, unit: u64) -> std::io::Result<u64> {
            let Some((zeros, _)) = self.0.first_mut() else {
                return Ok(0);
            };
            let skipped = *zeros / unit * unit;
            *zeros -= skipped;
            Ok(skipped)
        }
    }

    #[test]
    fn zeros_passed_over_give_the_same_pieces() {
        for gap in [0, 1, 4096, 16_384, 300_000, 1 << 20, 5_000_001] {
            let gaps = || {
                Gaps(vec![
                    (gap, noise(400_000, gap)),
                    (3 * gap, noise(20_000, 4)),
                    (gap, vec![0; 70_000]),
                ])
            };
            assert!(
                pieces(Chunker::sparse(Vec::new(), gaps())) == pieces(Chunker::new(Vec::new(), gaps())),
                "{gap}"
            );
        }
        let vast = Gaps(vec![(1 << 50, vec![1; 5])]);
        assert_eq!(pieces(Chunker::sparse(Vec::new(), vast)).len(), 2);
    }
}
