//! The mode of `COPY --chmod`: octal or symbolic, parsed once and applied to each copied entry.
//!
//! Spec: Dockerfile reference, "COPY --chmod"; chmod(1). Who is absent means `a` and no umask applies: images have none.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A parsed `--chmod`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Chmod {
    /// `755`: exactly these bits, at most 0o7777.
    Octal(u16),
    /// `u=rwX,go=rX`: applied clause after clause. Always parses.
    Symbolic(String),
}

/// Why a `--chmod` is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid mode {text:?}: neither octal between 0 and 7777 nor symbolic such as u=rwX,go=rX")]
pub struct ChmodError {
    /// As written.
    pub text: String,
}

struct Clause {
    who: u16,
    actions: Vec<(char, Permissions)>,
}

#[derive(Clone, Copy)]
struct Permissions {
    bits: u16,
    conditional_execute: bool,
    copy_from: Option<u16>,
}

const USER: u16 = 0o4700;
const GROUP: u16 = 0o2070;
const OTHER: u16 = 0o1007;

impl Chmod {
    /// Parses octal digits or symbolic clauses.
    ///
    /// # Errors
    /// [`ChmodError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, ChmodError> {
        let error = || ChmodError {
            text: text.to_owned(),
        };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let bits = u16::from_str_radix(text, 8).map_err(|_| error())?;
            return if bits <= 0o7777 {
                Ok(Self::Octal(bits))
            } else {
                Err(error())
            };
        }
        clauses(text).ok_or_else(error)?;
        Ok(Self::Symbolic(text.to_owned()))
    }

    /// The permission bits (0o7777) that an entry with bits `mode` gets.
    pub fn apply(&self, mode: u16, is_directory: bool) -> u16 {
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(text) => clauses(text)
                .unwrap_or_default()
                .iter()
                .fold(mode & 0o7777, |mode, clause| clause.apply(mode, is_directory)),
        }
    }
}

impl fmt::Display for Chmod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Octal(bits) => write!(f, "{bits:o}"),
            Self::Symbolic(text) => f.write_str(text),
        }
    }
}

impl Clause {
    fn apply(&self, mut mode: u16, is_directory: bool) -> u16 {
        for (operator, permissions) in &self.actions {
            let mut bits = permissions
                .copy_from
                .map_or(permissions.bits, |who| spread(mode, who));
            if permissions.conditional_execute && (is_directory || mode & 0o111 != 0) {
                bits |= 0o111;
            }
            bits &= self.who;
            mode = match operator {
                '+' => mode | bits,
                '-' => mode & !bits,
                // `=` keeps setuid and setgid of directories, as chmod(1) does.
                _ if is_directory => (mode & !(self.who & 0o1777)) | bits,
                _ => (mode & !self.who) | bits,
            };
        }
        mode
    }
}

/// The rwx bits that `who` has in `mode`, repeated for all three classes.
fn spread(mode: u16, who: u16) -> u16 {
    let rwx = match who {
        USER => mode >> 6,
        GROUP => mode >> 3,
        _ => mode,
    } & 0o7;
    rwx << 6 | rwx << 3 | rwx
}

fn clauses(text: &str) -> Option<Vec<Clause>> {
    text.split(',').map(clause).collect()
}

fn clause(text: &str) -> Option<Clause> {
    let operator = text.find(['+', '-', '='])?;
    let mut who = 0;
    for c in text[..operator].chars() {
        who |= match c {
            'u' => USER,
            'g' => GROUP,
            'o' => OTHER,
            'a' => 0o7777,
            _ => return None,
        };
    }
    if who == 0 {
        who = 0o7777;
    }
    let mut actions = Vec::new();
    for c in text[operator..].chars() {
        if matches!(c, '+' | '-' | '=') {
            actions.push((
                c,
                Permissions {
                    bits: 0,
                    conditional_execute: false,
                    copy_from: None,
                },
            ));
            continue;
        }
        let (_, permissions) = actions.last_mut()?;
        match c {
            'r' => permissions.bits |= 0o444,
            'w' => permissions.bits |= 0o222,
            'x' => permissions.bits |= 0o111,
            'X' => permissions.conditional_execute = true,
            's' => permissions.bits |= 0o6000,
            't' => permissions.bits |= 0o1000,
            'u' => permissions.copy_from = Some(USER),
            'g' => permissions.copy_from = Some(GROUP),
            'o' => permissions.copy_from = Some(OTHER),
            _ => return None,
        }
    }
    Some(Clause { who, actions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chmod_applies_the_references_examples() {
        // Reference, "COPY --chmod".
        for (text, mode, is_directory, expected) in [
            ("755", 0o644, false, 0o755),
            ("4755", 0o644, false, 0o4755),
            ("+x", 0o644, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("g=u", 0o740, false, 0o770),
            ("a-w", 0o777, false, 0o555),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, false, 0o2755),
            ("+t", 0o777, true, 0o1777),
            ("o=", 0o777, false, 0o770),
            ("u=rw+x", 0o000, false, 0o700),
        ] {
            let chmod = Chmod::parse(text).unwrap();
            assert_eq!(chmod.apply(mode, is_directory), expected, "{text} on {mode:o}");
        }
    }

    #[test]
    fn chmod_refuses_nonsense() {
        for text in [
            "", "8", "79", "77777", "0x1ff", "u", "z=r", "u=q", "u=r,", "-", "rwx",
        ] {
            if text == "-" {
                // A bare operator changes nothing, as in chmod(1).
                assert_eq!(Chmod::parse(text).unwrap().apply(0o640, false), 0o640);
            } else {
                assert!(Chmod::parse(text).is_err(), "{text}");
            }
        }
    }
}
