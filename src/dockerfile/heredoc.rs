//! Heredocs: `<<EOF` words on an instruction's line, and the lines they take.
//!
//! Spec: Dockerfile reference, "Here-Documents"; POSIX shell, 2.7.4 (tab stripping, quoting of the word). Quoting by a backslash
//! counts as quoting, as POSIX has it, and `((`...`))` holds shifts, not heredocs.

use std::ops::Range;

/// A here-document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it, quotes removed; the file's name in COPY.
    pub name: String,
    /// The lines, line ends included, as they stand.
    pub content: String,
    /// Whether variables in it are expanded (COPY and ADD): no part of the word was quoted.
    pub expand: bool,
    /// `<<-`: leading tabs are taken off each line.
    pub strip_tabs: bool,
}

impl Heredoc {
    /// The content as the instruction gets it: tabs stripped if `<<-`.
    pub fn text(&self) -> String {
        if !self.strip_tabs {
            return self.content.clone();
        }
        self.content
            .split_inclusive('\n')
            .map(|line| line.trim_start_matches('\t'))
            .collect()
    }
}

/// The heredocs that a line opens, without content, and the ranges of their words.
pub(super) fn openings(line: &str) -> Vec<(Heredoc, Range<usize>)> {
    if !line.contains("<<") {
        return Vec::new();
    }
    let Some(words) = split(line) else {
        return Vec::new();
    };
    words
        .into_iter()
        .filter_map(|range| Some((opening(&line[range.clone()])?, range)))
        .collect()
}

/// Reads `<<EOF`, `<<-"EOF"`, `3<<EOF` as a whole word.
pub fn opening(word: &str) -> Option<Heredoc> {
    let after = word
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .strip_prefix("<<")?;
    let (after, strip_tabs) = match after.strip_prefix('-') {
        Some(after) => (after, true),
        None => (after, false),
    };
    let raw = after.trim_start();
    if raw.is_empty() || raw.contains('<') {
        return None;
    }
    let mut name = String::new();
    let mut quote = None;
    let mut quoted = false;
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\'' | '"', None) => (quote, quoted) = (Some(c), true),
            (c, Some(q)) if c == q => quote = None,
            ('\\', None | Some('"')) => {
                quoted = true;
                name.extend(chars.next());
            }
            (c, None) if c.is_whitespace() => return None,
            (c, _) => name.push(c),
        }
    }
    (quote.is_none() && !name.is_empty()).then_some(Heredoc {
        name,
        content: String::new(),
        expand: !quoted,
        strip_tabs,
    })
}

/// Splits a line as a shell does, keeping quotes; `<<` takes the blanks after it. `None` when a quote is left open.
fn split(line: &str) -> Option<Vec<Range<usize>>> {
    let bytes = line.as_bytes();
    let mut words = Vec::new();
    let mut start = None;
    let mut i = 0;
    // Searched for once per `((`, and never again after the last one: linear time.
    let last_close = line.rfind("))");
    while i < bytes.len() {
        let b = bytes[i];
        if b.is_ascii_whitespace() {
            words.extend(start.take().map(|start| start..i));
            i += 1;
            continue;
        }
        start.get_or_insert(i);
        i = match b {
            b'\'' => i + 2 + line[i + 1..].find('\'')?,
            b'"' => double_quote_end(bytes, i + 1)?,
            b'\\' => (i + 2).min(bytes.len()),
            b'(' if bytes.get(i + 1) == Some(&b'(') && last_close.is_some_and(|last| last > i) => {
                line[i..].find("))").map_or(i + 1, |end| i + end + 2)
            }
            b'<' if bytes.get(i + 1) == Some(&b'<') => {
                let after = i + 2 + usize::from(bytes.get(i + 2) == Some(&b'-'));
                after
                    + bytes[after..]
                        .iter()
                        .take_while(|b| matches!(b, b' ' | b'\t'))
                        .count()
            }
            _ => i + 1,
        };
    }
    words.extend(start.map(|start| start..bytes.len()));
    Some(words)
}

fn double_quote_end(bytes: &[u8], mut i: usize) -> Option<usize> {
    while i < bytes.len() {
        match bytes[i] {
            b'"' => return Some(i + 1),
            b'\\' => i += 2,
            _ => i += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Vec<(String, bool, bool)> {
        openings(line)
            .into_iter()
            .map(|(h, _)| (h.name, h.expand, h.strip_tabs))
            .collect()
    }

    #[test]
    fn words_open_heredocs() {
        let one = |name: &str, expand, strip| vec![(name.to_owned(), expand, strip)];
        assert_eq!(names("RUN <<EOF"), one("EOF", true, false));
        assert_eq!(names("RUN <<-EOT bash"), one("EOT", true, true));
        assert_eq!(names("COPY <<-\"EOT\" /script.sh"), one("EOT", false, true));
        assert_eq!(names("RUN cat <<'E O F' > x"), one("E O F", false, false));
        assert_eq!(names("RUN cat <<\\EOF"), one("EOF", false, false));
        assert_eq!(names("RUN cat << EOF"), one("EOF", true, false));
        assert_eq!(names("RUN 3<<EOF cat <&3"), one("EOF", true, false));
        assert_eq!(
            names("RUN <<FILE1 cat > file1 && <<FILE2 cat > file2"),
            [one("FILE1", true, false), one("FILE2", true, false)].concat()
        );
    }

    #[test]
    fn other_words_do_not() {
        for line in [
            "RUN echo '<<EOF'",
            "RUN echo \"<<EOF\"",
            "RUN echo a<<EOF",
            "RUN cat <<<EOF",
            "RUN echo $(( 1 << 3 ))",
            "RUN echo $((1<<3))",
            "RUN echo it's <<EOF",
            "RUN echo \\<<EOF",
            "RUN <<",
            "RUN <<-",
            "RUN <<''",
        ] {
            assert!(names(line).is_empty(), "{line}: {:?}", names(line));
        }
    }

    #[test]
    fn tabs_are_stripped_by_the_dash() {
        let heredoc = Heredoc {
            name: "E".into(),
            content: "\t\ta\n\n b\n\tc\n".into(),
            expand: true,
            strip_tabs: true,
        };
        assert_eq!(heredoc.text(), "a\n\n b\nc\n");
    }
}
