//! `MaintainerDeprecated`: there is a MAINTAINER.

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "MaintainerDeprecated",
    description: "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for instruction in facts
        .dockerfile
        .instructions
        .iter()
        .filter(|i| i.name() == "MAINTAINER")
    {
        let message = "MAINTAINER instruction is deprecated in favor of using label";
        findings.push(Finding::at(instruction, instruction.keyword_span(), message));
    }
}
