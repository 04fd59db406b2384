//! The instructions: one file for each, and [`ALL`], which feeds parsing, help and "did you mean".
//!
//! In a file: a `DEFINITION`; `check`, which looks at the syntax alone and runs for unused stages too; `apply`, which changes
//! the stage. Spec: Dockerfile reference, the section of each instruction.

mod add;
pub(super) mod arg;
mod cmd;
pub(super) mod copy;
mod entrypoint;
mod env;
mod expose;
pub(super) mod from;
mod healthcheck;
mod label;
mod maintainer;
mod mount;
mod onbuild;
mod run;
mod shell;
mod stopsignal;
mod user;
mod volume;
mod workdir;

pub(super) use self::mount::MountKind;
pub(super) use self::run::mounts;
use super::error::{PlanError, PlanErrorKind};
use super::planner::Step;
use crate::dockerfile::{Flag, Form, Instruction, Span, Word};

/// Every instruction, by name.
pub const ALL: &[Definition] = &[
    add::DEFINITION,
    arg::DEFINITION,
    cmd::DEFINITION,
    copy::DEFINITION,
    entrypoint::DEFINITION,
    env::DEFINITION,
    expose::DEFINITION,
    from::DEFINITION,
    healthcheck::DEFINITION,
    label::DEFINITION,
    maintainer::DEFINITION,
    onbuild::DEFINITION,
    run::DEFINITION,
    shell::DEFINITION,
    stopsignal::DEFINITION,
    user::DEFINITION,
    volume::DEFINITION,
    workdir::DEFINITION,
];

/// An instruction of the Dockerfile language.
pub struct Definition {
    /// Upper case.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// Its forms.
    pub synopsis: &'static [&'static str],
    /// Its flags.
    pub flags: &'static [FlagDefinition],
    /// Whether it makes a vertex and a layer.
    pub layer: bool,
    /// Whether ONBUILD may trigger it.
    pub trigger: bool,
    /// Looks at the syntax alone.
    check: fn(&Instruction, char) -> Result<(), PlanError>,
    /// Changes the stage; FROM starts one instead.
    apply: fn(&mut Step<'_, '_>, &Instruction) -> Result<(), PlanError>,
    /// The stages, contexts and images that it reads.
    sources: fn(&Instruction) -> Result<Vec<SourceName>, PlanError>,
}

/// A flag of an instruction.
pub struct FlagDefinition {
    /// Without dashes.
    pub name: &'static str,
    /// What the value is; `None` for flags that are on when given, and may say `=true` or `=false`.
    pub value: Option<&'static str>,
    /// Whether it may be given several times.
    pub repeatable: bool,
    /// What it does.
    pub summary: &'static str,
}

impl FlagDefinition {
    const fn value(name: &'static str, value: &'static str, summary: &'static str) -> Self {
        Self {
            name,
            value: Some(value),
            repeatable: false,
            summary,
        }
    }

    const fn switch(name: &'static str, summary: &'static str) -> Self {
        Self {
            name,
            value: None,
            repeatable: false,
            summary,
        }
    }
}

/// A `--from` or `from=` and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceName {
    pub(super) name: String,
    pub(super) span: Span,
}

impl SourceName {
    /// Reads a name; variables are not expanded in it, since the stages' order must not depend on them.
    fn new(name: &str, span: Span) -> Result<Self, PlanError> {
        match name.find('$') {
            Some(dollar) if dollar + 1 < name.len() => Err(PlanErrorKind::VariableInFrom.at(span)),
            _ => Ok(Self {
                name: name.to_owned(),
                span,
            }),
        }
    }
}

/// The definition of a keyword in any case.
pub fn definition(keyword: &str) -> Option<&'static Definition> {
    ALL.iter()
        .find(|definition| definition.name.eq_ignore_ascii_case(keyword))
}

/// Checks an instruction's keyword, flags and syntax.
pub(super) fn check(instruction: &Instruction, escape: char) -> Result<&'static Definition, PlanError> {
    let definition = definition(&instruction.keyword).ok_or_else(|| {
        let kind = PlanErrorKind::UnknownInstruction {
            keyword: instruction.keyword.clone(),
        };
        kind.at(instruction.keyword_span())
    })?;
    check_flags(definition, instruction)?;
    (definition.check)(instruction, escape)?;
    (definition.sources)(instruction)?;
    Ok(definition)
}

