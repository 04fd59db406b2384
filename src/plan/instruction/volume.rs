//! `VOLUME`: mount points of containers. Later steps keep what they change below them, as BuildKit does.

use super::{Definition, list, no_sources};
use crate::dockerfile::Instruction;
use crate::oci::config::Empty;
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::history;
use crate::plan::planner::Step;

pub(super) const DEFINITION: Definition = Definition {
    name: "VOLUME",
    summary: "Declares mount points for data that outlives containers.",
    synopsis: &["VOLUME [\"PATH\", ...]", "VOLUME PATH ..."],
    flags: &[],
    layer: false,
    trigger: true,
    check: |instruction, _| list(instruction, "VOLUME", "at least one path").map(drop),
    apply,
    sources: no_sources,
};

fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    let mut volumes = Vec::new();
    for word in list(instruction, "VOLUME", "at least one path")? {
        let volume = step.expand_word(instruction, &word)?.text;
        if volume.is_empty() {
            return Err(PlanErrorKind::EmptyName {
                instruction: "VOLUME",
            }
            .at(instruction.span_of(word.range)));
        }
        volumes.push(volume);
    }
    step.state
        .push_history(format!("VOLUME {}", history::plain(&volumes)));
    step.state
        .config
        .volumes
        .extend(volumes.into_iter().map(|volume| (volume, Empty {})));
    Ok(())
}
