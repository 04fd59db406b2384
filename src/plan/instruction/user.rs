//! `USER`: who later steps and containers run as. Looked up in the image when a step runs.

use super::{Definition, expand_argument, no_sources, some_arguments};
use crate::dockerfile::Instruction;
use crate::plan::error::PlanError;
use crate::plan::planner::Step;

pub(super) const DEFINITION: Definition = Definition {
    name: "USER",
    summary: "Sets the user and group of later steps and of containers.",
    synopsis: &["USER USER[:GROUP]", "USER UID[:GID]"],
    flags: &[],
    layer: false,
    trigger: true,
    check: |instruction, _| some_arguments(instruction, "USER", "exactly one argument"),
    apply,
    sources: no_sources,
};

fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    let user = expand_argument(step, instruction)?;
    step.state.push_history(format!("USER {user}"));
    step.state.config.user = user;
    Ok(())
}
