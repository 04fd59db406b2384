//! What can be wrong with a Dockerfile's syntax.

use super::{Span, diagnostic};

/// A syntax error and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct ParseError {
    /// What.
    pub kind: ParseErrorKind,
    /// Where.
    pub span: Span,
}

/// See [`ParseError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseErrorKind {
    /// No instruction at all.
    #[error("the Dockerfile is empty")]
    Empty,
    /// A directive stands twice.
    #[error("only one {name} parser directive may be used")]
    RepeatedDirective {
        /// Which, lower case.
        name: String,
    },
    /// `# escape=` something else.
    #[error("invalid escape character {value:?}")]
    InvalidEscape {
        /// As written.
        value: String,
    },
    /// A heredoc without its end.
    #[error("unterminated heredoc {name}")]
    UnterminatedHeredoc {
        /// The word that would end it.
        name: String,
    },
    /// `ONBUILD` followed by nothing.
    #[error("{keyword} needs an instruction")]
    MissingInstruction {
        /// As written.
        keyword: String,
    },
    /// A trigger of a base image that is not one instruction.
    #[error("an ONBUILD trigger is a single instruction, found {count}")]
    NotOneInstruction {
        /// How many there are.
        count: usize,
    },
}

impl ParseError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match &self.kind {
            ParseErrorKind::Empty => {
                Some("it needs at least a FROM instruction, such as FROM debian".to_owned())
            }
            ParseErrorKind::RepeatedDirective { .. } => Some("remove one of them".to_owned()),
            ParseErrorKind::InvalidEscape { .. } => Some("it must be \\ or `".to_owned()),
            ParseErrorKind::UnterminatedHeredoc { name } => Some(format!(
                "end it with a line that holds only {name}, without blanks before or after it"
            )),
            ParseErrorKind::MissingInstruction { .. } => Some("for example ONBUILD RUN make".to_owned()),
            ParseErrorKind::NotOneInstruction { .. } => None,
        }
    }

    /// The error with its line, a caret and the hint. `text` is what was parsed.
    pub fn render(&self, source_name: &str, text: &str) -> String {
        diagnostic::render(
            source_name,
            text,
            Some(self.span),
            &self.to_string(),
            self.hint().as_deref(),
        )
    }
}
