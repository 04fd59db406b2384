//! `ENTRYPOINT`: what containers run. It resets a CMD that the base set: reference, "Understand how CMD and ENTRYPOINT interact".

use super::cmd::command;
use super::{Definition, form, no_sources};
use crate::dockerfile::Instruction;
use crate::plan::error::PlanError;
use crate::plan::history;
use crate::plan::planner::Step;

pub(super) const DEFINITION: Definition = Definition {
    name: "ENTRYPOINT",
    summary: "Sets the executable of containers; CMD and arguments are appended to it.",
    synopsis: &[
        "ENTRYPOINT [\"COMMAND\", \"ARGUMENT\", ...]",
        "ENTRYPOINT COMMAND ARGUMENT ...",
    ],
    flags: &[],
    layer: false,
    trigger: true,
    check: |instruction, _| form(instruction, "ENTRYPOINT", "a command").map(drop),
    apply,
    sources: no_sources,
};

fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    let words = command(step, instruction, "ENTRYPOINT")?;
    step.state
        .push_history(format!("ENTRYPOINT {}", history::quoted(&words)));
    if !step.state.has_cmd {
        step.state.config.cmd = None;
    }
    // `ENTRYPOINT []` takes the base's away.
    step.state.config.entrypoint = (!words.is_empty()).then_some(words);
    Ok(())
}
