//! Syntax only: Dockerfile text to instructions with spans. Knows no instruction's meaning. Spec: Dockerfile reference.
//!
//! | module        | turns what into what                                                     |
//! |---------------|--------------------------------------------------------------------------|
//! | `span`        | offsets in joined lines -> places in the source                          |
//! | `diagnostic`  | a place and a message -> the source line with a caret                    |
//! | `directive`   | `# name=value` lines -> [`Directives`]                                   |
//! | `words`       | arguments -> words and flags                                             |
//! | `heredoc`     | `<<EOF` words -> [`Heredoc`]s                                            |
//! | `instruction` | a logical line -> [`Instruction`]: keyword, flags, arguments, exec form  |
//! | `parser`      | a Dockerfile's text -> [`Dockerfile`]                                    |
//! | `expansion`   | a word and variables -> the word expanded                                |
//! | `ignore`      | an ignore file and a path -> whether the context has it                  |

pub mod diagnostic;
mod directive;
mod error;
pub mod expansion;
mod heredoc;
pub mod ignore;
mod instruction;
mod parser;
mod span;
mod words;

pub use self::directive::Directives;
pub use self::error::{ParseError, ParseErrorKind};
pub use self::heredoc::{Heredoc, opening as heredoc_opening};
pub use self::instruction::{Flag, Form, Instruction, form};
pub use self::parser::{parse, parse_trigger};
pub use self::span::{Span, Text, Word};

/// A parsed Dockerfile: at least one instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// Parser directives.
    pub directives: Directives,
    /// Instructions in order.
    pub instructions: Vec<Instruction>,
}
