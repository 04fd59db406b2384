//! Build checks: what builds, but had better be written otherwise.
//!
//! In: a Dockerfile that plans, the plan's input, and the context's ignore file. Out: warnings. One file for each rule, listed in
//! [`RULES`]. The rules live here and not with the syntax, since most need stages, arguments or variables. Spec: Dockerfile
//! reference, "check"; the build checks reference, whose names and messages these are.

mod consistent_instruction_casing;
mod copy_ignored_file;
mod duplicate_stage_name;
mod expose_invalid_format;
mod expose_proto_casing;
mod from_as_casing;
mod from_platform_flag_const_disallowed;
mod invalid_default_arg_in_from;
mod invalid_definition_description;
mod json_args_recommended;
mod legacy_key_value_format;
mod maintainer_deprecated;
mod multiple_instructions_disallowed;
mod no_empty_continuation;
mod redundant_target_platform;
mod reserved_stage_name;
mod secrets_used_in_arg_or_env;
mod stage_name_casing;
mod undefined_arg_in_from;
mod undefined_var;
mod workdir_relative_path;

use std::ops::RangeInclusive;

use serde::Serialize;

use super::error::{PlanError, PlanErrorKind};
use super::planner::{self, Undefined};
use super::stages::{Stage, Stages};
use super::{Lines, PlanInput};
use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::{Dockerfile, Instruction, Span, diagnostic};

/// Every rule.
pub const RULES: &[Rule] = &[
    stage_name_casing::RULE,
    from_as_casing::RULE,
    no_empty_continuation::RULE,
    consistent_instruction_casing::RULE,
    duplicate_stage_name::RULE,
    reserved_stage_name::RULE,
    json_args_recommended::RULE,
    maintainer_deprecated::RULE,
    undefined_arg_in_from::RULE,
    workdir_relative_path::RULE,
    undefined_var::RULE,
    multiple_instructions_disallowed::RULE,
    legacy_key_value_format::RULE,
    redundant_target_platform::RULE,
    secrets_used_in_arg_or_env::RULE,
    invalid_default_arg_in_from::RULE,
    from_platform_flag_const_disallowed::RULE,
    copy_ignored_file::RULE,
    invalid_definition_description::RULE,
    expose_proto_casing::RULE,
    expose_invalid_format::RULE,
];

/// A rule of the build checks.
pub struct Rule {
    /// As the reference names it, and `# check=skip=` with it.
    pub name: &'static str,
    /// What it asks for, in one sentence.
    pub description: &'static str,
    /// Whether it runs only when asked for by `experimental=`.
    pub experimental: bool,
    check: fn(&Facts<'_>, &mut Vec<Finding>),
}

impl Rule {
    /// The rule's page.
    pub fn url(&self) -> String {
        let mut page = String::new();
        let name: Vec<char> = self.name.chars().collect();
        for (i, c) in name.iter().enumerate() {
            let starts_word = c.is_uppercase()
                && i > 0
                && (name[i - 1].is_lowercase() || name.get(i + 1).is_some_and(|next| next.is_lowercase()));
            page.extend(starts_word.then_some('-'));
            page.push(c.to_ascii_lowercase());
        }
        format!("https://docs.docker.com/go/dockerfile/rule/{page}/")
    }
}

/// What the rules look at.
struct Facts<'a> {
    dockerfile: &'a Dockerfile,
    stages: &'a Stages,
    input: &'a PlanInput,
    ignore: Option<&'a Ignore>,
    undefined: &'a [Undefined],
}

/// What a rule found.
struct Finding {
    message: String,
    span: Span,
    lines: (usize, usize),
}

impl Finding {
    fn at(instruction: &Instruction, span: Span, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span,
            lines: instruction.lines,
        }
    }
}

/// A warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The rule's name.
    pub rule: &'static str,
    /// The rule's description.
    pub description: &'static str,
    /// The rule's page.
    pub url: String,
    /// What is wrong here.
    pub message: String,
    /// The instruction's lines.
    pub lines: Lines,
    /// The place.
    #[serde(skip)]
    pub span: Span,
}

impl Warning {
    /// One line: `JSONArgsRecommended: JSON arguments recommended for CMD ... (line 3)`.
    pub fn summary(&self) -> String {
        format!("{}: {} (line {})", self.rule, self.message, self.lines.first)
    }

    /// The warning with its line and a caret. `text` is the Dockerfile.
    pub fn render(&self, source_name: &str, text: &str) -> String {
        let message = format!("{}: {}", self.rule, self.message);
        diagnostic::render(
            source_name,
            text,
            Some(self.span),
            &message,
            Some(&format!("see {}", self.url)),
        )
    }
}

