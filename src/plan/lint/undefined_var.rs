//! `UndefinedVar`: an instruction uses a variable that nothing defines.

use super::{Facts, Finding, Rule};

pub(super) const RULE: Rule = Rule {
    name: "UndefinedVar",
    description: "Variables should be defined before their use",
    experimental: false,
    check,
};

fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for undefined in facts.undefined {
        let near = undefined
            .near
            .as_ref()
            .map(|near| format!(" (did you mean ${near}?)"))
            .unwrap_or_default();
        findings.push(Finding {
            message: format!("Usage of undefined variable '${}'{near}", undefined.name),
            span: undefined.span,
            lines: (undefined.lines.first, undefined.lines.last),
        });
    }
}
