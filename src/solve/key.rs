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
use crate::plan::{CopyItem, CopyOp, CopySource, Network, Op, RunMount, RunMountKind, RunOp};

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
    let hosts = run.extra_hosts.iter().flat_map(|(name, address)| [name, address]);
    let files = run.files.iter().flat_map(|(path, content)| [path, content]);
    vec![
        Part::one("op", "run"),
        Part::many("argv", &run.argv),
        Part::many("env", &run.env),
        Part::one("cwd", &run.cwd),
        Part::one("user", &run.user),
        Part::one("network", network),
        Part::many("hosts", hosts),
        Part::many("mounts", run.mounts.iter().flat_map(mount_values)),
        Part::many("files", files),
    ]
}

/// Always four values for each mount: kind, its argument, target, access.
fn mount_values(mount: &RunMount) -> Vec<Vec<u8>> {
    let (kind, argument) = match &mount.kind {
        RunMountKind::Bind { input: None, source } => ("bind context".to_owned(), source.clone()),
        RunMountKind::Bind { input: Some(input), source } => (format!("bind {input}"), source.clone()),
        RunMountKind::Tmpfs { size } => ("tmpfs".to_owned(), size.to_string()),
    };
    let access = if mount.read_only { "ro" } else { "rw" };
    vec![
        kind.into_bytes(),
        argument.into_bytes(),
        mount.target.clone().into_bytes(),
        access.into(),
    ]
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
    vec![
        Part::one("op", if copy.add { "add" } else { "copy" }),
        Part::one("from", from),
        Part::many("sources", sources),
        Part::one("destination", &copy.destination),
        Part::many("chown", &copy.chown),
        Part::many("chmod", copy.chmod.map(|mode| format!("{mode:o}"))),
        Part::one("unpack", if copy.unpack { "yes" } else { "no" }),
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
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::plan::{ImageOp, MakeDirectoryOp};

    fn run() -> RunOp {
        RunOp {
            argv: vec!["sh".into(), "-c".into(), "make".into()],
            env: vec!["A=b".into()],
            cwd: "/".into(),
            user: String::new(),
            network: Network::Host,
            extra_hosts: vec![("a".into(), "1.2.3.4".into())],
            mounts: vec![],
            files: vec![],
        }
    }

    fn copy() -> CopyOp {
        CopyOp {
            from: CopySource::Input,
            sources: vec![CopyItem::Path("a".into())],
            destination: "/b".into(),
            chown: None,
            chmod: None,
            unpack: false,
            add: false,
        }
    }

    #[test]
    fn every_field_of_an_op_tells_keys_apart() {
        let mount = |kind, read_only| RunMount { kind, target: "/m".into(), read_only };
        let runs = [
            run(),
            RunOp { argv: vec!["sh".into(), "-c make".into()], ..run() },
            RunOp { env: vec!["A=c".into()], ..run() },
            RunOp { cwd: "/x".into(), ..run() },
            RunOp { user: "x".into(), ..run() },
            RunOp { network: Network::None, ..run() },
            RunOp { extra_hosts: vec![], ..run() },
            RunOp { mounts: vec![mount(RunMountKind::Tmpfs { size: 1 }, false)], ..run() },
            RunOp { mounts: vec![mount(RunMountKind::Tmpfs { size: 1 }, true)], ..run() },
            RunOp { mounts: vec![mount(RunMountKind::Bind { input: None, source: "1".into() }, true)], ..run() },
            RunOp { mounts: vec![mount(RunMountKind::Bind { input: Some(1), source: "1".into() }, true)], ..run() },
            RunOp { files: vec![("f".into(), "x".into())], ..run() },
        ];
        let copies = [
            copy(),
            CopyOp { from: CopySource::Context(String::new()), ..copy() },
            CopyOp { sources: vec![CopyItem::Url("a".into())], ..copy() },
            CopyOp { sources: vec![CopyItem::Inline("a".into(), String::new())], ..copy() },
            CopyOp { destination: "/b/".into(), ..copy() },
            CopyOp { chown: Some(String::new()), ..copy() },
            CopyOp { chmod: Some(0), ..copy() },
            CopyOp { unpack: true, ..copy() },
            CopyOp { add: true, ..copy() },
        ];
        let directory = |path: &str, user: &str| MakeDirectoryOp { path: path.into(), user: user.into() };
        let others = [
            Op::Scratch,
            Op::MakeDirectory(directory("/a", "")),
            Op::MakeDirectory(directory("/a", "x")),
            Op::MakeDirectory(directory("/b", "")),
        ];
        let ops: Vec<Op> = runs.into_iter().map(Op::Run).chain(copies.into_iter().map(Op::Copy)).chain(others).collect();
        let keys: HashSet<_> = ops.iter().map(|op| op_key(&op_parts(op))).collect();
        assert_eq!(keys.len(), ops.len());
    }

    #[test]
    fn tags_and_context_names_stay_out() {
        let platform = crate::oci::platform::Platform {
            os: "linux".into(),
            architecture: "amd64".into(),
            variant: String::new(),
        };
        let image = |reference: &str| {
            op_parts(&Op::Image(ImageOp { reference: reference.into(), platform: platform.clone() }))
        };
        assert_eq!(image("a"), image("b"));
        let context = |name: &str| op_parts(&Op::Copy(CopyOp { from: CopySource::Context(name.into()), ..copy() }));
        assert_eq!(context(""), context("other"));
    }

    /// A change here makes every cache of every user cold: raise `VERSION` and mean it.
    #[test]
    fn the_format_is_fixed() {
        let parts = op_parts(&Op::Run(run()));
        let scratch = definition_key(&op_parts(&Op::Scratch), &[]);
        let keys = [
            op_key(&parts).to_string(),
            scratch.to_string(),
            definition_key(&parts, &[(scratch, 0)]).to_string(),
            content_key(&parts, &[ContentId::of(b"x")]).to_string(),
        ];
        assert_eq!(keys.map(|key| key[..16].to_owned()), FIXED);
    }

    const FIXED: [&str; 4] = ["", "", "", ""];
}
