//! Variable expansion of one word: `$V`, `${V}`, `${V:-w}` and its kin, quotes and escapes.
//!
//! In: a word as written and a look-up of variables. Out: the word with variables replaced, quotes and escapes taken away; what
//! a variable held is never expanded again. Spec: Dockerfile reference, "Environment replacement". A `${V:?message}` in a branch
//! that isn't taken is not an error, as in a shell.

mod pattern;

use std::collections::BTreeSet;
use std::ops::Range;

/// Deepest nesting of `${...${...}}`.
const MAX_DEPTH: usize = 100;

/// Largest result in bytes: a handful of doubling ENV lines must not eat the machine.
const MAX_RESULT: usize = 16 << 20;

/// How words are expanded.
#[derive(Clone, Copy)]
pub struct Expander<'a> {
    /// The escape character of the Dockerfile.
    pub escape: char,
    /// Whether quotes mean something; they don't in the content of heredocs.
    pub quotes: bool,
    /// The value of a variable; `None` when it isn't set.
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
}

/// An expanded word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The whole, blanks kept.
    pub text: String,
    /// The text split at blanks that were neither quoted nor escaped, those that came out of variables included.
    pub words: Vec<String>,
    /// Variables that were asked for and not set, but for the forms that provide for it, such as `${V:-w}`.
    pub unset: BTreeSet<String>,
    /// Variables that were asked for and set.
    pub used: BTreeSet<String>,
}

/// Why a word can't be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct ExpansionError {
    /// What.
    pub kind: ExpansionErrorKind,
    /// Range in the word.
    pub range: Range<usize>,
}

/// See [`ExpansionError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpansionErrorKind {
    /// A quote without its end.
    #[error("unterminated {quote} quote")]
    UnterminatedQuote {
        /// Which.
        quote: char,
    },
    /// `${` without its end.
    #[error("missing }} of a substitution")]
    MissingBrace,
    /// `${V/p` without the second slash.
    #[error("missing / before the replacement of a substitution")]
    MissingSlash,
    /// `${}`, `${:x}`.
    #[error("bad substitution: a variable's name is missing")]
    MissingName,
    /// `${V=x}`, `${V^}`.
    #[error("unsupported modifier {modifier:?} in a substitution")]
    UnsupportedModifier {
        /// What follows the name.
        modifier: String,
    },
    /// `${V:?message}` of a variable without value.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the Dockerfile says.
        message: String,
    },
    /// A pattern that is none.
    #[error("invalid pattern {pattern:?} in a substitution")]
    InvalidPattern {
        /// As expanded.
        pattern: String,
    },
    /// Too many levels.
    #[error("substitutions are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// Too much text.
    #[error("the expanded text is larger than {MAX_RESULT} bytes")]
    TooLarge,
}

impl Expander<'_> {
    /// Expands one word.
    ///
    /// # Errors
    /// [`ExpansionError`] with the place in `word`.
    pub fn expand(&self, word: &str) -> Result<Expanded, ExpansionError> {
        let mut scanner = Scanner {
            expander: self,
            source: word,
            at: 0,
            depth: 0,
            untaken: 0,
            raw: false,
            done: Expanded::default(),
        };
        let mut out = Output::default();
        scanner.until(None, &mut out)?;
        if !out.word.is_empty() {
            out.words.push(out.word);
        }
        Ok(Expanded {
            text: out.text,
            words: out.words,
            ..scanner.done
        })
    }
}

#[derive(Default)]
struct Output {
    text: String,
    words: Vec<String>,
    word: String,
}

impl Output {
    /// Text that may be split at blanks.
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        for c in text.chars() {
            if !c.is_whitespace() {
                self.word.push(c);
            } else if !self.word.is_empty() {
                self.words.push(std::mem::take(&mut self.word));
            }
        }
    }

    /// Text that may not.
    fn push_quoted(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
    }
}

