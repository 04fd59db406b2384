//! Canonical bytes for keys and records: numbers are 8 bytes little-endian, byte strings carry their length before them.
//!
//! In: values in a fixed order. Out: bytes that no other values give. No effects. Written by hand because key digests are a
//! format: a change here is a change of `key::VERSION`.

use silt_store::{ContentId, StoreError, StoreResult, Time, TreeId, TreeRef};

/// Writes canonical bytes.
#[derive(Debug, Default)]
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) fn number(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.number(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(crate) fn list<T>(&mut self, values: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.number(values.len() as u64);
        for value in values {
            each(self, value);
        }
    }

    pub(crate) fn digest(&mut self, value: &[u8; 32]) {
        self.0.extend_from_slice(value);
    }

    pub(crate) fn tree(&mut self, value: TreeRef) {
        self.digest(value.tree.as_bytes());
        self.digest(value.content.as_bytes());
    }

    pub(crate) fn time(&mut self, value: Time) {
        self.number(value.seconds as u64);
        self.number(u64::from(value.nanos));
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads what `Encoder` wrote.
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Decoder<'a> {
    /// `what` names the record in errors.
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) fn malformed(&self, detail: &'static str) -> StoreError {
        StoreError::Malformed {
            what: self.what,
            detail,
        }
    }

    fn take(&mut self, len: usize) -> StoreResult<&'a [u8]> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or_else(|| self.malformed("too short"))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn digest(&mut self) -> StoreResult<[u8; 32]> {
        let bytes = self.take(32)?;
        bytes.try_into().map_err(|_| self.malformed("too short"))
    }

    pub(crate) fn number(&mut self) -> StoreResult<u64> {
        let bytes = self.take(8)?;
        let bytes = bytes.try_into().map_err(|_| self.malformed("too short"))?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn bytes(&mut self) -> StoreResult<&'a [u8]> {
        let len = self.number()?;
        self.take(usize::try_from(len).map_err(|_| self.malformed("too long"))?)
    }

    pub(crate) fn text(&mut self) -> StoreResult<String> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.malformed("not UTF-8"))
    }

    pub(crate) fn list<T>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> StoreResult<T>,
    ) -> StoreResult<Vec<T>> {
        let len = self.number()?;
        (0..len).map(|_| each(self)).collect()
    }

    pub(crate) fn tree(&mut self) -> StoreResult<TreeRef> {
        Ok(TreeRef {
            tree: TreeId::from_bytes(self.digest()?),
            content: ContentId::from_bytes(self.digest()?),
        })
    }

    pub(crate) fn time(&mut self) -> StoreResult<Time> {
        let seconds = self.number()? as i64;
        let nanos = u32::try_from(self.number()?).map_err(|_| self.malformed("nanoseconds"))?;
        Ok(Time { seconds, nanos })
    }

    pub(crate) fn end(self) -> StoreResult<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.malformed("bytes after the end"))
        }
    }
}
