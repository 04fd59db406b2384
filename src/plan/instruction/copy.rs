//! `COPY`, and what it shares with ADD: sources, destination, flags.

use super::{Definition, FlagDefinition, SourceName, flag, invalid, list, switch};
use crate::dockerfile::ignore::Ignore;
use crate::dockerfile::{Form, Instruction, Word, heredoc_opening, ignore};
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::planner::{Step, Tree};
use crate::plan::state::join;
use crate::plan::{Chmod, CopyItem, CopyOp, CopySource, Op};

pub(super) const DEFINITION: Definition = Definition {
    name: "COPY",
    summary: "Copies files and directories from the context, a stage or an image.",
    synopsis: &[
        "COPY [OPTIONS] SOURCE ... DESTINATION",
        "COPY [OPTIONS] [\"SOURCE\", ..., \"DESTINATION\"]",
    ],
    flags: &[
        FlagDefinition::value(
            "from",
            "STAGE|CONTEXT|IMAGE",
            "what to copy from instead of the build context",
        ),
        CHOWN,
        CHMOD,
        LINK,
        FlagDefinition::switch("parents", "keeps the directories of sources"),
        EXCLUDE,
    ],
    layer: true,
    trigger: true,
    check: |instruction, _| paths(instruction, "COPY").map(drop),
    apply,
    sources,
};

pub(super) const CHOWN: FlagDefinition =
    FlagDefinition::value("chown", "USER[:GROUP]", "the owner of what is copied");
pub(super) const CHMOD: FlagDefinition = FlagDefinition::value(
    "chmod",
    "MODE",
    "the permissions of what is copied, octal or symbolic",
);
pub(super) const LINK: FlagDefinition =
    FlagDefinition::switch("link", "makes a layer that does not depend on those below it");
pub(super) const EXCLUDE: FlagDefinition = FlagDefinition {
    name: "exclude",
    value: Some("PATTERN"),
    repeatable: true,
    summary: "leaves out what matches",
};

/// What an instruction copies and where to, as written.
pub(super) struct Paths {
    pub(super) sources: Vec<Word>,
    destination: Word,
}

/// The sources and the destination.
pub(super) fn paths(instruction: &Instruction, name: &'static str) -> Result<Paths, PlanError> {
    let expected = "at least two arguments: sources and a destination";
    let mut words = list(instruction, name, expected)?;
    let destination = words.pop();
    let Some(destination) = destination.filter(|_| !words.is_empty()) else {
        return Err(PlanErrorKind::Arguments {
            instruction: name,
            expected,
        }
        .at(instruction.arguments_span()));
    };
    let is_shell_form = matches!(instruction.form(), Form::Shell(_));
    if is_shell_form && heredoc_opening(&destination.text).is_some() {
        let span = instruction.span_of(destination.range);
        return Err(PlanErrorKind::HeredocDestination { instruction: name }.at(span));
    }
    Ok(Paths {
        sources: words,
        destination,
    })
}

fn sources(instruction: &Instruction) -> Result<Vec<SourceName>, PlanError> {
    let Some(flag) = flag(instruction, "from") else {
        return Ok(Vec::new());
    };
    let name = flag.value.as_deref().unwrap_or_default();
    if name.is_empty() {
        let kind = PlanErrorKind::FlagWithoutValue {
            instruction: "COPY",
            flag: "from".to_owned(),
            value: "NAME",
        };
        return Err(kind.at(flag.span));
    }
    Ok(vec![SourceName::new(name, flag.span)?])
}

/// The source words that are paths, of a COPY or ADD that was checked.
pub(in crate::plan) fn source_words(instruction: &Instruction) -> Vec<Word> {
    let words = paths(instruction, "COPY")
        .map(|paths| paths.sources)
        .unwrap_or_default();
    words
        .into_iter()
        .filter(|word| instruction.heredoc_of(&word.text).is_none())
        .collect()
}

/// A source with its variables expanded.
pub(super) enum Expanded {
    Path(String),
    Heredoc(String, String),
}

