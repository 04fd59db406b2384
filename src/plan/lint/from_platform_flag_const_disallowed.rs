//! `FromPlatformFlagConstDisallowed`: `FROM --platform=linux/amd64`, in a stage whose name does not say so.

use crate::oci::platform::Platform;
use crate::plan::instruction::flag;

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "FromPlatformFlagConstDisallowed",
    description: "FROM --platform flag should not use a constant value",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for stage in &facts.stages.stages {
        let Some(flag) = flag(&stage.from, "platform") else {
            continue;
        };
        let value = flag.value.as_deref().unwrap_or_default();
        let Ok(platform) = Platform::parse(value) else {
            continue;
        };
        let says_so = stage.name.as_ref().is_some_and(|name| {
            name.contains(platform.os.as_str()) || name.contains(platform.architecture.as_str())
        });
        if !says_so {
            let message = format!("FROM --platform flag should not use constant value \"{value}\"");
            findings.push(Finding::at(&stage.from, flag.span, message));
        }
    }
}
