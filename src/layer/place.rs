//! Where a member belongs: its name, untrusted, becomes a path beneath the tree's root.
//!
//! In: a name and the tree so far. Out: a path whose parents are directories. Effects: creates missing parents (0755, 0:0,
//! the epoch). Symbolic links among the parents are followed inside the tree, as the `chroot`ed untar of Docker does, so a
//! layer may write through `/lib -> usr/lib`; no name or link leads outside, since outside does not exist.

use std::collections::{HashMap, VecDeque};

use silt_store::{Entry, GuestPath, Meta, Name, Node, directory};

use super::error::MemberError;
use super::tree::Tree;

const MAX_LINKS: usize = 40;
/// Parents remembered; a bound for memory, not for function.
const MAX_REMEMBERED: usize = 4096;

/// What to do about parents that are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Create,
    Leave,
}

/// Remembers where parents led, as long as nothing on their way changes.
#[derive(Debug, Default)]
pub(super) struct Parents(HashMap<Vec<Name>, GuestPath>);

impl Parents {
    /// To be called when a directory or a symbolic link is replaced or removed.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// The directory that `names` lead to from the root; `None` when it is not there and shall not be created.
    pub(super) fn resolve(
        &mut self,
        tree: &mut Tree,
        names: &[Name],
        missing: Missing,
    ) -> Result<Option<GuestPath>, Problem> {
        if let Some(known) = self.0.get(names) {
            return Ok(Some(known.clone()));
        }
        let resolved = walk(tree, names, missing)?;
        if let Some(path) = &resolved {
            if self.0.len() >= MAX_REMEMBERED {
                self.0.clear();
            }
            self.0.insert(names.to_vec(), path.clone());
        }
        Ok(resolved)
    }
}

/// A member that has no place, or a store that failed.
#[derive(Debug)]
pub(super) enum Problem {
    Member(MemberError),
    Store(silt_store::StoreError),
}

impl From<silt_store::StoreError> for Problem {
    fn from(error: silt_store::StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<MemberError> for Problem {
    fn from(error: MemberError) -> Self {
        Self::Member(error)
    }
}

/// Splits a member's name: `.` and empty parts vanish, `..` takes its parent away, and above the root it is refused.
/// A leading slash means nothing, as for Docker.
pub(super) fn names(text: &[u8]) -> Result<Vec<Name>, MemberError> {
    if text.len() > 4096 {
        return Err(MemberError::Name(silt_store::NameError::TooLong(text.len())));
    }
    let mut names = Vec::new();
    for part in text.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(names.pop().ok_or(MemberError::Escapes)?),
            _ => names.push(Name::new(part).map_err(MemberError::Name)?),
        }
    }
    Ok(names)
}

fn walk(tree: &mut Tree, names: &[Name], missing: Missing) -> Result<Option<GuestPath>, Problem> {
    let mut todo: VecDeque<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
    let mut path = GuestPath::root();
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        match &*part {
            b"" | b"." => continue,
            b".." => {
                // Above the root is the root, as in a chroot.
                path = path
                    .split_last()
                    .map_or_else(GuestPath::root, |(parent, _)| parent);
                continue;
            }
            _ => {}
        }
        let child = path.child(&Name::new(&part).map_err(MemberError::Name)?);
        match tree.lookup(&child)? {
            Some(Entry {
                node: Node::Directory(_),
                ..
            }) => path = child,
            Some(Entry {
                node: Node::Symlink(target),
                ..
            }) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(MemberError::Loop.into());
                }
                if target.first() == Some(&b'/') {
                    path = GuestPath::root();
                }
                for part in target.split(|byte| *byte == b'/').rev() {
                    todo.push_front(part.to_vec());
                }
            }
            Some(_) => return Err(MemberError::Parent(child).into()),
            None if missing == Missing::Leave => return Ok(None),
            None => {
                tree.insert(&child, missing_parent())?;
                path = child;
            }
        }
    }
    Ok(Some(path))
}

/// What a directory looks like that a tar does not mention but needs.
pub(super) fn missing_parent() -> Entry {
    Entry {
        meta: Meta {
            mode: 0o755,
            ..Meta::default()
        },
        node: Node::Directory(directory::empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_beneath_the_root() {
        let joined =
            |text: &[u8]| names(text).map(|names| names.into_iter().collect::<GuestPath>().to_bytes());
        assert_eq!(joined(b"./a//b/./c/").unwrap(), b"/a/b/c");
        assert_eq!(joined(b"/etc/passwd").unwrap(), b"/etc/passwd");
        assert_eq!(joined(b"a/../b").unwrap(), b"/b");
        assert_eq!(joined(b"./").unwrap(), b"/");
        assert!(matches!(joined(b"../x"), Err(MemberError::Escapes)));
        assert!(matches!(joined(b"a/../../x"), Err(MemberError::Escapes)));
        assert!(matches!(joined(&[b'x'; 256]), Err(MemberError::Name(_))));
        assert!(matches!(joined(&b"x/".repeat(3000)), Err(MemberError::Name(_))));
    }
}
