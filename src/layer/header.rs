//! One tar member's metadata: a 512-byte header with the PAX and GNU extensions before it becomes a `Member`. Pure.
//!
//! Spec: POSIX ustar and pax, GNU tar's long names and base-256 numbers. Where they leave room, what Go's `archive/tar` does
//! decides, since Docker, containerd and umoci read layers with it.

use silt_store::{Device, Meta, Time};
use tar::Header;

use super::error::MemberError;
use super::pax;
use super::sparse::Map;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink(Vec<u8>),
    Link(Vec<u8>),
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
}

/// One member.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// As the archive has it.
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) meta: Meta,
    /// Bytes of data that follow in the archive.
    pub(super) stored: u64,
    /// Where the data belongs, for sparse files.
    pub(super) sparse: Option<Map>,
}

/// What the headers before a member said about it.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    /// The PAX records, unparsed.
    pub(super) pax: Vec<u8>,
    /// GNU `L`.
    pub(super) long_name: Option<Vec<u8>>,
    /// GNU `K`.
    pub(super) long_link: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Overrides {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<Time>,
    sparse: super::sparse::Declared,
}

/// Puts a member together. A sparse map in PAX 1.0 form stands in the data: the caller reads it (`sparse` is then an empty map
/// that `Declared` described); this is told by the second value.
pub(super) fn member(
    header: &Header,
    extensions: Extensions,
) -> Result<(Member, super::sparse::Declared), MemberError> {
    let old = header.as_old();
    let mut meta = Meta {
        mode: (number(&old.mode, "mode")? & 0o7777) as u16,
        ..Meta::default()
    };
    let overrides = read_pax(&extensions.pax, &mut meta)?;
    meta.uid = id(overrides.uid, &old.uid, "uid")?;
    meta.gid = id(overrides.gid, &old.gid, "gid")?;
    meta.mtime = match overrides.mtime {
        Some(time) => time,
        None => Time {
            seconds: number(&old.mtime, "mtime")?,
            nanos: 0,
        },
    };
    let size = match overrides.size {
        Some(size) => size,
        None => {
            u64::try_from(number(&old.size, "size")?).map_err(|_| MemberError::Number { field: "size" })?
        }
    };
    let name = overrides
        .name
        .or(extensions.long_name)
        .unwrap_or_else(|| header.path_bytes().into_owned());
    let link = overrides
        .link
        .or(extensions.long_link)
        .unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
    let kind = kind(header, &name, link)?;
    // As Go does: whatever the header says, only files have data.
    let stored = if kind == Kind::File { size } else { 0 };
    if matches!(kind, Kind::Symlink(_)) {
        // Linux shows every link with this mode; archives differ.
        meta.mode = 0o777;
    }
    let member = Member {
        name,
        kind,
        meta,
        stored,
        sparse: None,
    };
    Ok((member, overrides.sparse))
}

fn kind(header: &Header, name: &[u8], link: Vec<u8>) -> Result<Kind, MemberError> {
    Ok(match header.as_old().linkflag[0] {
        b'0' | 0 | b'7' if name.ends_with(b"/") => Kind::Directory,
        b'0' | 0 | b'7' | b'S' => Kind::File,
        b'1' => Kind::Link(link),
        b'2' => Kind::Symlink(link),
        b'3' => Kind::CharDevice(device(header)?),
        b'4' => Kind::BlockDevice(device(header)?),
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        flag => {
            return Err(MemberError::Type {
                flag: char::from(flag),
            });
        }
    })
}

fn device(header: &Header) -> Result<Device, MemberError> {
    let bytes = header.as_bytes();
    let part = |range: std::ops::Range<usize>| {
        u32::try_from(number(&bytes[range], "device number")?).map_err(|_| MemberError::Number {
            field: "device number",
        })
    };
    Ok(Device {
        major: part(329..337)?,
        minor: part(337..345)?,
    })
}

