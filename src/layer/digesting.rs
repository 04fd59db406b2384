//! Streams that digest and count what passes.

use std::io::{self, Read, Write};

use crate::oci::digest::{Digest, Hasher};

/// A reader or writer around another.
#[derive(Debug)]
pub struct Digesting<T> {
    inner: T,
    hasher: Hasher,
    count: u64,
}

impl<T> Digesting<T> {
    /// Digests with SHA-256.
    pub fn new(inner: T) -> Self {
        Self::with(inner, Hasher::sha256())
    }

    /// Digests with `hasher`, to verify a digest of its kind.
    pub fn with(inner: T, hasher: Hasher) -> Self {
        Self {
            inner,
            hasher,
            count: 0,
        }
    }

    /// The digest of what passed, and how many bytes that was.
    pub fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.count)
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        self.count += read as u64;
        Ok(read)
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
