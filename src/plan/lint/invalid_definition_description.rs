//! `InvalidDefinitionDescription`: a comment above FROM or ARG that does not begin with its name.

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "InvalidDefinitionDescription",
    description: "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`",
    experimental: true,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let escape = facts.dockerfile.directives.escape;
    for instruction in &facts.dockerfile.instructions {
        let names: Vec<String> = match instruction.name().as_str() {
            "FROM" => instruction
                .blank_words()
                .into_iter()
                .nth(2)
                .map(|word| word.text)
                .into_iter()
                .collect(),
            "ARG" => {
                let words = instruction.quoted_words(escape).into_iter();
                words
                    .map(|word| word.text.split('=').next().unwrap_or_default().to_owned())
                    .collect()
            }
            _ => continue,
        };
        let describes = |comment: &String| {
            names
                .iter()
                .any(|name| comment.split_whitespace().next() == Some(name))
        };
        if !instruction.comments.is_empty()
            && !names.is_empty()
            && !instruction.comments.iter().any(describes)
        {
            let message = "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. \
                If this is not intended to be a description comment, add an empty line or comment between the instruction \
                and the comment.";
            findings.push(Finding::at(instruction, instruction.keyword_span(), message));
        }
    }
}
