//! `NoEmptyContinuation`: an empty line inside an instruction.

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "NoEmptyContinuation",
    description: "Empty continuation lines will become errors in a future release",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for instruction in facts
        .dockerfile
        .instructions
        .iter()
        .filter(|i| i.empty_continuation.is_some())
    {
        let message = format!("Empty continuation line found in: {}", instruction.source());
        findings.push(Finding::at(instruction, instruction.keyword_span(), message));
    }
}
