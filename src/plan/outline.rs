//! What a Dockerfile can build and with which arguments: `--call=targets` and `--call=outline`.
//!
//! Spec: docker's build command, "Invoke a frontend method". A comment right above a FROM or ARG that begins with the stage's or
//! argument's name describes it.

use serde::Serialize;

use super::error::PlanError;
use super::instruction::{self, MountKind};
use super::stages::{Stage, Stages};
use super::{Lines, PlanInput};
use crate::dockerfile::{Dockerfile, Instruction};

/// A stage that `--target` may name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Its name; empty without AS.
    pub name: String,
    /// From the comment above it.
    pub description: String,
    /// Whether it is built when no target is named.
    pub default: bool,
    /// What its FROM names, as written.
    pub base: String,
    /// Where its FROM stands.
    pub lines: Lines,
}

/// What a target takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// The target's name; empty without AS.
    pub name: String,
    /// From the comment above it.
    pub description: String,
    /// Build arguments, in order of declaration.
    pub args: Vec<OutlineArg>,
    /// Secrets that its RUNs mount.
    pub secrets: Vec<OutlineMount>,
    /// ssh agents that its RUNs mount.
    pub ssh: Vec<OutlineMount>,
    /// Ids of caches that its RUNs mount.
    pub caches: Vec<String>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// What it would be: given, or its default.
    pub value: Option<String>,
    /// From the comment above it.
    pub description: String,
}

/// A secret or an ssh agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutlineMount {
    /// Its id.
    pub id: String,
    /// Whether a step fails without it.
    pub required: bool,
}

/// The stages of a Dockerfile.
///
/// # Errors
/// [`PlanError`] when it doesn't plan.
pub fn targets(dockerfile: &Dockerfile, input: &PlanInput) -> Result<Vec<Target>, PlanError> {
    let stages = Stages::new(dockerfile, input)?;
    let last = stages.stages.len() - 1;
    let target = |stage: &Stage| Target {
        name: stage.name.clone().unwrap_or_default(),
        description: stage_description(stage),
        default: stage.index == last,
        base: stage
            .from
            .blank_words()
            .into_iter()
            .next()
            .map(|word| word.text)
            .unwrap_or_default(),
        lines: Lines {
            first: stage.from.lines.0,
            last: stage.from.lines.1,
        },
    };
    Ok(stages.stages.iter().map(target).collect())
}

/// What the target of `input` takes.
///
/// # Errors
/// [`PlanError`] when it doesn't plan.
pub fn outline(dockerfile: &Dockerfile, input: &PlanInput) -> Result<Outline, PlanError> {
    let stages = Stages::new(dockerfile, input)?;
    let target = stages.target(input)?;
    let (reachable, _) = stages.reachable(target, input)?;
    let stage = &stages.stages[target];
    let mut outline = Outline {
        name: stage.name.clone().unwrap_or_default(),
        description: stage_description(stage),
        args: Vec::new(),
        secrets: Vec::new(),
        ssh: Vec::new(),
        caches: Vec::new(),
    };
    let escape = dockerfile.directives.escape;
    let globals = dockerfile
        .instructions
        .iter()
        .take_while(|instruction| instruction.name() != "FROM");
    for instruction in globals.filter(|instruction| instruction.name() == "ARG") {
        outline.take_args(instruction, &stages, input, escape, true);
    }
    for stage in reachable.iter().map(|index| &stages.stages[*index]) {
        for instruction in &stage.instructions {
            match instruction.name().as_str() {
                "ARG" => outline.take_args(instruction, &stages, input, escape, false),
                "RUN" => outline.take_mounts(instruction)?,
                _ => {}
            }
        }
    }
    Ok(outline)
}

impl Outline {
    /// An argument of a stage without a default is the global one of its name.
    fn take_args(
        &mut self,
        instruction: &Instruction,
        stages: &Stages,
        input: &PlanInput,
        escape: char,
        is_global: bool,
    ) {
        for word in instruction.quoted_words(escape) {
            let (name, default) = match word.text.split_once('=') {
                Some((name, default)) => (name, Some(default.trim_matches(['"', '\'']).to_owned())),
                None => (word.text.as_str(), None),
            };
            let global = || stages.globals.get(name).cloned();
            let given = input.build_arg(name).map(str::to_owned);
            let value = if is_global {
                given.or_else(global)
            } else {
                given.or(default).or_else(global)
            };
            let arg = OutlineArg {
                name: name.to_owned(),
                value,
                description: description(instruction, name),
            };
            match self.args.iter_mut().find(|known| known.name == arg.name) {
                Some(known) if known.description.is_empty() => known.description = arg.description,
                Some(_) => {}
                None => self.args.push(arg),
            }
        }
    }

    fn take_mounts(&mut self, instruction: &Instruction) -> Result<(), PlanError> {
        for mount in instruction::mounts(instruction)? {
            let (id, required) = (mount.id(), mount.is_required());
            match mount.kind() {
                Some(MountKind::Secret) => add(&mut self.secrets, OutlineMount { id, required }),
                Some(MountKind::Ssh) => add(&mut self.ssh, OutlineMount { id, required }),
                Some(MountKind::Cache) if !self.caches.contains(&id) => self.caches.push(id),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Adds a mount, once for each id; required when any is.
fn add(mounts: &mut Vec<OutlineMount>, mount: OutlineMount) {
    match mounts.iter_mut().find(|known| known.id == mount.id) {
        Some(known) => known.required |= mount.required,
        None => mounts.push(mount),
    }
}

/// The comment may spell the name as AS does or in lower case.
fn stage_description(stage: &Stage) -> String {
    let written = stage.from.blank_words().into_iter().nth(2).map(|word| word.text);
    let names = stage.name.iter().chain(&written);
    names
        .map(|name| description(&stage.from, name))
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

/// The comment above an instruction without the name that it begins with.
fn description(instruction: &Instruction, name: &str) -> String {
    let about = |comment: &String| {
        let (first, rest) = comment.split_once(char::is_whitespace)?;
        (first == name).then(|| rest.trim().to_owned())
    };
    instruction
        .comments
        .iter()
        .rev()
        .find_map(about)
        .unwrap_or_default()
}
