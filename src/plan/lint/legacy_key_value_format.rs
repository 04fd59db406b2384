//! `LegacyKeyValueFormat`: `ENV key value` or `LABEL key value`.

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "LegacyKeyValueFormat",
    description: "Legacy key/value format with whitespace separator should not be used",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let escape = facts.dockerfile.directives.escape;
    for instruction in &facts.dockerfile.instructions {
        let name = instruction.name();
        let is_legacy = || {
            instruction
                .quoted_words(escape)
                .first()
                .is_some_and(|word| !word.text.contains('='))
        };
        if matches!(name.as_str(), "ENV" | "LABEL") && is_legacy() {
            let message =
                format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
            findings.push(Finding::at(instruction, instruction.arguments_span(), message));
        }
    }
}
