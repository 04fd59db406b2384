//! `WORKDIR`: the working directory of later steps and of containers, made when it is missing.

use super::{Definition, expand_argument, no_sources, some_arguments};
use crate::dockerfile::Instruction;
use crate::plan::error::PlanError;
use crate::plan::planner::Step;
use crate::plan::state::join;
use crate::plan::{MakeDirectoryOp, Op};

pub(super) const DEFINITION: Definition = Definition {
    name: "WORKDIR",
    summary: "Sets the working directory of later steps and of containers.",
    synopsis: &["WORKDIR PATH"],
    flags: &[],
    layer: true,
    trigger: true,
    check: |instruction, _| some_arguments(instruction, "WORKDIR", "exactly one argument"),
    apply,
    sources: no_sources,
};

fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    let path = join(&step.state.directory(), &expand_argument(step, instruction)?);
    step.state.config.working_dir.clone_from(&path);
    let created_by = format!("WORKDIR {path}");
    if path == "/" {
        step.state.push_history(created_by);
        return Ok(());
    }
    let op = Op::MakeDirectory(MakeDirectoryOp {
        path,
        user: step.state.config.user.clone(),
    });
    let shown = step.shown(instruction);
    step.layer(op, Vec::new(), &shown, created_by);
    Ok(())
}
