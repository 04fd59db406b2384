//! `ADD`: COPY that also downloads and unpacks.

use super::copy::{
    CHMOD, CHOWN, EXCLUDE, Expanded, LINK, clean_source, common, expand_sources, is_url, paths,
};
use super::{Definition, FlagDefinition, flag, invalid, no_sources, switch};
use crate::dockerfile::{Flag, Instruction};
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::planner::Step;
use crate::plan::{CopyItem, Op};

pub(super) const DEFINITION: Definition = Definition {
    name: "ADD",
    summary: "Adds files, directories, unpacked archives and downloads.",
    synopsis: &[
        "ADD [OPTIONS] SOURCE ... DESTINATION",
        "ADD [OPTIONS] [\"SOURCE\", ..., \"DESTINATION\"]",
    ],
    flags: &[
        CHOWN,
        CHMOD,
        LINK,
        EXCLUDE,
        FlagDefinition::value("checksum", "DIGEST", "what a download must be: sha256:HEX"),
        FlagDefinition::switch("keep-git-dir", "keeps .git of git sources"),
        FlagDefinition::switch(
            "unpack",
            "unpacks tar archives: local ones by default, downloads with =true",
        ),
    ],
    layer: true,
    trigger: true,
    check: |instruction, _| paths(instruction, "ADD").map(drop),
    apply,
    sources: no_sources,
};

/// Whether a source is a git repository.
fn is_git(path: &str) -> bool {
    let repository = path.split('#').next().unwrap_or_default();
    ["git@", "git://", "ssh://"]
        .iter()
        .any(|scheme| path.starts_with(scheme))
        || (is_url(path) && repository.strip_suffix(".git").is_some())
}

fn checksum(
    step: &Step<'_, '_>,
    instruction: &Instruction,
    sources: &[Expanded],
) -> Result<Option<String>, PlanError> {
    let Some(Flag {
        value: Some(value),
        span,
        ..
    }) = flag(instruction, "checksum")
    else {
        return Ok(None);
    };
    let value = step.expand(value, *span)?;
    let one_url = matches!(sources, [Expanded::Path(path)] if is_url(path));
    if !one_url {
        return Err(PlanErrorKind::Conflict {
            message: "ADD --checksum needs a URL as its only source",
        }
        .at(*span));
    }
    let is_hex = |hex: &str| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    if value.strip_prefix("sha256:").is_some_and(is_hex) {
        Ok(Some(value))
    } else {
        Err(invalid("--checksum", &value, "sha256: and 64 hexadecimal digits").at(*span))
    }
}

fn apply(step: &mut Step<'_, '_>, instruction: &Instruction) -> Result<(), PlanError> {
    let paths = paths(instruction, "ADD")?;
    let sources = expand_sources(step, instruction, &paths.sources)?;
    for (source, word) in sources.iter().zip(&paths.sources) {
        if matches!(source, Expanded::Path(path) if is_git(path)) {
            let what = "ADD of a git repository".to_owned();
            return Err(PlanErrorKind::Unsupported { what }.at(instruction.span_of(word.range.clone())));
        }
    }
    let mut common = common(step, instruction, "ADD", &paths)?;
    let created_by = common.created_by("ADD", &sources);
    common.op.add = true;
    common.op.checksum = checksum(step, instruction, &sources)?;
    let unpack = switch(instruction, "unpack");
    common.op.unpack = unpack.unwrap_or(true);
    common.op.unpack_downloads = unpack.unwrap_or(false);
    common.op.sources = sources
        .into_iter()
        .map(|source| match source {
            Expanded::Path(url) if is_url(&url) => CopyItem::Url(url),
            Expanded::Path(path) => CopyItem::Path(clean_source(&path, false)),
            Expanded::Heredoc(name, content) => CopyItem::Inline(name, content),
        })
        .collect();
    let shown = step.shown(instruction);
    step.layer(Op::Copy(common.op), Vec::new(), &shown, created_by);
    Ok(())
}
