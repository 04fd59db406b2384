//! Bytes in and out: fixed little-endian integers, minimal LEB128 numbers, length-prefixed strings.
//!
//! In: values. Out: bytes, and back; what is no canonical form is an error. No effects. Spec: `store/DESIGN.md`, "Notation".

use crate::{StoreError, StoreResult};

pub(crate) fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Small magnitudes of either sign become small numbers.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_number(out, ((value << 1) ^ (value >> 63)) as u64);
}

pub(crate) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what the functions above wrote; `what` names the record in errors.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, what }
    }

    pub(crate) fn malformed(&self, detail: &'static str) -> StoreError {
        StoreError::Malformed {
            what: self.what,
            detail,
        }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> StoreResult<&'a [u8]> {
        let Some((head, rest)) = self.bytes.split_at_checked(len) else {
            return Err(self.malformed("it ends early"));
        };
        self.bytes = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> StoreResult<[u8; N]> {
        let Some((head, rest)) = self.bytes.split_first_chunk() else {
            return Err(self.malformed("it ends early"));
        };
        self.bytes = rest;
        Ok(*head)
    }

    pub(crate) fn byte(&mut self) -> StoreResult<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn number(&mut self) -> StoreResult<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(self.malformed("a number is longer than needed"));
                }
                return Ok(value);
            }
        }
        Err(self.malformed("a number is too large"))
    }

    pub(crate) fn number32(&mut self) -> StoreResult<u32> {
        u32::try_from(self.number()?).map_err(|_| self.malformed("a number is too large"))
    }

    pub(crate) fn signed(&mut self) -> StoreResult<i64> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(crate) fn string(&mut self) -> StoreResult<&'a [u8]> {
        let len = self.number()?;
        let len = usize::try_from(len).map_err(|_| self.malformed("a length is too large"))?;
        self.bytes(len)
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    pub(crate) fn end(&self) -> StoreResult<()> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(self.malformed("bytes follow its end"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_are_minimal() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_number(&mut out, value);
            put_signed(&mut out, value as i64);
            let mut reader = Reader::new(&out, "test");
            assert_eq!(reader.number().unwrap(), value);
            assert_eq!(reader.signed().unwrap(), value as i64);
            reader.end().unwrap();
        }
        for bad in [&[0x80, 0x00][..], &[0x80], &[0xff; 10]] {
            assert!(Reader::new(bad, "test").number().is_err(), "{bad:?}");
        }
    }
}
