//! A tar written member by member, in one canonical form.
//!
//! In: paths and entries. Out: ustar headers, with a PAX header before those that ustar cannot say. Deterministic: no names of
//! owners, no access times, one spelling for each value. Spec: POSIX pax; keys as Go's `archive/tar` and GNU tar read them.

use std::io::{self, Write};

use silt_store::{Device, GuestPath, Meta};
use tar::{EntryType, Header};

use super::pax;

/// What a member is, as it is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Member<'a> {
    /// A file of so many bytes, which the caller writes next.
    File(u64),
    Directory,
    Symlink(&'a [u8]),
    Link(&'a GuestPath),
    CharDevice(Device),
    BlockDevice(Device),
    Fifo,
}

/// Writes members to `out`.
pub(super) struct TarWriter<'w> {
    out: &'w mut dyn Write,
}

impl<'w> TarWriter<'w> {
    pub(super) fn new(out: &'w mut dyn Write) -> Self {
        Self { out }
    }

    /// The stream, for a file's data.
    pub(super) fn out(&mut self) -> &mut dyn Write {
        self.out
    }

    /// Writes a member's headers.
    pub(super) fn member(&mut self, path: &GuestPath, meta: &Meta, member: Member<'_>) -> io::Result<()> {
        let directory = matches!(member, Member::Directory);
        let mut header = Header::new_ustar();
        let mut pax = Vec::new();
        let mut size = 0;
        let mut link = Vec::new();
        let kind = match member {
            Member::File(length) => {
                size = length;
                EntryType::Regular
            }
            Member::Directory => EntryType::Directory,
            Member::Symlink(target) => {
                link = target.to_vec();
                EntryType::Symlink
            }
            Member::Link(target) => {
                link = name(target, false);
                EntryType::Link
            }
            Member::CharDevice(device) => device_numbers(&mut header, device, EntryType::Char)?,
            Member::BlockDevice(device) => device_numbers(&mut header, device, EntryType::Block)?,
            Member::Fifo => EntryType::Fifo,
        };
        header.set_entry_type(kind);
        let old = header.as_old_mut();
        text(&mut old.linkname, &link, b"linkpath", &mut pax);
        text(&mut old.name, &name(path, directory), b"path", &mut pax);
        number(&mut old.uid, u64::from(meta.uid), b"uid", &mut pax);
        number(&mut old.gid, u64::from(meta.gid), b"gid", &mut pax);
        number(&mut old.size, size, b"size", &mut pax);
        number(&mut old.mode, u64::from(meta.mode), b"mode", &mut pax);
        if meta.mtime.nanos == 0 && meta.mtime.seconds >= 0 {
            number(&mut old.mtime, meta.mtime.seconds as u64, b"mtime", &mut pax);
        } else {
            number(
                &mut old.mtime,
                meta.mtime.seconds.max(0) as u64,
                b"",
                &mut Vec::new(),
            );
            pax::push(&mut pax, b"mtime", pax::write_time(meta.mtime).as_bytes());
        }
        if !matches!(member, Member::Link(_)) {
            for (name, value) in meta.xattrs.iter() {
                pax::push(&mut pax, &[b"SCHILY.xattr.", name].concat(), value);
            }
        }
        if !pax.is_empty() {
            self.extended(&pax)?;
        }
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    /// Fills the last block of a file's `size` bytes.
    pub(super) fn pad(&mut self, size: u64) -> io::Result<()> {
        self.out
            .write_all(&[0; 512][..(size.wrapping_neg() % 512) as usize])
    }

    /// Writes the end mark.
    pub(super) fn finish(self) -> io::Result<()> {
        self.out.write_all(&[0; 1024])
    }

    fn extended(&mut self, records: &[u8]) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        let old = header.as_old_mut();
        text(&mut old.name, b"PaxHeaders/entry", b"", &mut Vec::new());
        for field in [&mut old.uid, &mut old.gid] {
            number(field, 0, b"", &mut Vec::new());
        }
        number(&mut old.mode, 0o644, b"", &mut Vec::new());
        number(&mut old.mtime, 0, b"", &mut Vec::new());
        number(&mut old.size, records.len() as u64, b"", &mut Vec::new());
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(records)?;
        self.pad(records.len() as u64)
    }
}

/// A path as members are named: relative, `./` for the root, a slash after directories.
fn name(path: &GuestPath, directory: bool) -> Vec<u8> {
    if path.names().is_empty() {
        return b"./".to_vec();
    }
    let mut name = path.to_bytes().split_off(1);
    if directory {
        name.push(b'/');
    }
    name
}

fn device_numbers(header: &mut Header, device: Device, kind: EntryType) -> io::Result<EntryType> {
    header.set_device_major(device.major)?;
    header.set_device_minor(device.minor)?;
    Ok(kind)
}

/// Puts text that fits, otherwise what fits of it and the whole as a PAX record.
fn text(field: &mut [u8], value: &[u8], key: &[u8], pax: &mut Vec<u8>) {
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
    if length < value.len() {
        pax::push(pax, key, value);
    }
}

/// Puts octal digits and a NUL if they fit, otherwise zeros and the number as a PAX record.
fn number(field: &mut [u8], value: u64, key: &[u8], pax: &mut Vec<u8>) {
    let width = field.len() - 1;
    let fits = value >> (3 * width) == 0;
    let digits = format!("{:0width$o}", if fits { value } else { 0 });
    field[..width].copy_from_slice(digits.as_bytes());
    field[width] = 0;
    if !fits {
        pax::push(pax, key, value.to_string().as_bytes());
    }
}