/// Checks an instruction that ONBUILD triggers.
pub(super) fn check_trigger(instruction: &Instruction, escape: char) -> Result<(), PlanError> {
    // First of all: ONBUILD in ONBUILD in ONBUILD is refused, not descended into.
    if let Some(definition) = definition(&instruction.keyword).filter(|definition| !definition.trigger) {
        return Err(PlanErrorKind::Trigger {
            keyword: definition.name,
        }
        .at(instruction.keyword_span()));
    }
    check(instruction, escape).map(drop)
}

/// Applies an instruction that was checked.
pub(super) fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    match definition(&instruction.keyword) {
        Some(definition) => (definition.apply)(step, instruction),
        None => Ok(()),
    }
}

/// The stages, contexts and images that a checked instruction reads.
pub(super) fn sources(instruction: &Instruction) -> Result<Vec<SourceName>, PlanError> {
    definition(&instruction.keyword).map_or(Ok(Vec::new()), |definition| (definition.sources)(instruction))
}

/// Whether an instruction counts as a step of its stage.
pub(super) fn is_step(instruction: &Instruction) -> bool {
    definition(&instruction.keyword).is_some_and(|definition| definition.layer)
}

/// A flag, when given. A repeatable one's first.
pub(super) fn flag<'a>(instruction: &'a Instruction, name: &str) -> Option<&'a Flag> {
    instruction.flags.iter().find(|flag| flag.name == name)
}

/// A switch: `None` when not given.
fn switch(instruction: &Instruction, name: &str) -> Option<bool> {
    flag(instruction, name).map(|flag| flag.value.as_deref() != Some("false"))
}

fn check_flags(definition: &Definition, instruction: &Instruction) -> Result<(), PlanError> {
    let name = definition.name;
    for (i, flag) in instruction.flags.iter().enumerate() {
        let Some(known) = definition.flags.iter().find(|known| known.name == flag.name) else {
            let known = definition.flags.iter().map(|known| known.name).collect();
            return Err(PlanErrorKind::UnknownFlag {
                instruction: name,
                flag: flag.name.clone(),
                known,
            }
            .at(flag.span));
        };
        if !known.repeatable
            && instruction.flags[..i]
                .iter()
                .any(|earlier| earlier.name == flag.name)
        {
            return Err(PlanErrorKind::DuplicateFlag {
                instruction: name,
                flag: flag.name.clone(),
            }
            .at(flag.span));
        }
        match (known.value, flag.value.as_deref()) {
            (Some(value), None) => {
                let kind = PlanErrorKind::FlagWithoutValue {
                    instruction: name,
                    flag: flag.name.clone(),
                    value,
                };
                return Err(kind.at(flag.span));
            }
            (None, Some(value)) if !matches!(value, "true" | "false") => {
                return Err(invalid(&format!("--{}", flag.name), value, "true or false").at(flag.span));
            }
            _ => {}
        }
    }
    Ok(())
}