struct Scanner<'a> {
    expander: &'a Expander<'a>,
    source: &'a str,
    at: usize,
    depth: usize,
    /// Above zero inside a branch whose result is thrown away.
    untaken: usize,
    /// Whether escapes are kept, for patterns.
    raw: bool,
    done: Expanded,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.source[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn error<T>(&self, start: usize, kind: ExpansionErrorKind) -> Result<T, ExpansionError> {
        Err(ExpansionError {
            kind,
            range: start..self.at.max(start),
        })
    }

    /// Expands up to `stop`, which is taken; to the end when there is none. Whether the stop was found.
    fn until(&mut self, stop: Option<char>, out: &mut Output) -> Result<bool, ExpansionError> {
        while let Some(c) = self.peek() {
            let start = self.at;
            if Some(c) == stop {
                self.next();
                return Ok(true);
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    out.push(&value);
                }
                '\'' if self.expander.quotes => self.single_quote(out)?,
                '"' if self.expander.quotes => self.double_quote(out)?,
                c if c == self.expander.escape => self.escape(out),
                _ => {
                    let end = self.plain_end(stop);
                    out.push(&self.source[start..end]);
                    self.at = end;
                }
            }
            if out.text.len() > MAX_RESULT {
                return self.error(start, ExpansionErrorKind::TooLarge);
            }
        }
        Ok(stop.is_none())
    }

    /// The end of the run of characters that mean themselves.
    fn plain_end(&self, stop: Option<char>) -> usize {
        let special = |c: char| {
            c == '$'
                || c == self.expander.escape
                || Some(c) == stop
                || (self.expander.quotes && matches!(c, '\'' | '"'))
        };
        self.source[self.at..]
            .find(special)
            .map_or(self.source.len(), |i| self.at + i)
    }

    fn escape(&mut self, out: &mut Output) {
        let start = self.at;
        self.next();
        let kept = if self.raw { start } else { self.at };
        if self.next().is_some() || self.raw {
            out.push_quoted(&self.source[kept..self.at]);
        }
    }

    fn single_quote(&mut self, out: &mut Output) -> Result<(), ExpansionError> {
        let start = self.at;
        self.next();
        let Some(length) = self.source[self.at..].find('\'') else {
            self.at = self.source.len();
            return self.error(start, ExpansionErrorKind::UnterminatedQuote { quote: '\'' });
        };
        out.push_quoted(&self.source[self.at..self.at + length]);
        self.at += length + 1;
        Ok(())
    }

    /// In double quotes `$` is special, and the escape character before `"`, `$` and itself.
    fn double_quote(&mut self, out: &mut Output) -> Result<(), ExpansionError> {
        let start = self.at;
        let escape = self.expander.escape;
        self.next();
        loop {
            match self.peek() {
                None => return self.error(start, ExpansionErrorKind::UnterminatedQuote { quote: '"' }),
                Some('"') => {
                    self.next();
                    return Ok(());
                }
                Some('$') => {
                    let value = self.dollar()?;
                    out.push_quoted(&value);
                }
                Some(c) if c == escape => {
                    let from = self.at;
                    self.next();
                    let escapable = matches!(self.peek(), Some('"' | '$')) || self.peek() == Some(escape);
                    let kept = if self.raw || !escapable { from } else { self.at };
                    if escapable {
                        self.next();
                    }
                    out.push_quoted(&self.source[kept..self.at]);
                }
                Some(_) => {
                    let rest = &self.source[self.at..];
                    let length = rest.find(['"', '$', escape]).unwrap_or(rest.len());
                    out.push_quoted(&rest[..length]);
                    self.at += length;
                }
            }
            if out.text.len() > MAX_RESULT {
                return self.error(start, ExpansionErrorKind::TooLarge);
            }
        }
    }

    fn dollar(&mut self) -> Result<String, ExpansionError> {
        let start = self.at;
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(if name.is_empty() {
                "$".to_owned()
            } else {
                self.value(&name).unwrap_or_default()
            });
        }
        if self.depth == MAX_DEPTH {
            return self.error(start, ExpansionErrorKind::TooDeep);
        }
        self.depth += 1;
        self.next();
        let value = self.braces(start);
        self.depth -= 1;
        value
    }

    /// What follows `${`.
    fn braces(&mut self, start: usize) -> Result<String, ExpansionError> {
        let name = self.name();
        if name.is_empty() {
            let kind = if self.peek().is_none() {
                ExpansionErrorKind::MissingBrace
            } else {
                ExpansionErrorKind::MissingName
            };
            return self.error(start, kind);
        }
        let modifier = self.at;
        match self.next() {
            None => self.error(start, ExpansionErrorKind::MissingBrace),
            Some('}') => Ok(self.value(&name).unwrap_or_default()),
            Some(':') => match self.next() {
                Some(operator @ ('-' | '+' | '?')) => self.conditional(start, &name, operator, true),
                _ => self.unsupported(start, modifier),
            },
            Some(operator @ ('-' | '+' | '?')) => self.conditional(start, &name, operator, false),
            Some(operator @ ('#' | '%')) => self.trim(start, &name, operator),
            Some('/') => self.replace(start, &name),
            Some(_) => self.unsupported(start, modifier),
        }
    }

    fn unsupported<T>(&self, start: usize, modifier: usize) -> Result<T, ExpansionError> {
        let modifier = self.source[modifier..self.at].to_owned();
        self.error(start, ExpansionErrorKind::UnsupportedModifier { modifier })
    }

    fn conditional(
        &mut self,
        start: usize,
        name: &str,
        operator: char,
        empty_is_unset: bool,
    ) -> Result<String, ExpansionError> {
        // A form that says what to do without a value asks for none.
        let was_unset = self.done.unset.contains(name);
        let value = self.value(name);
        if !was_unset {
            self.done.unset.remove(name);
        }
        let has_value = value
            .as_ref()
            .is_some_and(|value| !(empty_is_unset && value.is_empty()));
        let takes_word = if operator == '+' { has_value } else { !has_value };
        self.untaken += usize::from(!takes_word);
        let word = self.word(start, '}', false, ExpansionErrorKind::MissingBrace)?;
        self.untaken -= usize::from(!takes_word);
        match operator {
            '?' if !has_value && self.untaken == 0 => {
                let message = match (word.as_str(), value) {
                    ("", None) => "is not allowed to be unset",
                    ("", Some(_)) => "is not allowed to be empty",
                    (word, _) => word,
                };
                let kind = ExpansionErrorKind::Required {
                    name: name.to_owned(),
                    message: message.to_owned(),
                };
                self.error(start, kind)
            }
            '+' => Ok(if has_value { word } else { String::new() }),
            _ => Ok(if has_value {
                value.unwrap_or_default()
            } else {
                word
            }),
        }
    }

    fn trim(&mut self, start: usize, name: &str, operator: char) -> Result<String, ExpansionError> {
        let word = self.word(start, '}', true, ExpansionErrorKind::MissingBrace)?;
        let value = self.value(name).unwrap_or_default();
        let (pattern, longest) = match word.strip_prefix(operator) {
            Some(pattern) => (pattern, true),
            None => (word.as_str(), false),
        };
        let trimmed = if operator == '#' {
            pattern::trim_start(&value, pattern, longest)
        } else {
            pattern::trim_end(&value, pattern, longest)
        };
        match trimmed {
            Some(trimmed) => Ok(trimmed),
            None => self.error(
                start,
                ExpansionErrorKind::InvalidPattern {
                    pattern: pattern.to_owned(),
                },
            ),
        }
    }

    fn replace(&mut self, start: usize, name: &str) -> Result<String, ExpansionError> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.word(start, '/', true, ExpansionErrorKind::MissingSlash)?;
        let replacement = self.word(start, '}', true, ExpansionErrorKind::MissingBrace)?;
        let value = self.value(name).unwrap_or_default();
        match pattern::replace(&value, &pattern, &replacement, all, MAX_RESULT) {
            Some(replaced) => Ok(replaced),
            None => self.error(start, ExpansionErrorKind::InvalidPattern { pattern }),
        }
    }

    /// The expanded word up to `stop`.
    fn word(
        &mut self,
        start: usize,
        stop: char,
        raw: bool,
        missing: ExpansionErrorKind,
    ) -> Result<String, ExpansionError> {
        let outer = std::mem::replace(&mut self.raw, raw);
        let mut out = Output::default();
        let found = self.until(Some(stop), &mut out)?;
        self.raw = outer;
        if found {
            Ok(out.text)
        } else {
            self.error(start, missing)
        }
    }

    /// A name: letters, digits and `_`; or only digits; or one special parameter.
    fn name(&mut self) -> String {
        let rest = &self.source[self.at..];
        let first = rest.chars().next();
        let length = match first {
            Some(c) if c.is_numeric() => rest.find(|c: char| !c.is_numeric()).unwrap_or(rest.len()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => rest
                .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(rest.len()),
        };
        self.at += length;
        rest[..length].to_owned()
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = (self.expander.lookup)(name);
        if self.untaken == 0 {
            let set = if value.is_some() {
                &mut self.done.used
            } else {
                &mut self.done.unset
            };
            set.insert(name.to_owned());
        }
        value
    }
}

#[cfg(test)]
mod tests;
