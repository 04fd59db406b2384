//! `LABEL`: metadata of the image.

use super::{Definition, expand_pairs, no_sources, pairs, pairs_history};
use crate::dockerfile::Instruction;
use crate::plan::error::PlanError;
use crate::plan::planner::Step;

pub(super) const DEFINITION: Definition = Definition {
    name: "LABEL",
    summary: "Adds metadata to the image.",
    synopsis: &["LABEL KEY=VALUE [KEY=VALUE ...]"],
    flags: &[],
    layer: false,
    trigger: true,
    check: |instruction, escape| pairs(instruction, "LABEL", escape).map(drop),
    apply,
    sources: no_sources,
};

fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    let pairs = expand_pairs(step, instruction, "LABEL")?;
    step.state.push_history(format!("LABEL{}", pairs_history(&pairs)));
    step.state.config.labels.extend(pairs);
    Ok(())
}