/// What a check of a Dockerfile came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order of the Dockerfile.
    pub warnings: Vec<Warning>,
    /// Whether `# check=error=true` makes warnings fail the build.
    pub error: bool,
}

impl Report {
    /// Whether the build fails for its warnings.
    pub fn fails(&self) -> bool {
        self.error && !self.warnings.is_empty()
    }
}

/// The `# check=` directive.
#[derive(Default)]
struct Config {
    skip_all: bool,
    skip: Vec<String>,
    experimental_all: bool,
    experimental: Vec<String>,
    error: bool,
}

impl Config {
    fn parse(text: &str, span: Span) -> Result<Self, PlanError> {
        let mut config = Self::default();
        for option in text.split(';').map(str::trim).filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let names = || {
                value
                    .split(',')
                    .map(|name| name.trim().to_owned())
                    .filter(|name| !name.is_empty())
            };
            match name.trim() {
                "skip" => config.skip.extend(names()),
                "experimental" => config.experimental.extend(names()),
                "error" => match value.trim() {
                    "1" | "t" | "T" | "true" | "TRUE" | "True" => config.error = true,
                    "0" | "f" | "F" | "false" | "FALSE" | "False" => config.error = false,
                    other => return Err(invalid("check=error", other, "true or false").at(span)),
                },
                other => {
                    return Err(invalid("check", other, "skip=..., error=... or experimental=...").at(span));
                }
            }
        }
        // Names of rules to come are let through; those of today must be spelled as they are.
        for name in config.skip.iter().chain(&config.experimental) {
            let misspelt = RULES
                .iter()
                .find(|rule| rule.name.eq_ignore_ascii_case(name) && rule.name != name);
            if let Some(rule) = misspelt {
                return Err(invalid("check", name, rule.name).at(span));
            }
        }
        config.skip_all = config.skip.iter().any(|name| name == "all");
        config.experimental_all = config.experimental.iter().any(|name| name == "all");
        Ok(config)
    }

    fn runs(&self, rule: &Rule) -> bool {
        let named = |names: &[String]| names.iter().any(|name| name == rule.name);
        let is_on = !rule.experimental || self.experimental_all || named(&self.experimental);
        is_on && !self.skip_all && !named(&self.skip)
    }
}

fn invalid(name: &str, value: &str, expected: &'static str) -> PlanErrorKind {
    PlanErrorKind::InvalidValue {
        name: name.to_owned(),
        value: value.to_owned(),
        expected,
    }
}

/// The lines of stages that a named target does not need.
fn out_of_scope(stages: &Stages, input: &PlanInput) -> Result<Vec<RangeInclusive<usize>>, PlanError> {
    if input.target.is_none() {
        return Ok(Vec::new());
    }
    let (reachable, _) = stages.reachable(stages.target(input)?, input)?;
    let unused = stages
        .stages
        .iter()
        .filter(|stage| !reachable.contains(&stage.index));
    let last = |stage: &Stage| stage.instructions.last().unwrap_or(&stage.from).lines.1;
    Ok(unused.map(|stage| stage.from.lines.0..=last(stage)).collect())
}

/// Checks a Dockerfile: what the input's target needs, or all stages when it names none. Variables of stages whose base `input.bases` doesn't have are not checked.
///
/// # Errors
/// [`PlanError`] when it doesn't plan, or when its `# check=` directive is none.
pub fn lint(
    dockerfile: &Dockerfile,
    input: &PlanInput,
    ignore: Option<&Ignore>,
) -> Result<Report, PlanError> {
    let config = match &dockerfile.directives.check {
        Some((text, span)) => Config::parse(text, *span)?,
        None => Config::default(),
    };
    let stages = Stages::new(dockerfile, input)?;
    let undefined = planner::undefined(dockerfile, &stages, input);
    let out_of_scope = out_of_scope(&stages, input)?;
    let facts = Facts {
        dockerfile,
        stages: &stages,
        input,
        ignore,
        undefined: &undefined,
    };
    let mut warnings = Vec::new();
    for rule in RULES.iter().filter(|rule| config.runs(rule)) {
        let mut findings = Vec::new();
        (rule.check)(&facts, &mut findings);
        findings.retain(|finding| !out_of_scope.iter().any(|lines| lines.contains(&finding.lines.0)));
        warnings.extend(findings.into_iter().map(|finding| Warning {
            rule: rule.name,
            description: rule.description,
            url: rule.url(),
            message: finding.message,
            lines: Lines {
                first: finding.lines.0,
                last: finding.lines.1,
            },
            span: finding.span,
        }));
    }
    warnings.sort_by_key(|warning| warning.span);
    Ok(Report {
        warnings,
        error: config.error,
    })
}
