//! `SHELL`: the shell of later shell forms.

use super::{Definition, form, no_sources};
use crate::dockerfile::{Form, Instruction};
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::history;
use crate::plan::planner::Step;

pub(super) const DEFINITION: Definition = Definition {
    name: "SHELL",
    summary: "Sets the shell of later shell forms.",
    synopsis: &["SHELL [\"EXECUTABLE\", \"ARGUMENT\", ...]"],
    flags: &[],
    layer: false,
    trigger: true,
    check: |instruction, _| words(instruction).map(drop),
    apply,
    sources: no_sources,
};

fn words(instruction: &Instruction) -> Result<Vec<String>, PlanError> {
    let expected = "a JSON array of strings, such as [\"/bin/bash\", \"-c\"]";
    match form(instruction, "SHELL", expected)? {
        Form::Exec(words) if !words.is_empty() => Ok(words),
        _ => Err(PlanErrorKind::Arguments {
            instruction: "SHELL",
            expected,
        }
        .at(instruction.arguments_span())),
    }
}

fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    let words = words(instruction)?;
    step.state
        .push_history(format!("SHELL {}", history::plain(&words)));
    step.state.config.shell = Some(words);
    Ok(())
}
