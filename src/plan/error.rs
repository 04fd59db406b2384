//! What can be wrong with a Dockerfile's meaning, with the place and a hint.

use crate::dockerfile::expansion::ExpansionErrorKind;
use crate::dockerfile::{ParseError, ParseErrorKind, Span, diagnostic};
use crate::oci::platform::PlatformError;

use super::ChmodError;

/// An error and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct PlanError {
    /// What.
    pub kind: PlanErrorKind,
    /// Where in the Dockerfile; `None` when the command line is at fault.
    pub span: Option<Span>,
}

/// See [`PlanError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanErrorKind {
    /// Not even syntax.
    #[error("{0}")]
    Syntax(ParseErrorKind),
    /// A variable expansion that is none.
    #[error("{0}")]
    Expansion(ExpansionErrorKind),
    /// A keyword that is none.
    #[error("unknown instruction {keyword}")]
    UnknownInstruction {
        /// As written.
        keyword: String,
    },
    /// A flag that the instruction doesn't have.
    #[error("unknown flag --{flag} of {instruction}")]
    UnknownFlag {
        /// The instruction.
        instruction: &'static str,
        /// Without dashes.
        flag: String,
        /// The flags that it has.
        known: Vec<&'static str>,
    },
    /// A flag twice.
    #[error("flag --{flag} of {instruction} may be given once")]
    DuplicateFlag {
        /// The instruction.
        instruction: &'static str,
        /// Without dashes.
        flag: String,
    },
    /// `--from` without `=value`.
    #[error("flag --{flag} of {instruction} needs a value: --{flag}={value}")]
    FlagWithoutValue {
        /// The instruction.
        instruction: &'static str,
        /// Without dashes.
        flag: String,
        /// What the value is.
        value: &'static str,
    },
    /// A flag's or option's value that isn't one.
    #[error("invalid value {value:?} of {name}: expected {expected}")]
    InvalidValue {
        /// The flag or option.
        name: String,
        /// As expanded.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// An option of `--mount` that its type doesn't have.
    #[error("unexpected option {key:?} of --mount{}", kind.as_ref().map(|kind| format!("=type={kind}")).unwrap_or_default())]
    UnknownMountOption {
        /// As written.
        key: String,
        /// The mount's type, when any type's options would do.
        kind: Option<String>,
        /// One that it has.
        near: Option<&'static str>,
    },
    /// Too few or too many arguments.
    #[error("{instruction} needs {expected}")]
    Arguments {
        /// The instruction.
        instruction: &'static str,
        /// `exactly one argument`.
        expected: &'static str,
    },
    /// A JSON array of something else than strings.
    #[error("{instruction} in exec form is a JSON array of strings only")]
    NotStrings {
        /// The instruction.
        instruction: &'static str,
    },
    /// No FROM.
    #[error("the Dockerfile has no FROM instruction")]
    NoStage,
    /// Anything but ARG before FROM.
    #[error("{keyword} before the first FROM")]
    BeforeFrom {
        /// The instruction.
        keyword: String,
    },
    /// `AS` something else than a name.
    #[error("invalid stage name {name:?}")]
    StageName {
        /// As written.
        name: String,
    },
    /// FROM of an empty name.
    #[error("the base of FROM {expression} is empty")]
    EmptyBase {
        /// As written.
        expression: String,
    },
    /// Not a reference.
    #[error("invalid image reference {reference:?}")]
    Reference {
        /// As expanded.
        reference: String,
        /// Stage names.
        stages: Vec<String>,
    },
    /// Not a platform.
    #[error("{0}")]
    Platform(PlatformError),
    /// `--target` of no stage.
    #[error("no stage is named {target:?}")]
    Target {
        /// As given.
        target: String,
        /// Stage names.
        stages: Vec<String>,
    },
    /// A stage's number out of range.
    #[error("there is no earlier stage {index}")]
    StageIndex {
        /// As written.
        index: usize,
    },
    /// A stage that comes later.
    #[error("stage {name} is defined after it is used")]
    LaterStage {
        /// The stage.
        name: String,
    },
    /// Stages that need each other.
    #[error("stages need each other: {}", stages.join(" -> "))]
    Circular {
        /// In order, the first again at the end.
        stages: Vec<String>,
    },
    /// A variable where none may be.
    #[error("variables are not expanded in --from")]
    VariableInFrom,
    /// `ENV a`.
    #[error("can't find = in {word:?}: expected name=value")]
    MissingEquals {
        /// As written.
        word: String,
    },
    /// `ENV =x`.
    #[error("{instruction} with an empty name")]
    EmptyName {
        /// The instruction.
        instruction: &'static str,
    },
    /// A trigger that no ONBUILD may have.
    #[error("{keyword} is not allowed as an ONBUILD trigger")]
    Trigger {
        /// The instruction.
        keyword: &'static str,
    },
    /// A base's trigger that fails here.
    #[error("ONBUILD trigger {trigger:?} of {base}: {kind}")]
    BaseTrigger {
        /// As the base's config has it.
        trigger: String,
        /// The base.
        base: String,
        /// What is wrong with it.
        kind: Box<PlanErrorKind>,
    },
    /// Several sources, but a destination that is no directory.
    #[error(
        "{instruction} of several sources needs a directory as its destination, {destination:?} doesn't end with a slash"
    )]
    DestinationNotDirectory {
        /// The instruction.
        instruction: &'static str,
        /// As written.
        destination: String,
    },
    /// A heredoc where a path must be.
    #[error("{instruction} can't have a heredoc as its destination")]
    HeredocDestination {
        /// The instruction.
        instruction: &'static str,
    },
    /// COPY of a URL.
    #[error("COPY can't have the URL {url:?} as a source")]
    CopyUrl {
        /// As expanded.
        url: String,
    },
    /// Not a mode.
    #[error("{0}")]
    Chmod(ChmodError),
    /// Two things that don't go together, or one that needs another.
    #[error("{message}")]
    Conflict {
        /// One sentence.
        message: &'static str,
    },
    /// Known, but not done yet.
    #[error("{what} is not supported yet")]
    Unsupported {
        /// `RUN --mount=type=ssh`.
        what: String,
    },
    /// The caller didn't resolve what `base_images` names.
    #[error("image {reference} ({platform}) is not resolved")]
    Unresolved {
        /// Normalised.
        reference: String,
        /// Platform.
        platform: String,
    },
}

