//! How errors and warnings are shown: the place, the source line, a caret under the place, a hint.
//!
//! ```text
//! Dockerfile:3:1: unknown instruction RUNN
//!   |
//! 3 | RUNN make
//!   | ^^^^
//!   = hint: did you mean RUN?
//! ```

use std::fmt::Write as _;

use super::Span;

/// Longest part of a source line that is shown, in characters.
const WIDTH: usize = 160;

/// The 1-based line and column (in characters) of a byte offset.
pub fn position(text: &str, offset: usize) -> (usize, usize) {
    let offset = floor(text, offset);
    let before = &text.as_bytes()[..offset];
    let line = before.split(|b| *b == b'\n').count();
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    let column = text[start..offset].trim_start_matches('\u{feff}').chars().count() + 1;
    (line, column)
}

/// Renders a message about `span` of `text`; without a span the message stands alone.
pub fn render(
    source_name: &str,
    text: &str,
    span: Option<Span>,
    message: &str,
    hint: Option<&str>,
) -> String {
    let mut out = String::new();
    let mut gutter = String::new();
    match span {
        None => {
            let _ = writeln!(out, "{source_name}: {message}");
        }
        Some(span) => {
            let (line, column) = position(text, span.start);
            let _ = writeln!(out, "{source_name}:{line}:{column}: {message}");
            gutter = " ".repeat(line.to_string().len());
            let (shown, caret) = excerpt(text, span);
            let _ = writeln!(out, "{gutter} |\n{line} | {shown}\n{gutter} | {caret}");
        }
    }
    if let Some(hint) = hint {
        let _ = writeln!(out, "{gutter} = hint: {hint}");
    }
    out
}

/// The source line of a span's start and the line with carets below it.
fn excerpt(text: &str, span: Span) -> (String, String) {
    let at = floor(text, span.start);
    let start = text[..at].rfind('\n').map_or(0, |i| i + 1);
    let end = text[at..].find('\n').map_or(text.len(), |i| at + i);
    let line = text[start..end].trim_end_matches('\r');
    let offset = at.min(start + line.len()) - start;
    let before: Vec<char> = line[..offset].chars().filter(|c| *c != '\u{feff}').collect();
    let skipped = before.len().saturating_sub(WIDTH / 2);
    let marked = &text[at..floor(text, span.end.clamp(at, at.max(start + line.len())))];

    let mut shown = String::new();
    let mut caret = String::new();
    if skipped > 0 {
        shown.push('…');
        caret.push(' ');
    }
    for c in &before[skipped..] {
        shown.push(visible(*c));
        caret.push(if *c == '\t' { '\t' } else { ' ' });
    }
    let room = WIDTH - (before.len() - skipped);
    let mut rest = line[offset..].chars();
    shown.extend(rest.by_ref().take(room).map(visible));
    if rest.next().is_some() {
        shown.push('…');
    }
    caret.push_str(&"^".repeat(marked.chars().count().clamp(1, room)));
    (shown, caret)
}

/// Control characters could rewrite the reader's terminal.
fn visible(c: char) -> char {
    if c.is_control() && c != '\t' {
        '\u{fffd}'
    } else {
        c
    }
}

fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// The candidate that `word` was most likely meant to be.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let limit = (lower.chars().count() / 2).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean X?`, if a candidate is near.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    closest(word, candidates).map(|candidate| format!("did you mean {candidate}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_stand_below_the_span() {
        let text = "FROM a\n\tCOPY --form=x\r\n";
        let start = text.find("--form").unwrap();
        let shown = render(
            "Dockerfile",
            text,
            Some(Span {
                start,
                end: start + 6,
            }),
            "unknown flag",
            Some("x"),
        );
        assert_eq!(
            shown,
            "Dockerfile:2:7: unknown flag\n  |\n2 | \tCOPY --form=x\n  | \t     ^^^^^^\n  = hint: x\n"
        );
    }

    #[test]
    fn any_span_of_any_text_renders() {
        for text in ["", "\n", "é\r\né", "\u{feff}FROM x", "a\u{1b}[31m"] {
            for start in 0..text.len() + 2 {
                for end in start..text.len() + 2 {
                    assert!(render("f", text, Some(Span { start, end }), "m", None).contains('^'));
                }
            }
        }
    }

    #[test]
    fn long_lines_are_cut_around_the_caret() {
        let text = "x".repeat(100_000);
        let shown = render(
            "f",
            &text,
            Some(Span {
                start: 50_000,
                end: 60_000,
            }),
            "m",
            None,
        );
        assert!(shown.len() < 1000, "{}", shown.len());
    }

    #[test]
    fn near_words_are_suggested() {
        assert_eq!(closest("RUNN", ["RUN", "FROM"]), Some("RUN"));
        assert_eq!(closest("copi", ["COPY", "FROM"]), Some("COPY"));
        assert_eq!(closest("x", ["COPY", "FROM"]), None);
    }
}
