//! COPY's globs: Go's `filepath.Match` for each path component, and `**` for any number of components.
//!
//! In: a pattern, as `CopyItem::Path` has it. Out: which names match which of its components. No effects. Spec: Dockerfile
//! reference, "Pattern matching"; Go, `path/filepath.Match`.

use std::str::Chars;

use silt_store::Name;

/// A path pattern: its components. None at all is the root itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(Vec<Component>);

/// One component of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// This name.
    Literal(Name),
    /// Names that match this glob.
    Glob(Vec<Token>),
    /// `**`: any number of components, none included.
    Any,
}

/// One element of a glob.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Token {
    /// `*`: any characters.
    Star,
    /// `?`: any one character.
    One,
    /// This character.
    Char(char),
    /// `[a-z]`, `[^a-z]`.
    Class {
        /// Whether it starts with `^`.
        negated: bool,
        /// First and last character of each range.
        ranges: Vec<(char, char)>,
    },
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A `[` without its `]`, an empty class, a lone backslash at the end.
    #[error("malformed pattern `{0}`")]
    Malformed(String),
    /// A component that no file can have as its name.
    #[error("`{pattern}` names no file: {problem}")]
    Name {
        /// As written.
        pattern: String,
        /// Why not.
        problem: silt_store::NameError,
    },
}

impl Pattern {
    /// Parses a pattern; `..` goes up lexically and stops at the root, empty components and `.` vanish.
    ///
    /// # Errors
    /// `Malformed`, `Name`.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut components = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(components.pop()),
                "**" => components.push(Component::Any),
                part => components.push(component(part, text)?),
            }
        }
        Ok(Self(components))
    }

    /// A pattern that is a path.
    pub fn literal(names: impl IntoIterator<Item = Name>) -> Self {
        Self(names.into_iter().map(Component::Literal).collect())
    }

    /// This pattern's components from `from` on, below `names`.
    #[must_use]
    pub fn rerooted(&self, names: &[Name], from: usize) -> Self {
        let prefix = names.iter().cloned().map(Component::Literal);
        Self(prefix.chain(self.0[from..].iter().cloned()).collect())
    }

    /// The components.
    pub fn components(&self) -> &[Component] {
        &self.0
    }

    /// Whether anything in it is not literal.
    pub fn is_wild(&self) -> bool {
        !self
            .0
            .iter()
            .all(|component| matches!(component, Component::Literal(_)))
    }

    /// The positions reached without any name: position 0, and those after `**`.
    pub fn start(&self) -> Vec<usize> {
        let mut positions = Vec::new();
        self.reach(0, &mut positions);
        positions
    }

    /// The positions reached from `positions` by `name`. Position `components().len()` is a match.
    pub fn step(&self, positions: &[usize], name: &[u8]) -> Vec<usize> {
        let mut reached = Vec::new();
        for position in positions {
            match self.0.get(*position) {
                Some(Component::Literal(literal)) if literal.as_bytes() == name => {
                    self.reach(position + 1, &mut reached);
                }
                Some(Component::Glob(glob)) if matches(glob, name) => self.reach(position + 1, &mut reached),
                Some(Component::Any) => self.reach(*position, &mut reached),
                _ => {}
            }
        }
        reached
    }

    fn reach(&self, position: usize, reached: &mut Vec<usize>) {
        if !reached.contains(&position) {
            reached.push(position);
        }
        if self.0.get(position) == Some(&Component::Any) {
            self.reach(position + 1, reached);
        }
    }

    /// Whether one of `positions` is the end.
    pub fn ends(&self, positions: &[usize]) -> bool {
        positions.contains(&self.0.len())
    }
}

fn component(part: &str, pattern: &str) -> Result<Component, PatternError> {
    if !part.contains(['*', '?', '[', '\\']) {
        let name = Name::new(part.as_bytes());
        return name
            .map(Component::Literal)
            .map_err(|problem| PatternError::Name {
                pattern: pattern.to_owned(),
                problem,
            });
    }
    let tokens = tokens(&mut part.chars());
    tokens
        .map(Component::Glob)
        .ok_or_else(|| PatternError::Malformed(pattern.to_owned()))
}

fn tokens(chars: &mut Chars<'_>) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    while let Some(char) = chars.next() {
        tokens.push(match char {
            '*' => Token::Star,
            '?' => Token::One,
            '[' => class(chars)?,
            '\\' => Token::Char(chars.next()?),
            char => Token::Char(char),
        });
    }
    Some(tokens)
}

