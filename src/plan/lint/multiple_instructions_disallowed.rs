//! `MultipleInstructionsDisallowed`: only the last CMD, ENTRYPOINT or HEALTHCHECK of a stage counts.

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "MultipleInstructionsDisallowed",
    description: "Multiple instructions of the same type should not be used in the same stage",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for stage in &facts.stages.stages {
        for name in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
            let all: Vec<_> = stage.instructions.iter().filter(|i| i.name() == name).collect();
            let Some((_, overridden)) = all.split_last() else {
                continue;
            };
            for instruction in overridden {
                let message = format!(
                    "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
                );
                findings.push(Finding::at(instruction, instruction.keyword_span(), message));
            }
        }
    }
}
