//! `JSONArgsRecommended`: CMD or ENTRYPOINT in shell form, without a SHELL that says it is meant.

use crate::dockerfile::Form;
use crate::plan::stages::Base;

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "JSONArgsRecommended",
    description: "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let mut has_shell = Vec::new();
    for stage in &facts.stages.stages {
        let mut shell = match &stage.base {
            Base::Scratch => false,
            Base::Stage(index) => has_shell.get(*index).copied().unwrap_or(false),
            Base::Image(op) => facts
                .input
                .bases
                .get(op)
                .is_some_and(|base| base.config.config.shell.is_some()),
        };
        for instruction in &stage.instructions {
            let name = instruction.name();
            match name.as_str() {
                "SHELL" => shell = true,
                "CMD" | "ENTRYPOINT" if !shell && matches!(instruction.form(), Form::Shell(_)) => {
                    let message = format!(
                        "JSON arguments recommended for {name} to prevent unintended behavior related to OS signals"
                    );
                    findings.push(Finding::at(instruction, instruction.keyword_span(), message));
                }
                _ => {}
            }
        }
        has_shell.push(shell);
    }
}
