//! `RUN --mount`: its options, by type. Spec: Dockerfile reference, "RUN --mount" and its sections.

use super::{SourceName, invalid};
use crate::dockerfile::{Span, diagnostic, ignore};
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::planner::{Step, Tree};
use crate::plan::state::join;
use crate::plan::{CacheSharing, Edge, MountOwner, MountSource, RunMount, RunMountKind};

/// The types that executors perform. The others are refused here, with their line, rather than in the middle of a build.
const PERFORMED: &[&str] = &["bind", "tmpfs"];

const TYPES: &[&str] = &["bind", "cache", "tmpfs", "secret", "ssh"];

/// The options of a type, by their main names. Reference, the tables of "RUN --mount=type=...".
fn options(kind: &str) -> &'static [&'static str] {
    match kind {
        "bind" => &["type", "target", "source", "from", "readwrite", "readonly"],
        "cache" => &[
            "type",
            "id",
            "target",
            "readonly",
            "readwrite",
            "sharing",
            "from",
            "source",
            "mode",
            "uid",
            "gid",
        ],
        "tmpfs" => &["type", "target", "size"],
        "secret" => &[
            "type", "id", "target", "source", "env", "required", "mode", "uid", "gid",
        ],
        _ => &["type", "id", "target", "required", "mode", "uid", "gid"],
    }
}

/// A mount as written: its options in order, aliases resolved.
pub(super) struct Mount {
    options: Vec<(&'static str, Option<String>)>,
    span: Span,
}

impl Mount {
    /// Splits the options of a `--mount`, and checks those that can be checked before variables are expanded.
    pub(super) fn parse(text: &str, span: Span) -> Result<Self, PlanError> {
        let mut options: Vec<(&'static str, Option<String>)> = Vec::new();
        for field in fields(text) {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (field, None),
            };
            let name =
                main_name(&key.to_ascii_lowercase()).ok_or_else(|| unknown_option(&key, None).at(span))?;
            let may_be_bare = matches!(name, "readonly" | "readwrite" | "required");
            if value.is_none() && !may_be_bare {
                return Err(invalid("--mount", &key, "key=value pairs").at(span));
            }
            options.push((name, value));
        }
        let this = Self { options, span };
        if let Some(kind) = this.get("type").filter(|kind| !kind.contains('$')) {
            this.check(kind)?;
        }
        this.source_name()
            .map_or(Ok(()), |source| SourceName::new(&source.name, span).map(drop))?;
        Ok(this)
    }

    /// The value of an option; the last one counts.
    fn get(&self, name: &str) -> Option<&str> {
        self.options
            .iter()
            .rev()
            .find(|(n, _)| *n == name)
            .and_then(|(_, value)| value.as_deref())
    }

    fn kind(&self) -> String {
        self.get("type").unwrap_or("bind").to_ascii_lowercase()
    }

    /// The stage, context or image it shows.
    pub(super) fn source_name(&self) -> Option<SourceName> {
        let from = self.get("from").filter(|from| !from.is_empty())?;
        let is_scratch = from == "scratch" && self.kind() == "cache";
        (!is_scratch).then(|| SourceName {
            name: from.to_owned(),
            span: self.span,
        })
    }

    fn check(&self, kind: &str) -> Result<(), PlanError> {
        let kind = kind.to_ascii_lowercase();
        if !TYPES.contains(&kind.as_str()) {
            return Err(invalid("--mount type", &kind, "bind, cache, tmpfs, secret or ssh").at(self.span));
        }
        match self
            .options
            .iter()
            .find(|(name, _)| !options(&kind).contains(name))
        {
            Some((name, _)) => Err(unknown_option(name, Some(&kind)).at(self.span)),
            None => Ok(()),
        }
    }

    /// The same with variables expanded, checked for its type.
    pub(super) fn expand(&self, step: &Step<'_, '_>) -> Result<Self, PlanError> {
        let mut options = Vec::new();
        for (name, value) in &self.options {
            let value = value
                .as_ref()
                .map(|value| step.expand(value, self.span))
                .transpose()?;
            options.push((*name, value));
        }
        let this = Self {
            options,
            span: self.span,
        };
        this.check(&this.kind())?;
        Ok(this)
    }

