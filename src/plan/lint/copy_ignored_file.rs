//! `CopyIgnoredFile`: a source of COPY or ADD is not in the context.

use crate::plan::instruction::{copy, flag};

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "CopyIgnoredFile",
    description: "Attempting to Copy file that is excluded by .dockerignore",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let Some(ignore) = facts.ignore else { return };
    for instruction in &facts.dockerfile.instructions {
        let name = instruction.name();
        if !matches!(name.as_str(), "COPY" | "ADD") || flag(instruction, "from").is_some() {
            continue;
        }
        for word in copy::source_words(instruction) {
            let path = copy::clean_source(&word.text, false);
            // A pattern may match something else, and what a variable holds is not known here.
            let is_plain =
                !word.text.contains(['*', '?', '[', '$', '\\']) && !copy::is_url(&word.text) && path != ".";
            if is_plain && ignore.matches(&path) && !ignore.may_contain_reincluded(&path) {
                let verb = if name == "ADD" { "Add" } else { "Copy" };
                let message = format!(
                    "Attempting to {verb} file \"{}\" that is excluded by .dockerignore",
                    word.text
                );
                findings.push(Finding::at(instruction, instruction.span_of(word.range), message));
            }
        }
    }
}
