//! `RUN`: a process that makes a layer.

use super::mount::Mount;
use super::{Definition, FlagDefinition, SourceName, flag, form, invalid};
use crate::dockerfile::{Form, Instruction, heredoc_opening};
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::planner::Step;
use crate::plan::{Network, Op, RunOp, Security};

pub(super) const DEFINITION: Definition = Definition {
    name: "RUN",
    summary: "Runs a command and keeps what it changed as a layer.",
    synopsis: &[
        "RUN [OPTIONS] COMMAND ARGUMENT ...",
        "RUN [OPTIONS] [\"COMMAND\", \"ARGUMENT\", ...]",
        "RUN [OPTIONS] <<EOF",
    ],
    flags: &[
        FlagDefinition {
            name: "mount",
            value: Some("type=TYPE,OPTION=VALUE,..."),
            repeatable: true,
            summary: "mounts something for the command: bind, cache, tmpfs, secret or ssh",
        },
        FlagDefinition::value("network", "default|none|host", "the network of the command"),
        FlagDefinition::value("security", "sandbox|insecure", "how far the command is cut off"),
        FlagDefinition {
            name: "device",
            value: Some("NAME"),
            repeatable: true,
            summary: "gives the command a device by its CDI name",
        },
    ],
    layer: true,
    trigger: true,
    check,
    apply,
    sources,
};

/// Where the script of a heredoc with `#!` stands.
const SCRIPTS: &str = "/dev/pipes";

fn check(instruction: &Instruction, _: char) -> Result<(), PlanError> {
    form(instruction, "RUN", "a command")?;
    network(instruction)?;
    security(instruction)?;
    if let Some(flag) = flag(instruction, "device") {
        return Err(PlanErrorKind::Unsupported {
            what: "RUN --device".to_owned(),
        }
        .at(flag.span));
    }
    Ok(())
}

fn sources(instruction: &Instruction) -> Result<Vec<SourceName>, PlanError> {
    Ok(mounts(instruction)?
        .iter()
        .filter_map(Mount::source_name)
        .collect())
}

/// The mounts as written.
pub(in crate::plan) fn mounts(instruction: &Instruction) -> Result<Vec<Mount>, PlanError> {
    let flags = instruction.flags.iter().filter(|flag| flag.name == "mount");
    flags
        .map(|flag| Mount::parse(flag.value.as_deref().unwrap_or_default(), flag.span))
        .collect()
}

/// `None` is the build's own.
fn network(instruction: &Instruction) -> Result<Option<Network>, PlanError> {
    let Some(flag) = flag(instruction, "network") else {
        return Ok(None);
    };
    match flag.value.as_deref().unwrap_or_default() {
        "default" => Ok(None),
        "none" => Ok(Some(Network::None)),
        "host" => Ok(Some(Network::Host)),
        other => Err(invalid("--network", other, "default, none or host").at(flag.span)),
    }
}

fn security(instruction: &Instruction) -> Result<Security, PlanError> {
    let Some(flag) = flag(instruction, "security") else {
        return Ok(Security::Sandbox);
    };
    match flag.value.as_deref().unwrap_or_default() {
        "sandbox" => Ok(Security::Sandbox),
        "insecure" => Err(PlanErrorKind::Unsupported {
            what: "RUN --security=insecure".to_owned(),
        }
        .at(flag.span)),
        other => Err(invalid("--security", other, "sandbox or insecure").at(flag.span)),
    }
}

/// What is executed, and the files that it needs.
struct Command {
    argv: Vec<String>,
    files: Vec<(String, String)>,
    /// Shown after the instruction: the first line of a heredoc.
    summary: String,
}

fn command(step: &Step<'_, '_>, instruction: &Instruction) -> Result<Command, PlanError> {
    let mut files = Vec::new();
    let mut summary = String::new();
    let argv = match form(instruction, "RUN", "a command")? {
        Form::Exec(words) if words.is_empty() => {
            let kind = PlanErrorKind::Arguments {
                instruction: "RUN",
                expected: "a command",
            };
            return Err(kind.at(instruction.arguments_span()));
        }
        Form::Exec(words) => words,
        _ => {
            let arguments = instruction.arguments();
            let text = match &instruction.heredocs[..] {
                [] => arguments.to_owned(),
                [heredoc] if heredoc_opening(arguments).is_some() => {
                    let content = heredoc.text();
                    summary = summarise(&content);
                    if content.starts_with("#!") {
                        let path = format!("{SCRIPTS}/{}", heredoc.name);
                        files.push((path.clone(), content));
                        path
                    } else {
                        content
                    }
                }
                heredocs => {
                    let mut text = arguments.to_owned();
                    for heredoc in heredocs {
                        text.push('\n');
                        text.push_str(&heredoc.content);
                        text.push_str(&heredoc.name);
                    }
                    text
                }
            };
            step.state.shell(&text)
        }
    };
    Ok(Command { argv, files, summary })
}

/// ` (first line...)`.
fn summarise(content: &str) -> String {
    let mut lines = content.trim().lines();
    let first = lines.next().unwrap_or_default();
    let more = if lines.next().is_some() { "..." } else { "" };
    format!(" ({first}{more})")
}

fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    let Command { argv, files, summary } = command(step, instruction)?;
    let mut further = Vec::new();
    let mut run_mounts = Vec::new();
    for mount in mounts(instruction)? {
        let mount = mount.expand(step)?;
        run_mounts.push(mount.plan(step, &mut further, &run_mounts)?);
    }
    let created_by = format!("RUN {}{} # buildkit", step.state.history_args(), argv.join(" "));
    let op = RunOp {
        argv,
        env: step.state.run_env(),
        cwd: step.state.directory(),
        user: step.state.config.user.clone(),
        platform: step.stage.platform.clone(),
        network: network(instruction)?.unwrap_or(step.input().network),
        security: security(instruction)?,
        extra_hosts: step.input().add_hosts.clone(),
        mounts: run_mounts,
        files,
    };
    let source = instruction.source();
    let shown = format!("RUN{}{summary}", &source[instruction.keyword.len()..]);
    step.layer(Op::Run(op), further, &shown, created_by);
    Ok(())
}
