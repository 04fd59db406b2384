//! `InvalidDefaultArgInFrom`: FROM needs a --build-arg to name an image.

use std::collections::BTreeMap;

use crate::dockerfile::expansion::Expander;
use crate::oci::reference::Reference;
use crate::plan::PlanInput;
use crate::plan::stages::Stages;

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "InvalidDefaultArgInFrom",
    description: "Default value for global ARG results in an empty or invalid base image name",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let without = PlanInput {
        build_args: BTreeMap::new(),
        ..facts.input.clone()
    };
    let escape = facts.dockerfile.directives.escape;
    let Ok(globals) = Stages::globals(facts.dockerfile, &without) else {
        return;
    };
    let lookup = |name: &str| globals.get(name).cloned();
    let expander = Expander {
        escape,
        quotes: true,
        lookup: &lookup,
    };
    for stage in &facts.stages.stages {
        let Some(word) = stage.from.blank_words().into_iter().next() else {
            continue;
        };
        let is_valid = expander
            .expand(&word.text)
            .is_ok_and(|base| Reference::parse(&base.text).is_ok());
        if !is_valid {
            let message = format!(
                "Default value for ARG {} results in an empty or invalid base image name",
                word.text
            );
            findings.push(Finding::at(&stage.from, stage.from.span_of(word.range), message));
        }
    }
}
