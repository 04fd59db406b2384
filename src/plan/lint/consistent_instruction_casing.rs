//! `ConsistentInstructionCasing`: a keyword is not of the case that most are of.

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "ConsistentInstructionCasing",
    description: "All commands within the Dockerfile should use the same casing (either upper or lower)",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let instructions = &facts.dockerfile.instructions;
    let is_lower = |keyword: &str| keyword.bytes().all(|b| b.is_ascii_lowercase());
    let is_upper = |keyword: &str| keyword.bytes().all(|b| b.is_ascii_uppercase());
    let lower = instructions.iter().filter(|i| is_lower(&i.keyword)).count();
    let upper = instructions.iter().filter(|i| is_upper(&i.keyword)).count();
    for instruction in instructions {
        let keyword = &instruction.keyword;
        let is_consistent = if lower > upper {
            is_lower(keyword)
        } else {
            is_upper(keyword)
        };
        if !is_consistent {
            let message = format!("Command '{keyword}' should be consistently cased");
            findings.push(Finding::at(instruction, instruction.keyword_span(), message));
        }
    }
}
