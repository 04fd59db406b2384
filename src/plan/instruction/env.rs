//! `ENV`: environment variables of later steps and of containers.

use super::{Definition, expand_pairs, no_sources, pairs, pairs_history};
use crate::dockerfile::Instruction;
use crate::plan::error::PlanError;
use crate::plan::planner::Step;

pub(super) const DEFINITION: Definition = Definition {
    name: "ENV",
    summary: "Sets environment variables.",
    synopsis: &["ENV NAME=VALUE [NAME=VALUE ...]"],
    flags: &[],
    layer: false,
    trigger: true,
    check: |instruction, escape| pairs(instruction, "ENV", escape).map(drop),
    apply,
    sources: no_sources,
};

fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    let pairs = expand_pairs(step, instruction, "ENV")?;
    step.state.push_history(format!("ENV{}", pairs_history(&pairs)));
    for (name, value) in pairs {
        step.state.env.set(&name, value);
    }
    Ok(())
}
