//! Cache keys: what a vertex does and what it does it to, digested.
//!
//! In: an op, what it takes from outside the plan, its inputs' keys or contents. Out: keys, and the parts they were digested
//! from, which records keep so that a miss can be explained. No effects.
//!
//! Two keys for each vertex. The *definition key* needs no tree: H(version, op, outside, the inputs' definition keys). The
//! *content key* is asked after a miss: H(version, op, outside, the inputs' content); a step that was run again and wrote
//! the same lets all that follows hit. Neither holds clocks, host paths, spans, tags or context names.

use std::fmt;

use silt_store::ContentId;

use super::encode::Encoder;
use crate::plan::{
    CacheSharing, CopyItem, CopyOp, CopySource, MountOwner, MountSource, Network, Op, RunMount, RunMountKind,
    RunOp, Security,
};

/// The keys' format. Any change of what is digested, or of what an op does with it, adds one: older records are then
/// never found again.
pub const VERSION: u64 = 1;

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes bytes that are known to be such a key.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The key's bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), &blake3::Hash::from_bytes(self.0).to_hex()[..12])
            }
        }
    };
}

key! {
    /// A definition key or a content key: names one outcome.
    CacheKey
}
key! {
    /// Names an op and what it takes from outside, its inputs apart: tells whether the index may hold any outcome of it.
    OpKey
}

/// One named piece of a key: a list of byte strings, of which a scalar has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `argv`, `env`, `destination`, ...
    pub label: String,
    /// Its values in order.
    pub values: Vec<Vec<u8>>,
}

impl Part {
    /// A part of one value.
    pub fn one(label: &str, value: impl AsRef<[u8]>) -> Self {
        Self::many(label, [value])
    }

    /// A part of several values.
    pub fn many(label: &str, values: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        Self {
            label: label.to_owned(),
            values: values.into_iter().map(|value| value.as_ref().to_vec()).collect(),
        }
    }

    pub(crate) fn encode(&self, encoder: &mut Encoder) {
        encoder.bytes(self.label.as_bytes());
        encoder.list(&self.values, |encoder, value| encoder.bytes(value));
    }
}

/// The parts of an op: everything that decides what it does, and nothing else.
pub fn op_parts(op: &Op) -> Vec<Part> {
    match op {
        Op::Scratch => vec![Part::one("op", "scratch")],
        Op::Image(image) => vec![
            Part::one("op", "image"),
            Part::one("platform", image.platform.to_string()),
        ],
        Op::Run(run) => run_parts(run),
        Op::Copy(copy) => copy_parts(copy),
        Op::MakeDirectory(directory) => vec![
            Part::one("op", "directory"),
            Part::one("path", &directory.path),
            Part::one("user", &directory.user),
        ],
    }
}

fn run_parts(run: &RunOp) -> Vec<Part> {
    let network = match run.network {
        Network::Host => "host",
        Network::None => "none",
    };
    let security = match run.security {
        Security::Sandbox => "sandbox",
        Security::Insecure => "insecure",
    };
    let hosts = run.extra_hosts.iter().flat_map(|(name, address)| [name, address]);
    let files = run.files.iter().flat_map(|(path, content)| [path, content]);
    let mut parts = vec![
        Part::one("op", "run"),
        Part::many("argv", &run.argv),
        Part::many("env", &run.env),
        Part::one("cwd", &run.cwd),
        Part::one("user", &run.user),
        Part::one("platform", run.platform.to_string()),
        Part::one("network", network),
        Part::one("security", security),
        Part::many("hosts", hosts),
        Part::many("files", files),
    ];
    parts.extend(
        run.mounts
            .iter()
            .map(|mount| Part::many("mount", mount_values(mount))),
    );
    parts
}

