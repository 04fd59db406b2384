//! `WorkdirRelativePath`: the first WORKDIR is relative.

use crate::plan::stages::Base;

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "WorkdirRelativePath",
    description: "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let mut is_set = Vec::new();
    for stage in &facts.stages.stages {
        let mut set = match stage.base {
            Base::Stage(index) => is_set.get(index).copied().unwrap_or(false),
            _ => false,
        };
        for instruction in stage.instructions.iter().filter(|i| i.name() == "WORKDIR") {
            let path = instruction.arguments();
            // What a variable holds is not known here.
            if !set && !path.trim_start_matches(['"', '\'']).starts_with(['/', '$']) {
                let message = format!(
                    "Relative workdir '{path}' can have unexpected results if the base image changes"
                );
                findings.push(Finding::at(instruction, instruction.arguments_span(), message));
            }
            set = true;
        }
        is_set.push(set);
    }
}
