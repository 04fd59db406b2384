//! Splitting arguments into words and flags, quotes and escapes kept for the expansion that comes later.

use std::ops::Range;

use super::Word;

/// The blanks that separate words.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{b}' | '\u{c}' | '\r')
}

/// Splits at blanks, whatever stands between them.
pub(super) fn split_blanks(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut start = None;
    for (i, c) in text.char_indices() {
        match (is_blank(c), start) {
            (true, Some(from)) => {
                words.push(Word {
                    text: text[from..i].to_owned(),
                    range: from..i,
                });
                start = None;
            }
            (false, None) => start = Some(i),
            _ => {}
        }
    }
    words.extend(start.map(|from| Word {
        text: text[from..].to_owned(),
        range: from..text.len(),
    }));
    words
}

/// Splits at blanks outside of quotes and escapes. Quotes and escapes stay, but for an escape at the very end.
pub(super) fn split_quoted(text: &str, escape: char) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut start = None;
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(start.take().map(|from| Word {
                text: std::mem::take(&mut word),
                range: from..i,
            }));
            continue;
        }
        start.get_or_insert(i);
        // In single quotes nothing is escaped.
        if c == escape && quote != Some('\'') {
            if let Some((_, escaped)) = chars.next() {
                word.push(c);
                word.push(escaped);
            }
            continue;
        }
        match quote {
            Some(q) if q == c => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            _ => {}
        }
        word.push(c);
    }
    words.extend(start.map(|from| Word {
        text: word,
        range: from..text.len(),
    }));
    words.retain(|word| !word.text.is_empty());
    words
}

/// A flag as it was read.
pub(super) struct RawFlag {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) range: Range<usize>,
}

/// Takes the `--name=value` words at the start of a range; also returns what is left. `--` alone ends them.
///
/// In a flag's word quotes and backslashes are taken away, and quoted blanks do not end it.
pub(super) fn flags(text: &str, range: Range<usize>) -> (Vec<RawFlag>, Range<usize>) {
    let mut flags = Vec::new();
    let mut at = range.start;
    loop {
        let rest = &text[at..range.end];
        at += rest.len() - rest.trim_start().len();
        if !text[at..range.end].starts_with("--") {
            return (flags, at..range.end);
        }
        let (word, end) = flag_word(text, at..range.end);
        if word == "--" {
            return (flags, end..range.end);
        }
        let body = word.strip_prefix("--").unwrap_or(&word);
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (body.to_owned(), None),
        };
        flags.push(RawFlag {
            name,
            value,
            range: at..end,
        });
        at = end;
    }
}

fn flag_word(text: &str, range: Range<usize>) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text[range.clone()].char_indices();
    while let Some((i, c)) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => return (word, range.start + i),
            ('\\', _) => word.extend(chars.next().map(|(_, escaped)| escaped)),
            (c, Some(q)) if c == q => quote = None,
            ('\'' | '"', None) => quote = Some(c),
            (c, _) => word.push(c),
        }
    }
    (word, range.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> Vec<String> {
        split_quoted(text, '\\').into_iter().map(|w| w.text).collect()
    }

    #[test]
    fn words_keep_quotes_and_escapes() {
        // Reference, "ENV".
        assert_eq!(
            quoted(r#"MY_NAME="John Doe" MY_DOG=Rex\ The\ Dog MY_CAT=fluffy"#),
            [r#"MY_NAME="John Doe""#, r"MY_DOG=Rex\ The\ Dog", "MY_CAT=fluffy"]
        );
        assert_eq!(quoted(r"a='x \' b"), [r"a='x \'", "b"]);
        assert_eq!(quoted(r#"a="x \" b" c"#), [r#"a="x \" b""#, "c"]);
        assert_eq!(quoted("  \"\"  "), ["\"\""]);
        assert_eq!(quoted("a\\"), ["a"]);
        assert_eq!(quoted(" \\"), Vec::<String>::new());
    }

    #[test]
    fn words_know_their_place() {
        let text = "ab  \"c d\" é";
        for word in split_quoted(text, '\\') {
            assert_eq!(&text[word.range.clone()], word.text);
        }
        for word in split_blanks(text) {
            assert_eq!(&text[word.range.clone()], word.text);
        }
    }

    #[test]
    fn flags_end_at_the_first_other_word() {
        let text = r#" --from=a --x="b c" --link  -- --y z"#;
        let (flags, rest) = flags(text, 0..text.len());
        let flags: Vec<_> = flags.into_iter().map(|f| (f.name, f.value)).collect();
        assert_eq!(
            flags,
            [
                ("from".into(), Some("a".into())),
                ("x".into(), Some("b c".into())),
                ("link".into(), None)
            ]
        );
        assert_eq!(&text[rest], " --y z");
    }
}
