//! `DuplicateStageName`: two stages have one name.

use std::collections::BTreeSet;

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "DuplicateStageName",
    description: "Stage names should be unique",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let mut seen = BTreeSet::new();
    for stage in &facts.stages.stages {
        let Some(name) = &stage.name else { continue };
        if !seen.insert(name) {
            let message = format!("Duplicate stage name '{name}', stage names should be unique");
            findings.push(Finding::at(&stage.from, stage.from.arguments_span(), message));
        }
    }
}
