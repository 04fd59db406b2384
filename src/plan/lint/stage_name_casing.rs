//! `StageNameCasing`: a stage's name has capitals.

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "StageNameCasing",
    description: "Stage names should be lowercase",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for stage in &facts.stages.stages {
        let Some(name) = stage.from.blank_words().into_iter().nth(2) else {
            continue;
        };
        if name.text != name.text.to_lowercase() {
            let message = format!("Stage name '{}' should be lowercase", name.text);
            findings.push(Finding::at(&stage.from, stage.from.span_of(name.range), message));
        }
    }
}
