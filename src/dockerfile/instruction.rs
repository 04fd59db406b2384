//! One instruction as syntax: keyword, flags, the rest; its exec form, its words, what it nests.
//!
//! Knows no instruction's meaning, but for which may hold heredocs or another instruction. Spec: Dockerfile reference,
//! "Format", "Shell and exec form".

use std::ops::Range;

use super::error::{ParseError, ParseErrorKind};
use super::{Heredoc, Span, Text, Word, heredoc, words};

/// An instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// The keyword as written.
    pub keyword: String,
    /// `--name=value` words between the keyword and the rest.
    pub flags: Vec<Flag>,
    /// Here-documents, in the order of their words.
    pub heredocs: Vec<Heredoc>,
    /// First and last line in the source, 1-based.
    pub lines: (usize, usize),
    /// The comment lines directly above, without `#`.
    pub comments: Vec<String>,
    /// The first empty line inside the instruction, if there is one: deprecated.
    pub empty_continuation: Option<usize>,
    text: Text,
    keyword_range: Range<usize>,
    rest: Range<usize>,
}

/// `--name` or `--name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Without dashes.
    pub name: String,
    /// Quotes and escapes removed.
    pub value: Option<String>,
    /// Where it stands.
    pub span: Span,
}

/// What stands after an instruction's flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A JSON array of strings.
    Exec(Vec<String>),
    /// Anything that isn't a JSON array.
    Shell(String),
    /// A JSON array with something else than strings in it.
    NotStrings,
}

impl Instruction {
    /// Splits a logical line.
    pub(super) fn split(text: Text, lines: (usize, usize)) -> Self {
        let whole = 0..text.as_str().len();
        Self::split_at(text, whole, lines)
    }

    fn split_at(text: Text, range: Range<usize>, lines: (usize, usize)) -> Self {
        let value = text.as_str();
        let range = trim(value, range);
        let end = value[range.clone()]
            .find(words::is_blank)
            .map_or(range.end, |i| range.start + i);
        let keyword_range = range.start..end;
        let (flags, rest) = words::flags(value, end..range.end);
        let flags = flags
            .into_iter()
            .map(|flag| Flag {
                name: flag.name,
                value: flag.value,
                span: text.span(flag.range),
            })
            .collect();
        let rest = trim(value, rest);
        let keyword = value[keyword_range.clone()].to_owned();
        Self {
            keyword,
            flags,
            heredocs: Vec::new(),
            lines,
            comments: Vec::new(),
            empty_continuation: None,
            text,
            keyword_range,
            rest,
        }
    }

    /// The keyword in upper case.
    pub fn name(&self) -> String {
        self.keyword.to_ascii_uppercase()
    }

    /// Everything after the flags, trimmed.
    pub fn arguments(&self) -> &str {
        &self.text.as_str()[self.rest.clone()]
    }

    /// The logical line, trimmed: keyword, flags and arguments as written, continuation lines joined.
    pub fn source(&self) -> &str {
        &self.text.as_str()[self.keyword_range.start..self.rest.end.max(self.keyword_range.end)]
    }

    /// Where a range of [`Self::arguments`] stands.
    pub fn span_of(&self, range: Range<usize>) -> Span {
        self.text
            .span(self.rest.start + range.start..self.rest.start + range.end)
    }

    /// Where the keyword stands.
    pub fn keyword_span(&self) -> Span {
        self.text.span(self.keyword_range.clone())
    }

    /// Where the arguments stand; the keyword, when there are none.
    pub fn arguments_span(&self) -> Span {
        if self.rest.is_empty() {
            self.keyword_span()
        } else {
            self.text.span(self.rest.clone())
        }
    }

    /// The arguments in exec or shell form: exec when they are, from `[` to the last character, a JSON array of strings.
    pub fn form(&self) -> Form {
        form(self.arguments())
    }

    /// The arguments split at blanks, as they stand.
    pub fn blank_words(&self) -> Vec<Word> {
        words::split_blanks(self.arguments())
    }

    /// The arguments split at blanks that are neither quoted nor escaped; quotes and escapes are kept.
    pub fn quoted_words(&self, escape: char) -> Vec<Word> {
        words::split_quoted(self.arguments(), escape)
    }

    /// The instruction inside this one (ONBUILD).
    ///
    /// # Errors
    /// `MissingInstruction` when nothing follows.
    pub fn nested(&self) -> Result<Self, ParseError> {
        if self.rest.is_empty() {
            let kind = ParseErrorKind::MissingInstruction { keyword: self.name() };
            return Err(ParseError {
                kind,
                span: self.keyword_span(),
            });
        }
        let mut nested = Self::split_at(self.text.clone(), self.rest.clone(), self.lines);
        nested.heredocs.clone_from(&self.heredocs);
        Ok(nested)
    }

    /// The text from which [`super::parse_trigger`] makes this instruction again, heredocs included.
    pub fn trigger(&self) -> String {
        let mut text = self.source().to_owned();
        for heredoc in &self.heredocs {
            text.push('\n');
            text.push_str(&heredoc.content);
            text.push_str(&heredoc.name);
        }
        text
    }

    /// The heredoc that makes up `word`, by its number among this instruction's.
    pub fn heredoc_of(&self, word: &str) -> Option<&Heredoc> {
        let name = heredoc::opening(word)?.name;
        self.heredocs.iter().find(|heredoc| heredoc.name == name)
    }

    pub(super) fn text(&self) -> &Text {
        &self.text
    }

    /// Whether `<<` on this line opens heredocs: RUN, COPY and ADD in another form than JSON, or ONBUILD of these.
    pub(super) fn may_hold_heredocs(&self) -> bool {
        if !self.arguments().contains("<<") {
            return false;
        }
        let is = |name: &str| self.keyword.eq_ignore_ascii_case(name);
        if is("RUN") || is("COPY") || is("ADD") {
            return !self.arguments().starts_with('[') || matches!(self.form(), Form::Shell(_));
        }
        let is_onbuild = |keyword: &str| keyword.eq_ignore_ascii_case("ONBUILD");
        is("ONBUILD")
            && self
                .nested()
                .is_ok_and(|nested| !is_onbuild(&nested.keyword) && nested.may_hold_heredocs())
    }
}

/// See [`Instruction::form`].
pub fn form(arguments: &str) -> Form {
    if !arguments.trim_start().starts_with('[') {
        return Form::Shell(arguments.to_owned());
    }
    match serde_json::from_str::<Vec<serde_json::Value>>(arguments) {
        Err(_) => Form::Shell(arguments.to_owned()),
        Ok(values) => values
            .into_iter()
            .map(|value| {
                if let serde_json::Value::String(text) = value {
                    Some(text)
                } else {
                    None
                }
            })
            .collect::<Option<_>>()
            .map_or(Form::NotStrings, Form::Exec),
    }
}

fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    let end = range.start + part.trim_end().len();
    start..end.max(start)
}