/// The sources, expanded: paths as written, heredocs with their content.
pub(super) fn expand_sources(
    step: &Step<'_, '_>,
    instruction: &Instruction,
    words: &[Word],
) -> Result<Vec<Expanded>, PlanError> {
    let is_shell_form = matches!(instruction.form(), Form::Shell(_));
    let mut expanded = Vec::new();
    for word in words {
        let heredoc = if is_shell_form {
            instruction.heredoc_of(&word.text)
        } else {
            None
        };
        expanded.push(match heredoc {
            Some(heredoc) => {
                let content = heredoc.text();
                let span = instruction.span_of(word.range.clone());
                let content = if heredoc.expand {
                    step.expand_content(&content, span)?
                } else {
                    content
                };
                Expanded::Heredoc(heredoc.name.clone(), content)
            }
            None => Expanded::Path(step.expand_word(instruction, word)?.text),
        });
    }
    Ok(expanded)
}

/// Everything of a `CopyOp` but what ADD does differently.
pub(super) struct Common {
    pub(super) op: CopyOp,
    /// `--chown=x --chmod=y` and the like, for the history.
    history: String,
    destination: String,
}

/// Reads the flags and the destination that COPY and ADD share.
pub(super) fn common(
    step: &Step<'_, '_>,
    instruction: &Instruction,
    name: &'static str,
    paths: &Paths,
) -> Result<Common, PlanError> {
    let expanded = |flag_name: &str| match flag(instruction, flag_name) {
        Some(flag) => step
            .expand(flag.value.as_deref().unwrap_or_default(), flag.span)
            .map(|text| Some((text, flag.span))),
        None => Ok(None),
    };
    let chown = expanded("chown")?
        .map(|(text, _)| text)
        .filter(|text| !text.is_empty());
    let chmod_text = expanded("chmod")?.filter(|(text, _)| !text.is_empty());
    let chmod = match &chmod_text {
        Some((text, span)) => {
            Some(Chmod::parse(text).map_err(|error| PlanErrorKind::Chmod(error).at(*span))?)
        }
        None => None,
    };
    let destination = step.expand_word(instruction, &paths.destination)?.text;
    let absolute = destination_path(&step.state.directory(), &destination);
    if paths.sources.len() > 1 && !absolute.ends_with('/') {
        let span = instruction.span_of(paths.destination.range.clone());
        return Err(PlanErrorKind::DestinationNotDirectory {
            instruction: name,
            destination,
        }
        .at(span));
    }
    let parents = switch(instruction, "parents").unwrap_or(false);
    let mut history = String::from(if parents { " --parents" } else { "" });
    history.extend(chown.as_ref().map(|chown| format!(" --chown={chown}")));
    history.extend(chmod_text.map(|(chmod, _)| format!(" --chmod={chmod}")));
    let op = CopyOp {
        from: CopySource::Context(String::new()),
        sources: Vec::new(),
        destination: absolute,
        chown,
        chmod,
        unpack: false,
        unpack_downloads: false,
        add: false,
        link: switch(instruction, "link").unwrap_or(false),
        parents,
        exclude: excluded(step, instruction)?,
        checksum: None,
    };
    Ok(Common {
        op,
        history,
        destination,
    })
}

/// The patterns of `--exclude`.
fn excluded(step: &Step<'_, '_>, instruction: &Instruction) -> Result<Vec<String>, PlanError> {
    let mut exclude = Vec::new();
    for flag in instruction.flags.iter().filter(|flag| flag.name == "exclude") {
        let pattern = step.expand(flag.value.as_deref().unwrap_or_default(), flag.span)?;
        if Ignore::from_patterns([pattern.as_str()]).is_err() {
            return Err(invalid(
                "--exclude",
                &pattern,
                "a pattern such as *.txt or **/node_modules",
            )
            .at(flag.span));
        }
        exclude.push(pattern);
    }
    Ok(exclude)
}

