//! `ONBUILD`: stores an instruction in the image, for the builds that start from it.

use super::{Definition, check_trigger, no_sources};
use crate::dockerfile::Instruction;
use crate::plan::error::PlanError;
use crate::plan::planner::Step;

pub(super) const DEFINITION: Definition = Definition {
    name: "ONBUILD",
    summary: "Adds an instruction for builds that use the image as their base.",
    synopsis: &["ONBUILD INSTRUCTION"],
    flags: &[],
    layer: false,
    trigger: false,
    check: |instruction, escape| check_trigger(&instruction.nested()?, escape),
    apply,
    sources: no_sources,
};

fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    step.state.config.on_build.push(instruction.nested()?.trigger());
    Ok(())
}