impl From<ParseError> for PlanError {
    fn from(error: ParseError) -> Self {
        Self {
            kind: PlanErrorKind::Syntax(error.kind),
            span: Some(error.span),
        }
    }
}

impl PlanErrorKind {
    /// At a place.
    pub(super) fn at(self, span: Span) -> PlanError {
        PlanError {
            kind: self,
            span: Some(span),
        }
    }

    fn hint(&self) -> Option<String> {
        use PlanErrorKind as K;
        match self {
            K::Syntax(kind) => ParseError { kind: kind.clone(), span: Span { start: 0, end: 0 } }.hint(),
            K::UnknownInstruction { keyword } => {
                diagnostic::did_you_mean(keyword, super::instruction::ALL.iter().map(|definition| definition.name))
            }
            K::UnknownFlag { instruction, flag, known } => {
                diagnostic::closest(flag, known.iter().copied()).map(|name| format!("did you mean --{name}?")).or_else(|| {
                    Some(if known.is_empty() {
                        format!("{instruction} has no flags; write -- before words that start with --")
                    } else {
                        format!("{instruction} has --{}", known.join(", --"))
                    })
                })
            }
            K::UnknownMountOption { near, .. } => near.map(|near| format!("did you mean {near}?")),
            K::NotStrings { .. } => Some("put every element in double quotes".to_owned()),
            K::NoStage | K::BeforeFrom { .. } => {
                Some("a Dockerfile begins with FROM; only ARG may stand before it".to_owned())
            }
            K::StageName { .. } => {
                Some("a name starts with a letter and holds letters, digits, '-', '_' and '.'".to_owned())
            }
            K::EmptyBase { .. } => {
                Some("give the ARG before FROM a default, as in ARG TAG=latest, or pass --build-arg".to_owned())
            }
            K::Reference { reference, stages } => diagnostic::did_you_mean(reference, stages.iter().map(String::as_str))
                .or_else(|| Some("expected [registry/]name[:tag][@digest], in lower case".to_owned())),
            K::Target { target, stages } => diagnostic::did_you_mean(target, stages.iter().map(String::as_str)).or_else(|| {
                (!stages.is_empty()).then(|| format!("the stages are {}", stages.join(", ")))
            }),
            K::StageIndex { .. } => Some("stages are numbered from 0; --from names one above this stage".to_owned()),
            K::LaterStage { .. } => Some("move that stage above this one".to_owned()),
            K::VariableInFrom => {
                Some("define a stage with FROM, which expands ARGs from before the first FROM, and name that stage".to_owned())
            }
            K::DestinationNotDirectory { destination, .. } => Some(format!("write {destination}/")),
            K::CopyUrl { .. } => Some("ADD can".to_owned()),
            K::BaseTrigger { kind, .. } => kind.hint(),
            _ => None,
        }
    }
}

impl PlanError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        self.kind.hint()
    }

    /// The error with its line, a caret and the hint. `text` is the Dockerfile.
    pub fn render(&self, source_name: &str, text: &str) -> String {
        diagnostic::render(
            source_name,
            text,
            self.span,
            &self.to_string(),
            self.hint().as_deref(),
        )
    }
}