impl Common {
    /// `COPY --chown=x a <<b /c # buildkit`.
    pub(super) fn created_by(&self, name: &str, sources: &[Expanded]) -> String {
        let mut text = format!("{name}{}", self.history);
        for source in sources {
            match source {
                Expanded::Path(path) => text.extend([" ", path]),
                Expanded::Heredoc(name, _) => text.extend([" <<", name]),
            }
        }
        format!("{text} {} # buildkit", self.destination)
    }
}

/// The destination, absolute and cleaned; a trailing slash, `.` and nothing mean a directory.
fn destination_path(directory: &str, destination: &str) -> String {
    let is_directory = destination.ends_with('/')
        || matches!(destination, "" | "." | "..")
        || destination.ends_with("/.")
        || destination.ends_with("/..");
    let path = join(directory, destination);
    if is_directory && path != "/" {
        format!("{path}/")
    } else {
        path
    }
}

/// A source path as the op has it: relative to the source's root, without `.`, `..` and outer slashes.
pub(in crate::plan) fn clean_source(path: &str, parents: bool) -> String {
    if parents && let Some((parent, rest)) = path.split_once("/./") {
        let (parent, rest) = (clean_source(parent, false), clean_source(rest, false));
        return if parent == "." {
            rest
        } else {
            format!("{parent}/./{rest}")
        };
    }
    match ignore::clean(&format!("/{path}")).trim_start_matches('/') {
        "" => ".".to_owned(),
        clean => clean.to_owned(),
    }
}

/// Whether a source is a URL: ADD downloads it, COPY refuses it.
pub(in crate::plan) fn is_url(path: &str) -> bool {
    path.starts_with("http://") || path.starts_with("https://")
}

fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    let paths = paths(instruction, "COPY")?;
    let sources = expand_sources(step, instruction, &paths.sources)?;
    let mut common = common(step, instruction, "COPY", &paths)?;
    let created_by = common.created_by("COPY", &sources);
    for (source, word) in sources.into_iter().zip(&paths.sources) {
        common.op.sources.push(match source {
            Expanded::Path(url) if is_url(&url) => {
                return Err(PlanErrorKind::CopyUrl { url }.at(instruction.span_of(word.range.clone())));
            }
            Expanded::Path(path) => CopyItem::Path(clean_source(&path, common.op.parents)),
            Expanded::Heredoc(name, content) => CopyItem::Inline(name, content),
        });
    }
    let mut further = Vec::new();
    for source in super::sources(instruction)? {
        common.op.from = match step.tree(&source)? {
            Tree::Context(name) => CopySource::Context(name),
            Tree::Edge(edge) => {
                further.push(edge);
                CopySource::Input
            }
        };
    }
    let shown = step.shown(instruction);
    step.layer(Op::Copy(common.op), further, &shown, created_by);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_relative_to_their_root() {
        // Reference, "Copying from the build context".
        for (path, parents, expected) in [
            ("../something", false, "something"),
            ("something/", false, "something"),
            ("/a//b/./c/../d", false, "a/b/d"),
            (".", false, "."),
            ("/", false, "."),
            ("./x/./y/*.txt", true, "x/./y/*.txt"),
            ("./x/a.txt", true, "x/a.txt"),
            ("./src/**/*.txt", true, "src/**/*.txt"),
            ("/./a", true, "a"),
        ] {
            assert_eq!(clean_source(path, parents), expected, "{path}");
        }
    }

    #[test]
    fn destinations_keep_their_slash() {
        for (destination, expected) in [
            ("/abs", "/abs"),
            ("/abs/", "/abs/"),
            ("rel/", "/work/rel/"),
            ("rel", "/work/rel"),
            (".", "/work/"),
            ("./", "/work/"),
            ("", "/work/"),
            ("..", "/"),
            ("/", "/"),
            ("/a/.", "/a/"),
        ] {
            assert_eq!(destination_path("/work", destination), expected, "{destination}");
        }
    }
}