/// What stands after `[`.
fn class(chars: &mut Chars<'_>) -> Option<Token> {
    let mut ranges = Vec::new();
    let negated = chars.as_str().starts_with('^');
    if negated {
        chars.next();
    }
    loop {
        let low = match chars.next()? {
            ']' if !ranges.is_empty() => return Some(Token::Class { negated, ranges }),
            ']' | '-' => return None,
            '\\' => chars.next()?,
            char => char,
        };
        let mut high = low;
        if chars.as_str().starts_with('-') {
            chars.next();
            high = match chars.next()? {
                ']' | '-' => return None,
                '\\' => chars.next()?,
                char => char,
            };
        }
        ranges.push((low, high));
    }
}

/// The name's characters; a byte that is no UTF-8 is one U+FFFD, as Go has it.
fn characters(mut name: &[u8]) -> Vec<char> {
    let mut characters = Vec::with_capacity(name.len());
    while !name.is_empty() {
        match std::str::from_utf8(name) {
            Ok(text) => {
                characters.extend(text.chars());
                break;
            }
            Err(error) => {
                let (valid, rest) = name.split_at(error.valid_up_to());
                characters.extend(String::from_utf8_lossy(valid).chars());
                characters.push(char::REPLACEMENT_CHARACTER);
                name = &rest[1..];
            }
        }
    }
    characters
}

/// Linear but for the last star: no pattern takes exponential time.
fn matches(tokens: &[Token], name: &[u8]) -> bool {
    let name = characters(name);
    let (mut token, mut at) = (0, 0);
    let mut star = None;
    loop {
        let fits = match (tokens.get(token), name.get(at)) {
            (None, None) => return true,
            (Some(Token::Star), _) => {
                star = Some((token + 1, at));
                token += 1;
                continue;
            }
            (Some(Token::One), Some(_)) => true,
            (Some(Token::Char(wanted)), Some(char)) => wanted == char,
            (Some(Token::Class { negated, ranges }), Some(char)) => {
                ranges.iter().any(|(low, high)| low <= char && char <= high) != *negated
            }
            _ => false,
        };
        if fits {
            (token, at) = (token + 1, at + 1);
            continue;
        }
        match &mut star {
            Some((after, from)) if *from < name.len() => {
                *from += 1;
                (token, at) = (*after, *from);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pattern: &str, name: &[u8]) -> bool {
        let pattern = Pattern::parse(pattern).unwrap();
        pattern.ends(&pattern.step(&pattern.start(), name))
    }

    #[test]
    fn globs_match_as_gos_do() {
        // The cases of Go's own test that fit one component.
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*b*c*d*e*", "axbxcxdxe", true),
            ("a*b*c*d*e*", "axbxcxdxexxx", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("[\\]a]", "]", true),
            ("[\\-x]", "-", true),
            ("[x\\-]", "z", false),
            ("*x", "xxx", true),
            ("arr[[]0].txt", "arr[0].txt", true),
            ("index.?s", "index.ts", true),
            (".*", ".hidden", true),
            ("*", ".hidden", true),
        ] {
            assert_eq!(one(pattern, name.as_bytes()), expected, "{pattern} {name}");
        }
        assert!(one("a?b", b"a\xffb"));
        for bad in [
            "[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "\\", "[a-b-c]",
        ] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn stars_take_no_exponential_time() {
        assert!(!one(&"a*".repeat(60), "b".repeat(200).as_bytes()));
        assert!(!one(&format!("{}b", "a*".repeat(60)), "a".repeat(250).as_bytes()));
    }

    #[test]
    fn double_stars_span_components() {
        let pattern = Pattern::parse("./a/**/*.c").unwrap();
        let reaches = |names: &[&str]| {
            let mut positions = pattern.start();
            for name in names {
                positions = pattern.step(&positions, name.as_bytes());
            }
            pattern.ends(&positions)
        };
        assert!(reaches(&["a", "x.c"]));
        assert!(reaches(&["a", "b", "c", "x.c"]));
        assert!(!reaches(&["a", "b", "x.h"]));
        assert!(!reaches(&["x.c"]));
        assert_eq!(
            Pattern::parse("/../a//./b/..").unwrap(),
            Pattern::parse("a").unwrap()
        );
        assert!(Pattern::parse(".").unwrap().components().is_empty());
    }
}
