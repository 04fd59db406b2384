//! `RUN --mount`: its options, by type. Spec: Dockerfile reference, "RUN --mount" and its sections.

mod kind;
mod text;

pub(in crate::plan) use self::kind::MountKind;
use self::kind::{MAIN_NAMES, main_name};
use self::text::{bytes, fields};
use super::{SourceName, invalid};
use crate::dockerfile::{Span, diagnostic, ignore};
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::planner::{Step, Tree};
use crate::plan::state::join;
use crate::plan::{CacheSharing, Edge, MountOwner, MountSource, RunMount, RunMountKind};

/// A mount as written: its options in order, aliases resolved.
pub(in crate::plan) struct Mount {
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
        if !this.get("type").unwrap_or_default().contains('$') {
            this.check()?;
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

    /// The type, when it needn't be expanded first.
    pub(in crate::plan) fn kind(&self) -> Option<MountKind> {
        self.get("type").map_or(Some(MountKind::Bind), MountKind::parse)
    }

    /// What a cache, secret or agent is called.
    pub(in crate::plan) fn id(&self) -> String {
        let target = self.get("target").unwrap_or_default();
        match (self.get("id").or(self.get("source")), self.kind()) {
            (Some(id), _) => id.to_owned(),
            (None, Some(MountKind::Ssh)) => "default".to_owned(),
            (None, Some(MountKind::Secret)) => base(target).to_owned(),
            (None, _) => ignore::clean(target),
        }
    }

    /// Whether a step fails without it.
    pub(in crate::plan) fn is_required(&self) -> bool {
        self.is_on("required").ok().flatten().unwrap_or(false)
    }

    /// The stage, context or image it shows.
    pub(super) fn source_name(&self) -> Option<SourceName> {
        let from = self.get("from").filter(|from| !from.is_empty())?;
        let is_scratch = from == "scratch" && self.kind() == Some(MountKind::Cache);
        (!is_scratch).then(|| SourceName {
            name: from.to_owned(),
            span: self.span,
        })
    }

    /// The type, if the options are its.
    fn check(&self) -> Result<MountKind, PlanError> {
        let kind = self.kind().ok_or_else(|| {
            let value = self.get("type").unwrap_or_default();
            invalid("--mount type", value, "bind, cache, tmpfs, secret or ssh").at(self.span)
        })?;
        match self
            .options
            .iter()
            .find(|(name, _)| !kind.options().contains(name))
        {
            Some((name, _)) => Err(unknown_option(name, Some(kind)).at(self.span)),
            None => Ok(kind),
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
        this.check()?;
        Ok(this)
    }

    /// The mount for the op; trees it shows are added to the inputs after the root filesystem.
    pub(super) fn plan(
        &self,
        step: &mut Step<'_, '_>,
        further: &mut Vec<Edge>,
        others: &[RunMount],
    ) -> Result<RunMount, PlanError> {
        let kind = self.check()?;
        if !kind.is_performed() {
            let what = format!("RUN --mount=type={}", kind.name());
            return Err(PlanErrorKind::Unsupported { what }.at(self.span));
        }
        let mut target = self.get("target").map(str::to_owned);
        let kind = match kind {
            MountKind::Bind => self.bind(step, further)?,
            MountKind::Tmpfs => RunMountKind::Tmpfs { size: self.size()? },
            MountKind::Cache => self.cache(step, further)?,
            MountKind::Secret => {
                let (kind, path) = self.secret(target.as_deref())?;
                target = path;
                kind
            }
            MountKind::Ssh => {
                let is_ssh = |other: &&RunMount| matches!(other.kind, RunMountKind::Ssh { .. });
                let number = others.iter().filter(is_ssh).count();
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
        let id = self.get("id").map_or_else(
            || ignore::clean(self.get("target").unwrap_or_default()),
            str::to_owned,
        );
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
        let required = self.is_on("required")?.unwrap_or(false);
        Ok(RunMountKind::Ssh {
            id: self.id(),
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
        let message = match (self.get("id"), self.get("source"), target) {
            (Some(_), Some(_), _) => Some("a secret mount has an id or a source, not both"),
            (None, None, None) => Some("a secret mount needs an id or a target"),
            _ => None,
        };
        if let Some(message) = message {
            return Err(PlanErrorKind::Conflict { message }.at(self.span));
        }
        let id = self.id();
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

/// The last part of a path.
fn base(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

fn unknown_option(key: &str, kind: Option<MountKind>) -> PlanErrorKind {
    let known = kind.map_or(MAIN_NAMES, MountKind::options);
    let near = diagnostic::closest(key, known.iter().copied());
    PlanErrorKind::UnknownMountOption {
        key: key.to_owned(),
        kind: kind.map(|kind| kind.name().to_owned()),
        near,
    }
}
