//! `ARG`: declares build arguments, for the stage or, before the first FROM, for FROMs.

use super::{Definition, no_sources, some_arguments};
use crate::dockerfile::expansion::Expander;
use crate::dockerfile::{Instruction, Word};
use crate::plan::PlanInput;
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::planner::Step;
use crate::plan::variables::Variables;

pub(super) const DEFINITION: Definition = Definition {
    name: "ARG",
    summary: "Declares variables that --build-arg may set.",
    synopsis: &["ARG NAME[=DEFAULT] [NAME[=DEFAULT] ...]"],
    flags: &[],
    layer: false,
    trigger: true,
    check,
    apply,
    sources: no_sources,
};

/// `NAME` or `NAME=DEFAULT`, unexpanded.
struct Argument {
    name: Word,
    default: Option<Word>,
}

fn check(instruction: &Instruction, escape: char) -> Result<(), PlanError> {
    some_arguments(instruction, "ARG", "at least one name")?;
    arguments(instruction, escape).map(drop)
}

fn arguments(instruction: &Instruction, escape: char) -> Result<Vec<Argument>, PlanError> {
    let mut arguments = Vec::new();
    for word in instruction.quoted_words(escape) {
        let Word { text, range } = word;
        let Some(equals) = text.find('=') else {
            arguments.push(Argument {
                name: Word { text, range },
                default: None,
            });
            continue;
        };
        if equals == 0 {
            return Err(PlanErrorKind::EmptyName { instruction: "ARG" }.at(instruction.span_of(range)));
        }
        let name = Word {
            text: text[..equals].to_owned(),
            range: range.start..range.start + equals,
        };
        let default = Word {
            text: text[equals + 1..].to_owned(),
            range: range.start + equals + 1..range.end,
        };
        arguments.push(Argument {
            name,
            default: Some(default),
        });
    }
    Ok(arguments)
}

/// Declares the ARGs before the first FROM. A default may use those above it.
pub(in crate::plan) fn declare_global(
    instruction: &Instruction,
    escape: char,
    input: &PlanInput,
    globals: &mut Variables,
) -> Result<(), PlanError> {
    for argument in arguments(instruction, escape)? {
        let lookup = |name: &str| globals.get(name).cloned();
        let expander = Expander {
            escape,
            quotes: true,
            lookup: &lookup,
        };
        let expand = |word: &Word| {
            let text = expander.expand(&word.text).map(|expanded| expanded.text);
            text.map_err(|error| {
                PlanErrorKind::Expansion(error.kind).at(instruction.span_of(word.range.clone()))
            })
        };
        let name = expand(&argument.name)?;
        let value = match (input.build_arg(&name), &argument.default) {
            (Some(value), _) => Some(value.to_owned()),
            (None, Some(default)) => Some(expand(default)?),
            (None, None) => None,
        };
        if let Some(value) = value {
            globals.set(&name, value);
        }
    }
    Ok(())
}

fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    let mut history = String::from("ARG");
    for argument in arguments(instruction, step.escape())? {
        let name = step.expand_word(instruction, &argument.name)?.text;
        let value = match (step.input().build_arg(&name), &argument.default) {
            (Some(value), _) => Some(value.to_owned()),
            (None, Some(default)) => Some(step.expand_word(instruction, default)?.text),
            (None, None) => step.global(&name).map(str::to_owned),
        };
        history.push(' ');
        history.push_str(&name);
        if let Some(value) = &value {
            history.push('=');
            history.push_str(value);
        }
        step.state.args.set(&name, value);
    }
    step.state.push_history(history);
    Ok(())
}
