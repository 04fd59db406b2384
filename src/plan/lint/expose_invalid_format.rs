//! `ExposeInvalidFormat`: a host's address or port in EXPOSE.

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "ExposeInvalidFormat",
    description: "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
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
            if word.text.contains(':') && !word.text.contains('$') {
                let message = format!(
                    "EXPOSE instruction should not define an IP address or host-port mapping, found '{}'",
                    word.text
                );
                findings.push(Finding::at(instruction, instruction.span_of(word.range), message));
            }
        }
    }
}
