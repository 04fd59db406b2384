//! `MAINTAINER`: the image's author. Deprecated.

use super::{Definition, no_sources, some_arguments};
use crate::dockerfile::Instruction;
use crate::plan::error::PlanError;
use crate::plan::planner::Step;

pub(super) const DEFINITION: Definition = Definition {
    name: "MAINTAINER",
    summary: "Sets the author (deprecated: use LABEL org.opencontainers.image.authors).",
    synopsis: &["MAINTAINER NAME"],
    flags: &[],
    layer: false,
    trigger: false,
    check: |instruction, _| some_arguments(instruction, "MAINTAINER", "a name"),
    apply,
    sources: no_sources,
};

#[expect(clippy::unnecessary_wraps, reason = "the table's signature")]
fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    instruction.arguments().clone_into(&mut step.state.author);
    step.state
        .push_history(format!("MAINTAINER {}", instruction.arguments()));
    Ok(())
}