fn read_pax(bytes: &[u8], meta: &mut Meta) -> Result<Overrides, MemberError> {
    let mut overrides = Overrides::default();
    for record in pax::records(bytes) {
        let (key, value) = record?;
        match key {
            b"path" => overrides.name = text(value)?,
            b"linkpath" => overrides.link = text(value)?,
            b"size" => overrides.size = decimal(value, "size")?,
            b"uid" => overrides.uid = decimal(value, "uid")?,
            b"gid" => overrides.gid = decimal(value, "gid")?,
            b"mtime" if value.is_empty() => overrides.mtime = None,
            b"mtime" => {
                let time = pax::time(value).ok_or(MemberError::Number { field: "mtime" })?;
                overrides.mtime = Some(time);
            }
            _ if key.starts_with(b"GNU.sparse.") => overrides.sparse.record(&key[11..], value)?,
            _ => {
                if let Some(attribute) = pax::xattr(key, value) {
                    let (name, value) = attribute?;
                    meta.xattrs.set(&name, &value);
                }
            }
        }
    }
    if let Some(name) = overrides.sparse.name.take() {
        overrides.name = Some(name);
    }
    Ok(overrides)
}

fn text(value: &[u8]) -> Result<Option<Vec<u8>>, MemberError> {
    if value.contains(&0) {
        return Err(MemberError::Pax);
    }
    Ok((!value.is_empty()).then(|| value.into()))
}

pub(super) fn decimal<T: std::str::FromStr>(
    value: &[u8],
    field: &'static str,
) -> Result<Option<T>, MemberError> {
    if value.is_empty() {
        return Ok(None);
    }
    let parsed = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    parsed.map(Some).ok_or(MemberError::Number { field })
}

fn id(pax: Option<u32>, field: &[u8], name: &'static str) -> Result<u32, MemberError> {
    match pax {
        Some(id) => Ok(id),
        None => u32::try_from(number(field, name)?).map_err(|_| MemberError::Number { field: name }),
    }
}

/// Octal digits between spaces and NULs (none at all is 0), or GNU's base-256 when the first bit is set.
pub(super) fn number(field: &[u8], name: &'static str) -> Result<i64, MemberError> {
    let wrong = MemberError::Number { field: name };
    if field[0] & 0x80 != 0 {
        // Two's complement over the field's bits but the first.
        let negative = field[0] & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (index, byte) in field.iter().enumerate() {
            let byte = match (index, negative) {
                (0, false) => byte & 0x7f,
                (0, true) => byte | 0x80,
                _ => *byte,
            };
            value = (value << 8) | i128::from(byte);
        }
        return i64::try_from(value).map_err(|_| wrong);
    }
    let blank = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let digits = &field[start..];
    let digits = &digits[..digits.iter().position(blank).unwrap_or(digits.len())];
    digits
        .iter()
        .try_fold(0i64, |sum, digit| match digit {
            b'0'..=b'7' => sum.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
            _ => None,
        })
        .ok_or(wrong)
}

/// Whether the header's own checksum holds, by the unsigned or the historic signed sum.
pub(super) fn checksum_holds(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let Ok(stated) = number(&header.as_old().cksum, "checksum") else {
        return false;
    };
    let masked = |index: usize, byte: u8| if (148..156).contains(&index) { b' ' } else { byte };
    let unsigned: i64 = bytes
        .iter()
        .enumerate()
        .map(|(i, b)| i64::from(masked(i, *b)))
        .sum();
    let signed: i64 = bytes
        .iter()
        .enumerate()
        .map(|(i, b)| i64::from(masked(i, *b) as i8))
        .sum();
    stated == unsigned || stated == signed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        let read = |field: &[u8]| number(field, "x").ok();
        assert_eq!(read(b"0000644\0"), Some(0o644));
        assert_eq!(read(b"   755 \0"), Some(0o755));
        assert_eq!(read(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(read(b"77777777777\0"), Some(0o77_777_777_777));
        assert_eq!(read(b"\x80\0\0\0\0\0\0\x01"), Some(1));
        assert_eq!(read(&[0xff; 8]), Some(-1));
        assert_eq!(read(b"\x80\0\0\0\0\x2d\xc6\xc0"), Some(3_000_000));
        assert_eq!(read(b"12x\0"), None);
        assert_eq!(read(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
    }
}