/// A mount's definition: kind, target and access first, then what the kind has, always as many values.
fn mount_values(mount: &RunMount) -> Vec<String> {
    let access = if mount.read_only { "ro" } else { "rw" };
    let begin = |kind: &str| vec![kind.to_owned(), mount.target.clone(), access.to_owned()];
    let mut values;
    match &mount.kind {
        RunMountKind::Bind { from, source } => {
            values = begin("bind");
            values.extend([mount_source(from), source.clone()]);
        }
        RunMountKind::Tmpfs { size } => {
            values = begin("tmpfs");
            values.push(size.to_string());
        }
        RunMountKind::Cache {
            id,
            sharing,
            from,
            source,
            owner,
        } => {
            let sharing = match sharing {
                CacheSharing::Shared => "shared",
                CacheSharing::Private => "private",
                CacheSharing::Locked => "locked",
            };
            let from = from.as_ref().map_or_else(|| "empty".to_owned(), mount_source);
            values = begin("cache");
            values.extend([
                id.clone(),
                sharing.to_owned(),
                from,
                source.clone(),
                mount_owner(*owner),
            ]);
        }
        RunMountKind::Secret {
            id,
            required,
            env,
            owner,
        } => {
            let env = env.as_ref().map_or_else(String::new, |name| format!("={name}"));
            values = begin("secret");
            values.extend([id.clone(), required.to_string(), env, mount_owner(*owner)]);
        }
        RunMountKind::Ssh { id, required, owner } => {
            values = begin("ssh");
            values.extend([id.clone(), required.to_string(), mount_owner(*owner)]);
        }
    }
    values
}

/// A context's name stays out: what it holds is among the outside's parts.
fn mount_source(source: &MountSource) -> String {
    match source {
        MountSource::Context(_) => "context".to_owned(),
        MountSource::Input(input) => format!("input {input}"),
    }
}

fn mount_owner(owner: MountOwner) -> String {
    format!("{}:{}:{:o}", owner.uid, owner.gid, owner.mode)
}

fn copy_parts(copy: &CopyOp) -> Vec<Part> {
    let from = match copy.from {
        CopySource::Context(_) => "context",
        CopySource::Input => "input",
    };
    let sources = copy.sources.iter().flat_map(|item| match item {
        CopyItem::Path(path) => ["path", path, ""],
        CopyItem::Inline(name, content) => ["inline", name, content],
        CopyItem::Url(url) => ["url", url, ""],
    });
    let flag = |label: &str, set: bool| Part::one(label, if set { "yes" } else { "no" });
    vec![
        Part::one("op", if copy.add { "add" } else { "copy" }),
        Part::one("from", from),
        Part::many("sources", sources),
        Part::one("destination", &copy.destination),
        Part::many("chown", &copy.chown),
        Part::many("chmod", copy.chmod.as_ref().map(ToString::to_string)),
        flag("unpack", copy.unpack),
        flag("unpack downloads", copy.unpack_downloads),
        flag("link", copy.link),
        flag("parents", copy.parents),
        Part::many("exclude", &copy.exclude),
        Part::many("checksum", &copy.checksum),
    ]
}

fn begin(purpose: &str, parts: &[Part]) -> Encoder {
    let mut encoder = Encoder::default();
    encoder.bytes(purpose.as_bytes());
    encoder.number(VERSION);
    encoder.list(parts, |encoder, part| part.encode(encoder));
    encoder
}

fn digest(encoder: Encoder) -> [u8; 32] {
    *blake3::hash(&encoder.finish()).as_bytes()
}

/// The key of an op with what it takes from outside; `parts` are `op_parts` followed by the outside's.
pub fn op_key(parts: &[Part]) -> OpKey {
    OpKey(digest(begin("silt op key", parts)))
}

/// The definition key: `inputs` are the producers' definition keys with the output taken.
pub fn definition_key(parts: &[Part], inputs: &[(CacheKey, usize)]) -> CacheKey {
    let mut encoder = begin("silt definition key", parts);
    encoder.list(inputs, |encoder, (key, output)| {
        encoder.digest(key.as_bytes());
        encoder.number(*output as u64);
    });
    CacheKey(digest(encoder))
}

/// The content key: `inputs` are what each input holds, as far as the op depends on it.
pub fn content_key(parts: &[Part], inputs: &[ContentId]) -> CacheKey {
    let mut encoder = begin("silt content key", parts);
    encoder.list(inputs, |encoder, input| encoder.digest(input.as_bytes()));
    CacheKey(digest(encoder))
}

#[cfg(test)]
mod tests;
