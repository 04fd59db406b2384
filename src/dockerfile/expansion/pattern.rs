//! The globs of `${V#p}`, `${V%p}` and `${V/p/r}`: `*`, `?`, and a backslash before a literal one.

use regex::Regex;

#[derive(Clone, Copy)]
enum Token {
    Any,
    Many,
    Literal(char),
}

/// `value` without the shortest or longest start that matches; `None` when `pattern` is none.
pub(super) fn trim_start(value: &str, pattern: &str, longest: bool) -> Option<String> {
    let regex = compile(tokens(pattern)?.into_iter(), true, longest)?;
    Some(
        regex
            .find(value)
            .map_or(value, |found| &value[found.end()..])
            .to_owned(),
    )
}

/// `value` without the shortest or longest end that matches; `None` when `pattern` is none.
pub(super) fn trim_end(value: &str, pattern: &str, longest: bool) -> Option<String> {
    // Read backwards, an end is a start.
    let regex = compile(tokens(pattern)?.into_iter().rev(), true, longest)?;
    let reversed: String = value.chars().rev().collect();
    let cut = regex.find(&reversed).map_or(0, |found| found.end());
    Some(value[..value.len() - cut].to_owned())
}

/// `value` with the first or every longest match replaced; `None` when `pattern` is none. What is above `limit` bytes is cut
/// off somewhere above it.
pub(super) fn replace(
    value: &str,
    pattern: &str,
    replacement: &str,
    all: bool,
    limit: usize,
) -> Option<String> {
    let regex = compile(tokens(pattern)?.into_iter(), false, true)?;
    let mut out = String::new();
    let mut end = 0;
    for found in regex.find_iter(value).take(if all { usize::MAX } else { 1 }) {
        out.push_str(&value[end..found.start()]);
        out.push_str(replacement);
        end = found.end();
        if out.len() > limit {
            return Some(out);
        }
    }
    out.push_str(&value[end..]);
    Some(out)
}

fn tokens(pattern: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Many,
            '?' => Token::Any,
            '\\' => match chars.next()? {
                // `}` and `/` end parts of the substitution, so they need an escape that isn't the pattern's.
                escaped @ ('*' | '?' | '\\' | '}' | '/') => Token::Literal(escaped),
                _ => return None,
            },
            c => Token::Literal(c),
        });
    }
    Some(tokens)
}

fn compile(tokens: impl Iterator<Item = Token>, anchored: bool, longest: bool) -> Option<Regex> {
    let mut text = String::from(if anchored { "(?s)^" } else { "(?s)" });
    for token in tokens {
        match token {
            Token::Any => text.push('.'),
            Token::Many => text.push_str(if longest { ".*" } else { ".*?" }),
            Token::Literal(c) => text.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    Regex::new(&text).ok()
}
