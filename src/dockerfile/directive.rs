//! Parser directives: `# name=value` lines before everything else. Spec: Dockerfile reference, "Parser directives".

use super::error::{ParseError, ParseErrorKind};
use super::{Span, error};

/// The directives of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// `# syntax=`: accepted and shown, never pulled.
    pub syntax: Option<String>,
    /// `# escape=`: `\` or a backtick.
    pub escape: char,
    /// `# check=`, unparsed.
    pub check: Option<(String, Span)>,
}

impl Default for Directives {
    fn default() -> Self {
        Self {
            syntax: None,
            escape: '\\',
            check: None,
        }
    }
}

/// Takes directives until a line is none.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) directives: Directives,
    seen: Vec<&'static str>,
    done: bool,
}

impl Reader {
    /// Looks at a physical line at `offset` of the source; returns whether it was a directive.
    pub(super) fn line(&mut self, line: &str, offset: usize) -> Result<bool, ParseError> {
        if self.done {
            return Ok(false);
        }
        let Some((name, value)) = split(line) else {
            self.done = true;
            return Ok(false);
        };
        let span = Span {
            start: offset,
            end: offset + line.len(),
        };
        if self.seen.contains(&name) {
            return Err(ParseError {
                kind: ParseErrorKind::RepeatedDirective {
                    name: name.to_owned(),
                },
                span,
            });
        }
        self.seen.push(name);
        match name {
            "syntax" => self.directives.syntax = Some(value.to_owned()),
            "check" => self.directives.check = Some((value.to_owned(), span)),
            _ => self.directives.escape = escape(value, span)?,
        }
        Ok(true)
    }
}

fn escape(value: &str, span: Span) -> Result<char, error::ParseError> {
    match value {
        "\\" => Ok('\\'),
        "`" => Ok('`'),
        _ => Err(ParseError {
            kind: ParseErrorKind::InvalidEscape {
                value: value.to_owned(),
            },
            span,
        }),
    }
}

/// The known name and the value of a directive line; `None` for any other line.
fn split(line: &str) -> Option<(&'static str, &str)> {
    let (name, value) = line.trim_start().strip_prefix('#')?.split_once('=')?;
    let known = ["syntax", "escape", "check"];
    let name = known
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(name.trim()))?;
    let value = value.trim();
    (!value.is_empty()).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_read_as_the_reference_spells_them() {
        // Reference, "Parser directives": all these are the same.
        for line in [
            "#escape=`",
            "# escape =`",
            "#\tescape= `",
            "# escape = `",
            "#\t  eScApE=`",
        ] {
            let mut reader = Reader::default();
            assert!(reader.line(line, 0).unwrap(), "{line}");
            assert_eq!(reader.directives.escape, '`', "{line}");
        }
    }

    #[test]
    fn anything_else_ends_the_directives() {
        for first in [
            "# About my dockerfile",
            "# unknowndirective=value",
            "",
            "FROM x",
            "# direc \\",
            "#escape=",
        ] {
            let mut reader = Reader::default();
            assert!(!reader.line(first, 0).unwrap(), "{first}");
            assert!(!reader.line("# escape=`", 0).unwrap(), "{first}");
            assert_eq!(reader.directives, Directives::default());
        }
    }

    #[test]
    fn a_directive_stands_once() {
        let mut reader = Reader::default();
        reader.line("# syntax=a", 0).unwrap();
        let error = reader.line("# SYNTAX=b", 11).unwrap_err();
        assert_eq!(
            error.kind,
            ParseErrorKind::RepeatedDirective {
                name: "syntax".into()
            }
        );
        assert_eq!(error.span, Span { start: 11, end: 21 });
    }
}
