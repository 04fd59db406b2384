//! `UndefinedArgInFrom`: FROM uses a variable that no ARG before the first FROM declares.

use crate::dockerfile::expansion::Expander;
use crate::dockerfile::{Dockerfile, diagnostic};
use crate::plan::instruction::flag;

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "UndefinedArgInFrom",
    description: "FROM command must use declared ARGs",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let escape = facts.dockerfile.directives.escape;
    let declared: Vec<String> = global_names(facts.dockerfile)
        .into_iter()
        .chain(facts.stages.globals.iter().map(|(name, _)| name.to_owned()))
        .collect();
    let lookup = |name: &str| facts.stages.globals.get(name).cloned();
    let expander = Expander {
        escape,
        quotes: true,
        lookup: &lookup,
    };
    for stage in &facts.stages.stages {
        let base = stage.from.blank_words().into_iter().next().map(|word| word.text);
        let platform = flag(&stage.from, "platform").and_then(|flag| flag.value.clone());
        for text in [base, platform].into_iter().flatten() {
            let Ok(text) = expander.expand(&text) else {
                continue;
            };
            for name in text.unset.iter().filter(|name| !declared.contains(name)) {
                let hint = diagnostic::did_you_mean(name, declared.iter().map(String::as_str));
                let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                let message = format!("FROM argument '{name}' is not declared{hint}");
                findings.push(Finding::at(&stage.from, stage.from.arguments_span(), message));
            }
        }
    }
}

/// The names that ARGs before the first FROM declare.
pub(super) fn global_names(dockerfile: &Dockerfile) -> Vec<String> {
    let escape = dockerfile.directives.escape;
    let globals = dockerfile
        .instructions
        .iter()
        .take_while(|instruction| instruction.name() != "FROM");
    let words = globals
        .filter(|i| i.name() == "ARG")
        .flat_map(|i| i.quoted_words(escape));
    words
        .map(|word| word.text.split('=').next().unwrap_or_default().to_owned())
        .collect()
}
