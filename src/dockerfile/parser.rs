//! Dockerfile text to instructions: physical lines are joined to logical ones, heredocs take the lines after them.
//!
//! Spec: Dockerfile reference, "Format", "Parser directives", "escape", "Here-Documents". A line that ends in the escape
//! character goes on even when another escape precedes it: the reference's `c:\\` example decides. Every byte is looked at a
//! bounded number of times.

use super::directive::Reader;
use super::error::{ParseError, ParseErrorKind};
use super::heredoc;
use super::instruction::Instruction;
use super::{Dockerfile, Heredoc, Span, Text};

/// Parses a Dockerfile.
///
/// # Errors
/// [`ParseError`] with the place: no instruction, a bad directive, an unterminated heredoc.
pub fn parse(text: &str) -> Result<Dockerfile, ParseError> {
    let mut lines = Lines::new(text);
    let mut reader = Reader::default();
    let mut instructions = Vec::new();
    let mut comments = Vec::new();
    while let Some(line) = lines.next() {
        let trimmed = line.text.trim_start();
        let is_directive = reader.line(line.text, line.offset)?;
        if let Some(comment) = trimmed.strip_prefix('#') {
            match comment.trim() {
                "" => comments.clear(),
                comment if !is_directive => comments.push(comment.to_owned()),
                _ => {}
            }
            continue;
        }
        if trimmed.is_empty() {
            comments.clear();
            continue;
        }
        let escape = reader.directives.escape;
        let Some(logical) = join(&mut lines, &line, escape) else {
            continue;
        };
        let mut instruction = Instruction::split(logical.text, (line.number, lines.number));
        instruction.empty_continuation = logical.empty_continuation;
        instruction.comments = std::mem::take(&mut comments);
        take_heredocs(&mut lines, &mut instruction)?;
        instructions.push(instruction);
    }
    if instructions.is_empty() {
        return Err(ParseError {
            kind: ParseErrorKind::Empty,
            span: Span { start: 0, end: 0 },
        });
    }
    Ok(Dockerfile {
        directives: reader.directives,
        instructions,
    })
}

/// Parses the trigger that a base image's config holds for `ONBUILD`: one instruction, heredocs included.
///
/// # Errors
/// As [`parse`], and `NotOneInstruction`.
pub fn parse_trigger(text: &str) -> Result<Instruction, ParseError> {
    let mut instructions = parse(text)?.instructions;
    match (instructions.pop(), instructions.len()) {
        (Some(instruction), 0) => Ok(instruction),
        (_, others) => {
            let span = Span {
                start: 0,
                end: text.len(),
            };
            Err(ParseError {
                kind: ParseErrorKind::NotOneInstruction { count: others + 1 },
                span,
            })
        }
    }
}

/// A physical line without its end.
struct Line<'a> {
    text: &'a str,
    /// With its end.
    whole: &'a str,
    offset: usize,
    number: usize,
}

/// The physical lines, one after another.
struct Lines<'a> {
    rest: &'a str,
    offset: usize,
    /// Of the line handed out last.
    number: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let rest = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self {
            rest,
            offset: text.len() - rest.len(),
            number: 0,
        }
    }

    fn next(&mut self) -> Option<Line<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.find('\n').map_or(self.rest.len(), |i| i + 1);
        let (whole, rest) = self.rest.split_at(end);
        self.number += 1;
        let line = Line {
            text: whole.trim_end_matches(['\r', '\n']),
            whole,
            offset: self.offset,
            number: self.number,
        };
        self.rest = rest;
        self.offset += end;
        Some(line)
    }
}

struct Logical {
    text: Text,
    empty_continuation: Option<usize>,
}

/// Joins a line with those it continues on; `None` when nothing but blanks comes of it.
fn join(lines: &mut Lines<'_>, first: &Line<'_>, escape: char) -> Option<Logical> {
    let mut text = Text::default();
    let mut empty_continuation = None;
    let indent = first.text.len() - first.text.trim_start().len();
    let (piece, mut continues) = continuation(&first.text[indent..], escape);
    text.push(piece, first.offset + indent);
    while continues {
        let Some(line) = lines.next() else { break };
        let trimmed = line.text.trim_start();
        if trimmed.starts_with('#') {
            continue;
        }
        if trimmed.is_empty() {
            empty_continuation.get_or_insert(line.number);
            continue;
        }
        let (piece, more) = continuation(line.text, escape);
        text.push(piece, line.offset);
        continues = more;
    }
    (!text.as_str().trim().is_empty()).then_some(Logical {
        text,
        empty_continuation,
    })
}

/// The line without its continuation character, and whether it has one: the last character but for blanks.
fn continuation(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(piece) => (piece, true),
        None => (line, false),
    }
}

fn take_heredocs(lines: &mut Lines<'_>, instruction: &mut Instruction) -> Result<(), ParseError> {
    if !instruction.may_hold_heredocs() {
        return Ok(());
    }
    for (mut heredoc, range) in heredoc::openings(instruction.text().as_str()) {
        if !take_content(lines, &mut heredoc) {
            let span = instruction.text().span(range);
            return Err(ParseError {
                kind: ParseErrorKind::UnterminatedHeredoc { name: heredoc.name },
                span,
            });
        }
        instruction.heredocs.push(heredoc);
    }
    instruction.lines.1 = lines.number;
    Ok(())
}

/// Moves lines into a heredoc until its end; whether there was one.
fn take_content(lines: &mut Lines<'_>, heredoc: &mut Heredoc) -> bool {
    while let Some(line) = lines.next() {
        let candidate = if heredoc.strip_tabs {
            line.text.trim_start_matches('\t')
        } else {
            line.text
        };
        if candidate == heredoc.name {
            return true;
        }
        heredoc.content.push_str(line.whole);
    }
    false
}