fn invalid(name: &str, value: &str, expected: &'static str) -> PlanErrorKind {
    PlanErrorKind::InvalidValue {
        name: name.to_owned(),
        value: value.to_owned(),
        expected,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the table's signature")]
fn no_sources(_: &Instruction) -> Result<Vec<SourceName>, PlanError> {
    Ok(Vec::new())
}

/// Fails without arguments.
fn some_arguments(
    instruction: &Instruction,
    name: &'static str,
    expected: &'static str,
) -> Result<(), PlanError> {
    if instruction.arguments().is_empty() {
        return Err(PlanErrorKind::Arguments {
            instruction: name,
            expected,
        }
        .at(instruction.keyword_span()));
    }
    Ok(())
}

/// Fails for a JSON array of something else than strings, and without arguments.
fn form(instruction: &Instruction, name: &'static str, expected: &'static str) -> Result<Form, PlanError> {
    some_arguments(instruction, name, expected)?;
    match instruction.form() {
        Form::NotStrings => {
            Err(PlanErrorKind::NotStrings { instruction: name }.at(instruction.arguments_span()))
        }
        form => Ok(form),
    }
}

/// The elements of an exec form, or the words of the other one.
fn list(
    instruction: &Instruction,
    name: &'static str,
    expected: &'static str,
) -> Result<Vec<Word>, PlanError> {
    match form(instruction, name, expected)? {
        Form::Exec(words) if words.is_empty() => Err(PlanErrorKind::Arguments {
            instruction: name,
            expected,
        }
        .at(instruction.arguments_span())),
        Form::Exec(words) => {
            let whole = 0..instruction.arguments().len();
            Ok(words
                .into_iter()
                .map(|text| Word {
                    text,
                    range: whole.clone(),
                })
                .collect())
        }
        _ => Ok(instruction.blank_words()),
    }
}

/// A `name=value` of ENV or LABEL, unexpanded.
struct Pair {
    name: Word,
    value: Word,
}

/// The pairs of ENV and LABEL, or the one of their old form `NAME value with blanks`.
fn pairs(instruction: &Instruction, name: &'static str, escape: char) -> Result<Vec<Pair>, PlanError> {
    some_arguments(instruction, name, "at least one name=value")?;
    let words = instruction.quoted_words(escape);
    let arguments = instruction.arguments();
    if !words.first().is_some_and(|word| word.text.contains('=')) {
        let end = arguments.find(char::is_whitespace);
        let Some(end) = end else {
            return Err(PlanErrorKind::MissingEquals {
                word: arguments.to_owned(),
            }
            .at(instruction.arguments_span()));
        };
        let start = arguments.len() - arguments[end..].trim_start().len();
        let word = |range: std::ops::Range<usize>| Word {
            text: arguments[range.clone()].to_owned(),
            range,
        };
        return Ok(vec![Pair {
            name: word(0..end),
            value: word(start..arguments.len()),
        }]);
    }
    words
        .into_iter()
        .map(|word| pair(instruction, name, &word))
        .collect()
}

fn pair(instruction: &Instruction, name: &'static str, word: &Word) -> Result<Pair, PlanError> {
    let Some(equals) = word.text.find('=') else {
        let span = instruction.span_of(word.range.clone());
        return Err(PlanErrorKind::MissingEquals {
            word: word.text.clone(),
        }
        .at(span));
    };
    let start = word.range.start;
    if equals == 0 {
        return Err(
            PlanErrorKind::EmptyName { instruction: name }.at(instruction.span_of(word.range.clone()))
        );
    }
    Ok(Pair {
        name: Word {
            text: word.text[..equals].to_owned(),
            range: start..start + equals,
        },
        value: Word {
            text: word.text[equals + 1..].to_owned(),
            range: start + equals + 1..word.range.end,
        },
    })
}

/// The pairs with variables expanded as they were before the instruction.
fn expand_pairs(
    step: &Step<'_, '_>,
    instruction: &Instruction,
    name: &'static str,
) -> Result<Vec<(String, String)>, PlanError> {
    let mut expanded = Vec::new();
    for pair in pairs(instruction, name, step.escape())? {
        let key = step.expand_word(instruction, &pair.name)?.text;
        if key.is_empty() {
            let span = instruction.span_of(pair.name.range);
            return Err(PlanErrorKind::EmptyName { instruction: name }.at(span));
        }
        expanded.push((key, step.expand_word(instruction, &pair.value)?.text));
    }
    Ok(expanded)
}

/// ` a=b c=d`.
fn pairs_history(pairs: &[(String, String)]) -> String {
    pairs
        .iter()
        .flat_map(|(name, value)| [" ", name, "=", value])
        .collect()
}

/// The whole argument, expanded, as USER, WORKDIR and STOPSIGNAL take it.
fn expand_argument(step: &Step<'_, '_>, instruction: &Instruction) -> Result<String, PlanError> {
    let text = instruction.arguments().to_owned();
    let range = 0..text.len();
    Ok(step.expand_word(instruction, &Word { text, range })?.text)
}
