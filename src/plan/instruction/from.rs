//! `FROM`: starts a stage. What it names is resolved in `stages`.

use super::{Definition, FlagDefinition, no_sources};
use crate::dockerfile::Instruction;
use crate::plan::error::{PlanError, PlanErrorKind};

pub(super) const DEFINITION: Definition = Definition {
    name: "FROM",
    summary: "Starts a build stage from a base image, an earlier stage, or nothing.",
    synopsis: &["FROM [--platform=PLATFORM] IMAGE[:TAG][@DIGEST] [AS NAME]"],
    flags: &[FlagDefinition::value(
        "platform",
        "PLATFORM",
        "the platform of a multi-platform image",
    )],
    layer: false,
    trigger: false,
    check,
    apply: |_, _| Ok(()),
    sources: no_sources,
};

fn check(instruction: &Instruction, _: char) -> Result<(), PlanError> {
    stage_name(instruction).map(drop)
}

/// The stage's name in lower case.
pub(in crate::plan) fn stage_name(instruction: &Instruction) -> Result<Option<String>, PlanError> {
    let words = instruction.blank_words();
    match &words[..] {
        [_] => Ok(None),
        [_, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => {
            let lower = name.text.to_lowercase();
            let is_name = lower.starts_with(|c: char| c.is_ascii_lowercase())
                && lower
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'));
            if is_name {
                Ok(Some(lower))
            } else {
                Err(PlanErrorKind::StageName {
                    name: name.text.clone(),
                }
                .at(instruction.span_of(name.range.clone())))
            }
        }
        _ => {
            let kind = PlanErrorKind::Arguments {
                instruction: "FROM",
                expected: "one argument, or three: BASE AS NAME",
            };
            Err(kind.at(instruction.arguments_span()))
        }
    }
}
