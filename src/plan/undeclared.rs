//! Build arguments that are given but declared nowhere: most often a misspelt name, which a build would silently ignore.

use super::{PROXIES, PlanInput, stages};
use crate::dockerfile::{Dockerfile, Instruction};

/// The names of `input.build_args` that no ARG declares: none of any stage, of a trigger, or of the bases' triggers. Proxies, the
/// platforms' arguments and what the builder itself reads (`BUILDKIT_...`, `SOURCE_DATE_EPOCH`) need no ARG.
pub fn undeclared_args(dockerfile: &Dockerfile, input: &PlanInput) -> Vec<String> {
    let escape = dockerfile.directives.escape;
    let mut declared: Vec<String> = Vec::new();
    for instruction in &dockerfile.instructions {
        match instruction.name().as_str() {
            "ARG" => declared.extend(names(instruction, escape)),
            "ONBUILD" => {
                let nested = instruction.nested().ok();
                let nested = nested.filter(|nested| nested.name() == "ARG");
                declared.extend(nested.iter().flat_map(|nested| names(nested, escape)));
            }
            _ => {}
        }
    }
    for trigger in input.bases.values().flat_map(|base| &base.config.config.on_build) {
        let mut words = trigger.split_whitespace();
        if words.next().is_some_and(|word| word.eq_ignore_ascii_case("ARG")) {
            declared.extend(words.map(name));
        }
    }
    let automatic = stages::automatic(input);
    let known = |given: &str| {
        declared.iter().any(|name| name == given)
            || PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(given))
            || automatic.get(given).is_some()
            || given.starts_with("BUILDKIT_")
            || given == "SOURCE_DATE_EPOCH"
    };
    let given = input.build_args.keys();
    given.filter(|given| !known(given)).cloned().collect()
}

fn names(instruction: &Instruction, escape: char) -> Vec<String> {
    let words = instruction.quoted_words(escape);
    words.iter().map(|word| name(&word.text)).collect()
}

fn name(word: &str) -> String {
    word.split('=').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile;
    use crate::oci::platform::Platform;

    #[test]
    fn arguments_without_a_declaration_are_named() {
        let text = "ARG GLOBAL=1\nFROM a\nARG ONE TWO=2\nONBUILD ARG LATER\nFROM b\nRUN true\n";
        let dockerfile = dockerfile::parse(text).unwrap();
        let mut input = PlanInput::new(Platform::host());
        for name in [
            "GLOBAL",
            "ONE",
            "TWO",
            "LATER",
            "http_proxy",
            "TARGETARCH",
            "BUILDKIT_INLINE_CACHE",
            "TYPO",
            "one",
        ] {
            input.build_args.insert(name.to_owned(), Some("x".to_owned()));
        }
        assert_eq!(undeclared_args(&dockerfile, &input), ["TYPO", "one"]);
    }
}
