//! `ReservedStageName`: a stage is named scratch or context.

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "ReservedStageName",
    description: "Reserved words should not be used as stage names",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for stage in &facts.stages.stages {
        if let Some(name @ ("scratch" | "context")) = stage.name.as_deref() {
            let message = format!("'{name}' is reserved and should not be used as a stage name");
            findings.push(Finding::at(&stage.from, stage.from.arguments_span(), message));
        }
    }
}
