//! `ExposeProtoCasing`: a protocol has capitals.

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "ExposeProtoCasing",
    description: "Protocol in EXPOSE instruction should be lowercase",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for instruction in facts
        .dockerfile
        .instructions
        .iter()
        .filter(|i| i.name() == "EXPOSE")
    {
        for word in instruction.blank_words() {
            let protocol = word.text.split_once('/').map_or("", |(_, protocol)| protocol);
            if !protocol.contains('$') && protocol != protocol.to_lowercase() {
                let message = format!(
                    "Defined protocol '{}' in EXPOSE instruction should be lowercase",
                    word.text
                );
                findings.push(Finding::at(instruction, instruction.span_of(word.range), message));
            }
        }
    }
}
