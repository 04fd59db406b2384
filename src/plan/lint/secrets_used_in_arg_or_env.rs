//! `SecretsUsedInArgOrEnv`: an ARG or ENV is named as secrets are.

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "SecretsUsedInArgOrEnv",
    description: "Sensitive data should not be used in the ARG or ENV commands",
    experimental: false,
    check,
};

const WORDS: &[&str] = &[
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let escape = facts.dockerfile.directives.escape;
    for instruction in &facts.dockerfile.instructions {
        let command = instruction.name();
        if !matches!(command.as_str(), "ARG" | "ENV") {
            continue;
        }
        let words = instruction.quoted_words(escape);
        let is_legacy = command == "ENV" && words.first().is_some_and(|word| !word.text.contains('='));
        for word in words.into_iter().take(if is_legacy { 1 } else { usize::MAX }) {
            let name = word.text.split('=').next().unwrap_or_default();
            if is_secret(name) {
                let message = format!(
                    "Potentially sensitive data should not be used in the ARG or ENV commands ({command} \"{name}\")"
                );
                findings.push(Finding::at(instruction, instruction.span_of(word.range), message));
            }
        }
    }
}

/// Whether a variable's name says that it holds a secret.
pub(in crate::plan) fn is_secret(name: &str) -> bool {
    let lower = name.to_lowercase();
    let mut parts = lower.split('_');
    parts.clone().any(|part| WORDS.contains(&part)) && !parts.any(|part| part == "public")
}