    /// The mount for the op; trees it shows are added to the inputs after the root filesystem.
    pub(super) fn plan(
        &self,
        step: &mut Step<'_, '_>,
        further: &mut Vec<Edge>,
        others: &[RunMount],
    ) -> Result<RunMount, PlanError> {
        let kind = self.kind();
        if !PERFORMED.contains(&kind.as_str()) {
            return Err(PlanErrorKind::Unsupported {
                what: format!("RUN --mount=type={kind}"),
            }
            .at(self.span));
        }
        let mut target = self.get("target").map(str::to_owned);
        let kind = match kind.as_str() {
            "bind" => self.bind(step, further)?,
            "tmpfs" => RunMountKind::Tmpfs { size: self.size()? },
            "cache" => self.cache(step, further)?,
            "secret" => {
                let (kind, path) = self.secret(target.as_deref())?;
                target = path;
                kind
            }
            _ => {
                let number = others
                    .iter()
                    .filter(|other| matches!(other.kind, RunMountKind::Ssh { .. }))
                    .count();
                target.get_or_insert_with(|| format!("/run/buildkit/ssh_agent.{number}"));
                self.ssh()?
            }
        };
        let target = match (target, &kind) {
            (None, RunMountKind::Secret { .. }) => String::new(),
            (target, _) => self.absolute(step, target.as_deref().unwrap_or_default())?,
        };
        let is_writable = matches!(kind, RunMountKind::Tmpfs { .. } | RunMountKind::Cache { .. });
        let read_only = match (self.is_on("readwrite")?, self.is_on("readonly")?) {
            (Some(writable), _) => !writable,
            (None, Some(read_only)) => read_only,
            (None, None) => !is_writable,
        };
        Ok(RunMount {
            kind,
            target,
            read_only,
        })
    }

    fn absolute(&self, step: &Step<'_, '_>, target: &str) -> Result<String, PlanError> {
        let path = join(&step.state.directory(), target);
        if target.is_empty() || path == "/" {
            return Err(invalid("--mount target", target, "a path other than /").at(self.span));
        }
        Ok(path)
    }

    fn source(&self) -> String {
        join("/", self.get("source").unwrap_or("/"))
    }

    fn bind(&self, step: &mut Step<'_, '_>, further: &mut Vec<Edge>) -> Result<RunMountKind, PlanError> {
        let from = self
            .from(step, further)?
            .unwrap_or(MountSource::Context(String::new()));
        Ok(RunMountKind::Bind {
            from,
            source: self.source(),
        })
    }

    fn cache(&self, step: &mut Step<'_, '_>, further: &mut Vec<Edge>) -> Result<RunMountKind, PlanError> {
        let id = match self.get("id") {
            Some(id) => id.to_owned(),
            None => ignore::clean(self.get("target").unwrap_or_default()),
        };
        let id = match step.input().build_arg("BUILDKIT_CACHE_MOUNT_NS") {
            Some(namespace) => format!("{namespace}/{id}"),
            None => id,
        };
        let from = self.from(step, further)?;
        let (sharing, source, owner) = (self.sharing()?, self.source(), self.owner(0o755)?);
        Ok(RunMountKind::Cache {
            id,
            sharing,
            from,
            source,
            owner,
        })
    }

    fn ssh(&self) -> Result<RunMountKind, PlanError> {
        let id = self.get("id").unwrap_or("default").to_owned();
        let required = self.is_on("required")?.unwrap_or(false);
        Ok(RunMountKind::Ssh {
            id,
            required,
            owner: self.owner(0o600)?,
        })
    }

    fn from(
        &self,
        step: &mut Step<'_, '_>,
        further: &mut Vec<Edge>,
    ) -> Result<Option<MountSource>, PlanError> {
        let Some(source) = self.source_name() else {
            return Ok(None);
        };
        Ok(Some(match step.tree(&source)? {
            Tree::Context(name) => MountSource::Context(name),
            Tree::Edge(edge) => {
                further.push(edge);
                MountSource::Input(further.len())
            }
        }))
    }

