//! Which build of silt a process is: the package's version and, where the linker wrote one, the ELF build id.
//!
//! In: /proc/self/exe. Out: a version string. Two builds of one version speak protocols that may differ, so the build id is
//! part of it; two copies of one binary are the same build, so path and times are not. Spec: elf(5), `NT_GNU_BUILD_ID`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

const PT_NOTE: u32 = 4;
const NT_GNU_BUILD_ID: u32 = 3;

/// The version that both ends of a connection compare.
pub fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let package = env!("CARGO_PKG_VERSION");
        match File::open("/proc/self/exe").ok().and_then(|file| build_id(&file)) {
            Some(id) => format!("{package}+{id}"),
            None => package.to_owned(),
        }
    })
}

/// The build id of a 64-bit little-endian ELF file, in hexadecimal.
fn build_id(file: &File) -> Option<String> {
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0).ok()?;
    if header[..6] != *b"\x7fELF\x02\x01" {
        return None;
    }
    let table = number(&header, 32, 8)?;
    let entry_len = number(&header, 54, 2)?;
    let count = number(&header, 56, 2)?;
    for index in 0..count {
        let mut entry = [0; 56];
        file.read_exact_at(&mut entry, table.checked_add(index * entry_len)?)
            .ok()?;
        if number(&entry, 0, 4)? != u64::from(PT_NOTE) {
            continue;
        }
        let (offset, len) = (number(&entry, 8, 8)?, number(&entry, 32, 8)?);
        let mut notes = vec![0; usize::try_from(len.min(4096)).ok()?];
        file.read_exact_at(&mut notes, offset).ok()?;
        if let Some(id) = find_note(&notes) {
            let digits = |text, byte: &u8| format!("{text}{byte:02x}");
            return Some(id.iter().take(8).fold(String::new(), digits));
        }
    }
    None
}

/// The descriptor of the GNU build-id note among `notes`.
fn find_note(mut notes: &[u8]) -> Option<&[u8]> {
    loop {
        let name_len = number(notes, 0, 4)? as usize;
        let descriptor_len = number(notes, 4, 4)? as usize;
        let kind = number(notes, 8, 4)?;
        let name_end = 12 + name_len.next_multiple_of(4);
        let name = notes.get(12..12 + name_len)?;
        let descriptor = notes.get(name_end..name_end + descriptor_len)?;
        if kind == u64::from(NT_GNU_BUILD_ID) && name == b"GNU\0" {
            return Some(descriptor);
        }
        notes = notes.get(name_end + descriptor_len.next_multiple_of(4)..)?;
    }
}

fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + len)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_id_note_is_found_behind_others() {
        let mut notes = Vec::new();
        for (kind, name, descriptor) in [
            (1_u32, &b"GNU\0"[..], &[1, 2, 3, 4, 5, 6, 7, 8][..]),
            (3, b"GNU\0", &[0xab; 20]),
        ] {
            notes.extend_from_slice(&(name.len() as u32).to_le_bytes());
            notes.extend_from_slice(&(descriptor.len() as u32).to_le_bytes());
            notes.extend_from_slice(&kind.to_le_bytes());
            notes.extend_from_slice(name);
            notes.extend_from_slice(descriptor);
        }
        assert_eq!(find_note(&notes), Some(&[0xab; 20][..]));
        assert_eq!(find_note(&notes[..20]), None);
    }

    #[test]
    fn a_version_begins_with_the_packages() {
        assert!(version().starts_with(env!("CARGO_PKG_VERSION")));
    }
}
