//! Places: byte ranges of the source, and text that remembers where in the source each of its bytes stood.

use std::ops::Range;

/// A byte range of the Dockerfile's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// A logical line: its continuation lines joined, comments and line ends taken out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text {
    value: String,
    /// (offset in `value`, offset in the source) of each joined piece, ascending.
    pieces: Vec<(usize, usize)>,
}

impl Text {
    /// The joined text.
    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// Appends `piece`, which stands at `source` in the source.
    pub(super) fn push(&mut self, piece: &str, source: usize) {
        if !piece.is_empty() {
            self.pieces.push((self.value.len(), source));
            self.value.push_str(piece);
        }
    }

    /// Where a range of the joined text stands in the source; an empty range is a point.
    pub fn span(&self, range: Range<usize>) -> Span {
        let start = self.source(range.start);
        let end = if range.is_empty() {
            start
        } else {
            self.source(range.end - 1) + 1
        };
        Span {
            start,
            end: end.max(start),
        }
    }

    fn source(&self, offset: usize) -> usize {
        let after = self.pieces.partition_point(|(at, _)| *at <= offset);
        match after.checked_sub(1).map(|i| self.pieces[i]) {
            Some((at, source)) => source + (offset - at),
            None => 0,
        }
    }
}

/// A word of a text and the range it stands at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// As written, quotes and escapes included.
    pub text: String,
    /// Range in the text it was split from.
    pub range: Range<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_point_through_joined_pieces() {
        let mut text = Text::default();
        text.push("RUN a ", 10);
        text.push("", 20);
        text.push("b", 30);
        assert_eq!(text.as_str(), "RUN a b");
        assert_eq!(text.span(0..3), Span { start: 10, end: 13 });
        assert_eq!(text.span(6..7), Span { start: 30, end: 31 });
        assert_eq!(text.span(4..7), Span { start: 14, end: 31 });
        assert_eq!(text.span(7..7), Span { start: 31, end: 31 });
        assert_eq!(Text::default().span(0..0), Span { start: 0, end: 0 });
    }
}
