//! `FromAsCasing`: FROM and AS are not of one case.

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "FromAsCasing",
    description: "The 'as' keyword should match the case of the 'from' keyword",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for stage in &facts.stages.stages {
        let Some(keyword) = stage.from.blank_words().into_iter().nth(1) else {
            continue;
        };
        let is_lower = |text: &str| text == text.to_lowercase();
        let from = &stage.from.keyword;
        if is_lower(from) != is_lower(&keyword.text) {
            let message = format!("'{}' and '{from}' keywords' casing do not match", keyword.text);
            findings.push(Finding::at(
                &stage.from,
                stage.from.span_of(keyword.range),
                message,
            ));
        }
    }
}
