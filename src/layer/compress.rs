//! Compression, both ways.
//!
//! Out: gzip members or zstd frames of fixed amounts of input, so that the bytes depend on the input alone while several
//! threads work on them; both formats define a concatenation as one stream, and the clients named in the README read it.
//! In: gzip, bzip2, xz, zstd, told apart by their first bytes, since neither names nor media types can be trusted.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::oci::manifest::Compression;

/// Input of one gzip member. Part of the format: changing it changes digests.
const GZIP_BLOCK: usize = 1 << 20;
/// Input of one zstd frame. Part of the format.
const ZSTD_BLOCK: usize = 4 << 20;
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;
const MAX_THREADS: usize = 8;

/// Compresses what is written to it. `finish` must be called.
pub struct Encoder<W: Write> {
    out: W,
    compression: Compression,
    block: Vec<u8>,
    block_size: usize,
    /// Whether anything was written to `out`.
    begun: bool,
    workers: Option<Workers>,
}

struct Workers {
    jobs: Option<Sender<Job>>,
    /// Results in the order of their blocks.
    results: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    limit: usize,
    threads: Vec<JoinHandle<()>>,
}

struct Job {
    block: Vec<u8>,
    result: Sender<io::Result<Vec<u8>>>,
}

impl<W: Write> Encoder<W> {
    /// Compresses to `out`.
    pub fn new(compression: Compression, out: W) -> Self {
        Self {
            out,
            compression,
            block: Vec::new(),
            block_size: if compression == Compression::Zstd {
                ZSTD_BLOCK
            } else {
                GZIP_BLOCK
            },
            begun: false,
            workers: None,
        }
    }

    /// Writes what is left; the output is complete then.
    ///
    /// # Errors
    /// What `out` reports.
    pub fn finish(mut self) -> io::Result<W> {
        if let Some(mut workers) = self.workers.take() {
            while let Some(result) = workers.results.pop_front() {
                self.out.write_all(&received(&result)?)?;
            }
        }
        if !self.block.is_empty() || !self.begun {
            self.out.write_all(&compress(self.compression, &self.block)?)?;
        }
        Ok(self.out)
    }

    fn full_block(&mut self) -> io::Result<()> {
        self.begun = true;
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(self.block_size));
        if self.compression == Compression::None {
            return self.out.write_all(&block);
        }
        let compression = self.compression;
        let workers = self.workers.get_or_insert_with(|| Workers::start(compression));
        let (sender, receiver) = bounded(1);
        workers.results.push_back(receiver);
        if let Some(jobs) = &workers.jobs {
            let job = Job {
                block,
                result: sender,
            };
            jobs.send(job)
                .map_err(|_| io::Error::other("a compressing thread ended"))?;
        }
        while workers.results.len() > workers.limit {
            if let Some(result) = workers.results.pop_front() {
                self.out.write_all(&received(&result)?)?;
            }
        }
        Ok(())
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.block_size - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == self.block_size {
            self.full_block()?;
        }
        Ok(taken)
    }

    /// Does nothing: a flush would make block boundaries depend on the writer.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Workers {
    fn start(compression: Compression) -> Self {
        let count = std::thread::available_parallelism()
            .map_or(2, std::num::NonZero::get)
            .min(MAX_THREADS);
        let (jobs, queue) = bounded::<Job>(count);
        let work = move |queue: Receiver<Job>| {
            for job in queue {
                // The encoder may have given up; then nobody wants the result.
                drop(job.result.send(compress(compression, &job.block)));
            }
        };
        Self {
            jobs: Some(jobs),
            results: VecDeque::new(),
            limit: count * 2,
            threads: (0..count)
                .map(|_| {
                    let queue = queue.clone();
                    std::thread::spawn(move || work(queue))
                })
                .collect(),
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn received(result: &Receiver<io::Result<Vec<u8>>>) -> io::Result<Vec<u8>> {
    result
        .recv()
        .map_err(|_| io::Error::other("a compressing thread ended"))?
}

fn compress(compression: Compression, block: &[u8]) -> io::Result<Vec<u8>> {
    match compression {
        Compression::None => Ok(block.to_vec()),
        Compression::Zstd => zstd::bulk::compress(block, ZSTD_LEVEL),
        Compression::Gzip => {
            let out = Vec::with_capacity(block.len() / 2);
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL));
            encoder.write_all(block)?;
            encoder.finish()
        }
    }
}

/// Decompresses `input`, whatever it is compressed with; other bytes pass as they are.
///
/// # Errors
/// What `input` reports for its first bytes. Damaged data is an error of later reads.
pub fn decompress<'r>(mut input: impl Read + Send + 'r) -> io::Result<Box<dyn Read + Send + 'r>> {
    let mut magic = Vec::new();
    input.by_ref().take(6).read_to_end(&mut magic)?;
    let form = Form::of(&magic);
    let input = io::Cursor::new(magic).chain(input);
    let buffered = io::BufReader::with_capacity(128 << 10, input);
    Ok(match form {
        Form::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
        Form::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(buffered)),
        Form::Xz => Box::new(liblzma::bufread::XzDecoder::new_multi_decoder(buffered)),
        Form::Zstd => Box::new(zstd::Decoder::with_buffer(buffered)?),
        Form::Plain => Box::new(buffered),
    })
}

/// Whether `head`, the first bytes of a file, begins a compression that `decompress` undoes.
pub fn is_compressed(head: &[u8]) -> bool {
    Form::of(head) != Form::Plain
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Gzip,
    Bzip2,
    Xz,
    Zstd,
    Plain,
}

impl Form {
    fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // A frame, or a skippable frame before one.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(compression: Compression, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut encoder = Encoder::new(compression, Vec::new());
        for part in bytes.chunks(piece) {
            encoder.write_all(part).unwrap();
        }
        encoder.finish().unwrap()
    }

    fn decoded(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        decompress(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn what_is_compressed_comes_back_and_its_bytes_do_not_depend_on_the_writer() {
        let bytes: Vec<u8> = (0..9_000_000u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 27) as u8)
            .collect();
        for compression in Compression::ALL {
            for length in [0, 1, GZIP_BLOCK, ZSTD_BLOCK, bytes.len()] {
                let whole = encoded(compression, &bytes[..length], usize::MAX);
                assert_eq!(whole, encoded(compression, &bytes[..length], 77_777));
                assert_eq!(
                    decoded(&whole).unwrap(),
                    bytes[..length],
                    "{compression:?} {length}"
                );
            }
        }
    }

    #[test]
    fn a_truncated_stream_is_an_error() {
        let bytes = encoded(Compression::Gzip, &vec![7; 100_000], 1000);
        assert!(decoded(&bytes[..bytes.len() - 9]).is_err());
        let bytes = encoded(Compression::Zstd, &vec![7; 100_000], 1000);
        assert!(decoded(&bytes[..bytes.len() - 3]).is_err());
    }
}
