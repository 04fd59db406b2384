//! Names parsed once: one path component (`Name`), one absolute path inside a tree (`GuestPath`).
//!
//! In: untrusted bytes. Out: proof. No effects. Bytes, not UTF-8: Linux names are bytes.

use std::fmt;
use std::sync::Arc;

/// Why bytes are not a name or a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No bytes at all.
    #[error("empty name")]
    Empty,
    /// `.` or `..`.
    #[error("`{0}` is not a name")]
    Dots(&'static str),
    /// A `/` in a component, or a NUL anywhere.
    #[error("name contains {0}")]
    Forbidden(&'static str),
    /// Over 255 bytes in a component, or over 4095 in a path.
    #[error("name is {0} bytes long")]
    TooLong(usize),
    /// A `GuestPath` that does not begin with `/`.
    #[error("path is not absolute")]
    NotAbsolute,
}

/// One path component: 1 to 255 bytes, no `/`, no NUL, neither `.` nor `..`. Ordered bytewise. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// Checks `bytes` and keeps a copy.
    ///
    /// # Errors
    /// Any `NameError` but `NotAbsolute`.
    pub fn new(bytes: &[u8]) -> Result<Self, NameError> {
        match bytes {
            [] => Err(NameError::Empty),
            b"." => Err(NameError::Dots(".")),
            b".." => Err(NameError::Dots("..")),
            _ if bytes.len() > 255 => Err(NameError::TooLong(bytes.len())),
            _ if bytes.contains(&b'/') => Err(NameError::Forbidden("`/`")),
            _ if bytes.contains(&0) => Err(NameError::Forbidden("NUL")),
            _ => Ok(Self(bytes.into())),
        }
    }

    /// The name's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

/// An absolute, lexically normal path inside a tree: a list of names, empty for `/`. Ordered by components.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GuestPath(Vec<Name>);

impl GuestPath {
    /// The root directory, `/`.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Parses an absolute path; repeated slashes and `.` vanish, `..` goes up and stops at the root (as `chroot` does).
    ///
    /// # Errors
    /// `NotAbsolute`, `TooLong` (over 4095 bytes, or a component over 255), `Forbidden` (NUL).
    pub fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.first() != Some(&b'/') {
            return Err(NameError::NotAbsolute);
        }
        Self::root().join(bytes)
    }

    /// Resolves `bytes` against this path: absolute ones replace it. Lexical: symlinks are not followed.
    ///
    /// # Errors
    /// `TooLong`, `Forbidden`.
    pub fn join(&self, bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.len() > 4095 {
            return Err(NameError::TooLong(bytes.len()));
        }
        let mut names = if bytes.first() == Some(&b'/') {
            Vec::new()
        } else {
            self.0.clone()
        };
        for part in bytes.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => drop(names.pop()),
                _ => names.push(Name::new(part)?),
            }
        }
        Ok(Self(names))
    }

    /// The path of `name` in this directory.
    #[must_use]
    pub fn child(&self, name: &Name) -> Self {
        let mut names = self.0.clone();
        names.push(name.clone());
        Self(names)
    }

    /// The components from the root down.
    pub fn names(&self) -> &[Name] {
        &self.0
    }

    /// The parent directory and the last component; `None` for the root.
    pub fn split_last(&self) -> Option<(Self, &Name)> {
        let (last, rest) = self.0.split_last()?;
        Some((Self(rest.to_vec()), last))
    }

    /// Whether `self` is `ancestor` or lies below it.
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        self.0.starts_with(&ancestor.0)
    }

    /// The bytes, `/` first, no slash at the end except for the root itself.
    pub fn to_bytes(&self) -> Vec<u8> {
        if self.0.is_empty() {
            return b"/".to_vec();
        }
        let mut bytes = Vec::new();
        for name in &self.0 {
            bytes.push(b'/');
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes
    }
}

impl FromIterator<Name> for GuestPath {
    fn from_iter<I: IntoIterator<Item = Name>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}

impl fmt::Debug for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_refuse_what_a_directory_cannot_hold() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'x'; 256]] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
        assert!(Name::new(&[b'x'; 255]).is_ok());
        assert!(Name::new(b"\xff...").is_ok());
    }

    #[test]
    fn paths_are_normal_and_stay_beneath_the_root() {
        let path = GuestPath::parse(b"//usr/./lib/../../../etc/").unwrap();
        assert_eq!(path.to_bytes(), b"/etc");
        assert_eq!(path.join(b"../x").unwrap().to_bytes(), b"/x");
        assert_eq!(path.join(b"/y").unwrap().to_bytes(), b"/y");
        assert_eq!(GuestPath::parse(b"etc"), Err(NameError::NotAbsolute));
        assert_eq!(GuestPath::root().to_bytes(), b"/");
    }
}
