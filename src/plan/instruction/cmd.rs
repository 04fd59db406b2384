//! `CMD`: the default command, or the default arguments of the entrypoint.

use super::{Definition, form, no_sources};
use crate::dockerfile::{Form, Instruction};
use crate::plan::error::PlanError;
use crate::plan::history;
use crate::plan::planner::Step;

pub(super) const DEFINITION: Definition = Definition {
    name: "CMD",
    summary: "Sets the default command of containers.",
    synopsis: &["CMD [\"COMMAND\", \"ARGUMENT\", ...]", "CMD COMMAND ARGUMENT ..."],
    flags: &[],
    layer: false,
    trigger: true,
    check: |instruction, _| form(instruction, "CMD", "a command").map(drop),
    apply,
    sources: no_sources,
};

/// The words of a CMD or ENTRYPOINT.
pub(super) fn command(
    step: &Step<'_, '_>,
    instruction: &Instruction,
    name: &'static str,
) -> Result<Vec<String>, PlanError> {
    Ok(match form(instruction, name, "a command")? {
        Form::Exec(words) => words,
        _ => step.state.shell(instruction.arguments()),
    })
}

fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    let words = command(step, instruction, "CMD")?;
    step.state
        .push_history(format!("CMD {}", history::quoted(&words)));
    step.state.config.cmd = Some(words);
    step.state.has_cmd = true;
    Ok(())
}
