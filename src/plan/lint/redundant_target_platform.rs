//! `RedundantTargetPlatform`: `FROM --platform=$TARGETPLATFORM`.

use crate::plan::instruction::flag;

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "RedundantTargetPlatform",
    description: "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for stage in &facts.stages.stages {
        let Some(flag) = flag(&stage.from, "platform") else {
            continue;
        };
        if matches!(
            flag.value.as_deref(),
            Some("$TARGETPLATFORM" | "${TARGETPLATFORM}")
        ) {
            let message = "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior";
            findings.push(Finding::at(&stage.from, flag.span, message));
        }
    }
}