    /// A secret and the path of its file, if it has one.
    fn secret(&self, target: Option<&str>) -> Result<(RunMountKind, Option<String>), PlanError> {
        let base = |path: &str| {
            path.trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let id = match (self.get("id"), self.get("source"), target) {
            (Some(_), Some(_), _) => {
                let message = "a secret mount has an id or a source, not both";
                return Err(PlanErrorKind::Conflict { message }.at(self.span));
            }
            (Some(id), None, _) | (None, Some(id), _) => id.to_owned(),
            (None, None, Some(target)) => base(target),
            (None, None, None) => {
                return Err(PlanErrorKind::Conflict {
                    message: "a secret mount needs an id or a target",
                }
                .at(self.span));
            }
        };
        let env = self.get("env").map(str::to_owned);
        let path = match (target, &env) {
            (Some(target), _) => Some(target.to_owned()),
            (None, None) => Some(format!("/run/secrets/{}", base(&id))),
            (None, Some(_)) => None,
        };
        let required = self.is_on("required")?.unwrap_or(false);
        Ok((
            RunMountKind::Secret {
                id,
                required,
                env,
                owner: self.owner(0o400)?,
            },
            path,
        ))
    }

    /// A switch: `readonly`, `readonly=true`.
    fn is_on(&self, name: &str) -> Result<Option<bool>, PlanError> {
        let Some((_, value)) = self.options.iter().rev().find(|(n, _)| *n == name) else {
            return Ok(None);
        };
        match value.as_deref() {
            None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
            Some(other) => Err(invalid(&format!("--mount {name}"), other, "true or false").at(self.span)),
        }
    }

    fn sharing(&self) -> Result<CacheSharing, PlanError> {
        match self.get("sharing").map(str::to_ascii_lowercase).as_deref() {
            None | Some("shared") => Ok(CacheSharing::Shared),
            Some("private") => Ok(CacheSharing::Private),
            Some("locked") => Ok(CacheSharing::Locked),
            Some(other) => Err(invalid("--mount sharing", other, "shared, private or locked").at(self.span)),
        }
    }

    fn owner(&self, mode: u16) -> Result<MountOwner, PlanError> {
        let id = |name: &str| match self.get(name) {
            None => Ok(0),
            Some(text) => text
                .parse()
                .map_err(|_| invalid(&format!("--mount {name}"), text, "a number").at(self.span)),
        };
        let mode = match self.get("mode") {
            None => mode,
            Some(text) => {
                let mode = u16::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
                mode.ok_or_else(|| {
                    invalid("--mount mode", text, "octal digits between 0 and 7777").at(self.span)
                })?
            }
        };
        Ok(MountOwner {
            uid: id("uid")?,
            gid: id("gid")?,
            mode,
        })
    }

    fn size(&self) -> Result<u64, PlanError> {
        let Some(text) = self.get("size") else {
            return Ok(0);
        };
        bytes(text).ok_or_else(|| invalid("--mount size", text, "bytes, such as 64m or 1GiB").at(self.span))
    }
}

fn unknown_option(key: &str, kind: Option<&str>) -> PlanErrorKind {
    let near = diagnostic::closest(key, kind.map_or(MAIN_NAMES, options).iter().copied());
    PlanErrorKind::UnknownMountOption {
        key: key.to_owned(),
        kind: kind.map(str::to_owned),
        near,
    }
}

const MAIN_NAMES: &[&str] = &[
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "readwrite",
    "id",
    "sharing",
    "required",
    "mode",
    "uid",
    "gid",
    "size",
    "env",
];

fn main_name(key: &str) -> Option<&'static str> {
    let key = match key {
        "src" => "source",
        "dst" | "destination" => "target",
        "ro" => "readonly",
        "rw" => "readwrite",
        key => key,
    };
    MAIN_NAMES.iter().copied().find(|name| *name == key)
}

/// Comma-separated values: a field in double quotes may hold commas, and `""` for a quote.
fn fields(text: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut is_quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if !is_quoted && field.is_empty() => is_quoted = true,
            '"' if is_quoted && chars.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if is_quoted => is_quoted = false,
            ',' if !is_quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

/// `64m`, `1.5GiB`, `1024`: powers of 1024.
fn bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let end = lower
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let unit = unit.trim();
    let unit = unit
        .strip_suffix("ib")
        .or_else(|| unit.strip_suffix('b'))
        .unwrap_or(unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let scale = 1024_u64.pow(power);
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale);
    }
    let number = number.parse::<f64>().ok().filter(|number| *number >= 0.0)?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "a fraction of a unit is inexact anyway"
    )]
    let bytes = number * scale as f64;
    (bytes < 9e18).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("1024", Some(1024)),
            ("64m", Some(64 << 20)),
            ("1GiB", Some(1 << 30)),
            ("1.5k", Some(1536)),
            ("2 mb", Some(2 << 20)),
            ("", None),
            ("x", None),
            ("-1", None),
            ("1x", None),
            ("99999999999999p", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn fields_may_be_quoted() {
        assert_eq!(
            fields(r#"type=bind,"target=/a,b",ro"#),
            ["type=bind", "target=/a,b", "ro"]
        );
        assert_eq!(fields(""), [""]);
    }
}
