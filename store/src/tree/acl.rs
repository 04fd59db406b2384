//! Which extended attributes are kept: all but ACLs that say no more than the mode.
//!
//! In: metadata. Out: the attributes to encode. No effects. Spec: `store/DESIGN.md`, "Extended attributes"; `acl(5)`; the
//! attribute's layout is Linux's `posix_acl_xattr.h`: a version of 2 (u32), then entries of tag (u16), perm (u16), id (u32).

use crate::Meta;

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

const USER_OBJ: u16 = 0x01;
const GROUP_OBJ: u16 = 0x04;
const OTHER: u16 = 0x20;

/// The attributes of `meta` that enter its encoding, in order of names.
pub(crate) fn kept(meta: &Meta) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    meta.xattrs.iter().filter(|(name, value)| match *name {
        ACCESS => !says_the_mode(value, meta.mode),
        DEFAULT => !matches!(value, [] | [2, 0, 0, 0]),
        _ => true,
    })
}

fn says_the_mode(acl: &[u8], mode: u16) -> bool {
    let Some(entries) = acl.strip_prefix(&2u32.to_le_bytes()) else {
        return false;
    };
    let (entries, []) = entries.as_chunks::<8>() else {
        return false;
    };
    let mut expected = [
        (USER_OBJ, mode >> 6 & 7),
        (GROUP_OBJ, mode >> 3 & 7),
        (OTHER, mode & 7),
    ]
    .into_iter();
    entries.len() == 3
        && entries.iter().all(|entry| {
            let [t0, t1, p0, p1, ..] = *entry;
            expected.next() == Some((u16::from_le_bytes([t0, t1]), u16::from_le_bytes([p0, p1])))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16)]) -> Vec<u8> {
        let mut bytes = 2u32.to_le_bytes().to_vec();
        for (tag, perm) in entries {
            bytes.extend_from_slice(&tag.to_le_bytes());
            bytes.extend_from_slice(&perm.to_le_bytes());
            bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn an_acl_that_repeats_the_mode_is_dropped_and_others_stay() {
        let mut meta = Meta {
            mode: 0o750,
            ..Meta::default()
        };
        meta.xattrs
            .set(ACCESS, &acl(&[(USER_OBJ, 7), (GROUP_OBJ, 5), (OTHER, 0)]));
        meta.xattrs.set(DEFAULT, &acl(&[]));
        meta.xattrs.set(b"user.x", b"1");
        assert_eq!(kept(&meta).map(|(name, _)| name).collect::<Vec<_>>(), [b"user.x"]);

        meta.xattrs.set(
            ACCESS,
            &acl(&[(USER_OBJ, 7), (0x02, 7), (GROUP_OBJ, 5), (0x10, 7), (OTHER, 0)]),
        );
        meta.xattrs
            .set(DEFAULT, &acl(&[(USER_OBJ, 7), (GROUP_OBJ, 5), (OTHER, 0)]));
        assert_eq!(kept(&meta).count(), 3);
        meta.mode = 0o700;
        meta.xattrs
            .set(ACCESS, &acl(&[(USER_OBJ, 7), (GROUP_OBJ, 5), (OTHER, 0)]));
        assert_eq!(kept(&meta).count(), 3);
    }
}
