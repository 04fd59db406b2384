//! POSIX access control lists, as the kernel hands them over in `system.posix_acl_access` and `system.posix_acl_default`.
//!
//! In: attribute bytes and modes. Out: the same. No effects. The kernel decides access; what is ours is what a filesystem owes it:
//! a mode and its ACL agree, and a new inode inherits its directory's default. Spec: acl(5); `linux/posix_acl_xattr.h`.

use nix::errno::Errno;

use crate::error::Reply;

/// The attribute that refines an inode's mode.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute that new inodes of a directory inherit.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AclEntry {
    tag: u16,
    permissions: u16,
    id: u32,
}

/// A list that passed the kernel's own checks: one of each base tag, a mask where names are, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Acl(Vec<AclEntry>);

impl Acl {
    /// Parses and checks an attribute's value; an empty list is `None` (it removes the ACL).
    pub(crate) fn parse(value: &[u8]) -> Reply<Option<Self>> {
        let (header, entries) = value.split_first_chunk::<4>().ok_or(Errno::EINVAL)?;
        if u32::from_le_bytes(*header) != VERSION {
            return Err(Errno::EOPNOTSUPP);
        }
        let (entries, rest) = entries.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(Errno::EINVAL);
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let acl = Self(
            entries
                .iter()
                .map(|&[t0, t1, p0, p1, i0, i1, i2, i3]| AclEntry {
                    tag: u16::from_le_bytes([t0, t1]),
                    permissions: u16::from_le_bytes([p0, p1]),
                    id: u32::from_le_bytes([i0, i1, i2, i3]),
                })
                .collect(),
        );
        if acl.is_valid() {
            Ok(Some(acl))
        } else {
            Err(Errno::EINVAL)
        }
    }

    fn is_valid(&self) -> bool {
        let count = |tag| self.0.iter().filter(|entry| entry.tag == tag).count();
        let named = count(USER) + count(GROUP);
        self.0.iter().all(|entry| entry.permissions <= 7)
            && self.0.is_sorted_by_key(|entry| entry.tag)
            && count(USER_OBJ) == 1
            && count(GROUP_OBJ) == 1
            && count(OTHER) == 1
            && (count(MASK) == 1 || (count(MASK) == 0 && named == 0))
            && count(USER_OBJ) + count(GROUP_OBJ) + count(OTHER) + count(MASK) + named == self.0.len()
    }

    /// The attribute's value.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut value = VERSION.to_le_bytes().to_vec();
        for entry in &self.0 {
            value.extend_from_slice(&entry.tag.to_le_bytes());
            value.extend_from_slice(&entry.permissions.to_le_bytes());
            value.extend_from_slice(&entry.id.to_le_bytes());
        }
        value
    }

    /// The mode's nine bits that show this list, and whether they say all of it.
    pub(crate) fn mode(&self) -> (u16, bool) {
        let mut mode = 0;
        let mut group = 0;
        let mut mask = None;
        for entry in &self.0 {
            match entry.tag {
                USER_OBJ => mode |= entry.permissions << 6,
                GROUP_OBJ => group = entry.permissions,
                MASK => mask = Some(entry.permissions),
                OTHER => mode |= entry.permissions,
                _ => {}
            }
        }
        (mode | mask.unwrap_or(group) << 3, self.0.len() == 3)
    }

    /// What `chmod` makes of the list: owner, mask (or group where there is none) and other follow the mode.
    #[must_use]
    pub(crate) fn chmod(mut self, mode: u16) -> Self {
        let masked = self.0.iter().any(|entry| entry.tag == MASK);
        for entry in &mut self.0 {
            match entry.tag {
                USER_OBJ => entry.permissions = (mode >> 6) & 7,
                GROUP_OBJ if !masked => entry.permissions = (mode >> 3) & 7,
                MASK => entry.permissions = (mode >> 3) & 7,
                OTHER => entry.permissions = mode & 7,
                _ => {}
            }
        }
        self
    }

    /// What a new inode asked for with `mode` gets from this default list: its access list, each class cut to the mode,
    /// and the mode cut to the list. Spec: acl(5), "Object creation and default ACLs".
    pub(crate) fn inherit(mut self, mode: u16) -> (Self, u16) {
        let masked = self.0.iter().any(|entry| entry.tag == MASK);
        for entry in &mut self.0 {
            match entry.tag {
                USER_OBJ => entry.permissions &= mode >> 6,
                GROUP_OBJ if !masked => entry.permissions &= mode >> 3,
                MASK => entry.permissions &= mode >> 3,
                OTHER => entry.permissions &= mode,
                _ => {}
            }
        }
        let (permissions, _) = self.mode();
        (self, (mode & !0o777) | permissions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(entries: &[(u16, u16, u32)]) -> Acl {
        Acl(entries
            .iter()
            .map(|&(tag, permissions, id)| AclEntry { tag, permissions, id })
            .collect())
    }

    #[test]
    fn lists_round_trip_and_bad_ones_are_refused() {
        let named = acl(&[
            (USER_OBJ, 7, !0),
            (USER, 6, 1000),
            (GROUP_OBJ, 5, !0),
            (MASK, 4, !0),
            (OTHER, 0, !0),
        ]);
        assert_eq!(Acl::parse(&named.encode()), Ok(Some(named.clone())));
        assert_eq!(named.mode(), (0o740, false));
        assert_eq!(Acl::parse(&VERSION.to_le_bytes()), Ok(None));
        let maskless = acl(&[
            (USER_OBJ, 7, !0),
            (USER, 6, 1000),
            (GROUP_OBJ, 5, !0),
            (OTHER, 0, !0),
        ]);
        assert_eq!(Acl::parse(&maskless.encode()), Err(Errno::EINVAL));
        assert_eq!(Acl::parse(&[2, 0, 0, 0, 1]), Err(Errno::EINVAL));
        assert_eq!(Acl::parse(&[1, 0, 0, 0]), Err(Errno::EOPNOTSUPP));
    }

    #[test]
    fn chmod_moves_the_mask_and_creation_cuts_both_ways() {
        let named = acl(&[
            (USER_OBJ, 7, !0),
            (GROUP_OBJ, 5, !0),
            (GROUP, 7, 5),
            (MASK, 7, !0),
            (OTHER, 5, !0),
        ]);
        let changed = named.clone().chmod(0o640);
        assert_eq!(changed.mode().0, 0o640);
        assert_eq!(
            changed.0[1].permissions, 5,
            "the group's own entry stays where a mask stands for it"
        );
        let (inherited, mode) = named.inherit(0o2600);
        assert_eq!(mode, 0o2600);
        assert_eq!(inherited.mode().0, 0o600);
    }
}
