//! Meaning: instructions, build arguments and the bases' configs become vertices in topological order and an image config.
//!
//! Pure. One file for each instruction in `instruction/`, listed in `instruction::ALL`. Vertices are of BuildKit LLB's kinds
//! (source, exec, file), so that an LLB client can be served by the same solver one day.

use serde::{Deserialize, Serialize};

use crate::oci::config::RunConfig;
use crate::oci::platform::Platform;

/// The position of a vertex in `Plan::vertices`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VertexId(pub usize);

/// An output of a vertex; exec vertices may have several, output 0 is the root filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Edge {
    /// The producer.
    pub vertex: VertexId,
    /// Which of its outputs.
    pub output: usize,
}

/// Where in the Dockerfile something stands: 1-based lines, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lines {
    /// First line.
    pub first: usize,
    /// Last line.
    pub last: usize,
}

/// One unit of work, with what it needs and how it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vertex {
    /// What to do. The definition key digests this, canonically encoded, and the inputs' keys; nothing else in this struct.
    pub op: Op,
    /// Numbered inputs: `op` refers to them by index.
    pub inputs: Vec<Edge>,
    /// As shown: `[build 2/5] RUN make`.
    pub name: String,
    /// The instruction, for errors. `None` for what no instruction asks for.
    pub lines: Option<Lines>,
    /// The layer's history entry (`created_by`); `None` when the vertex is no step of the exported chain.
    pub created_by: Option<String>,
    /// Whether `--no-cache` or `--no-cache-filter` covers it.
    pub ignore_cache: bool,
}

/// An operation. Serialised parts never hold clocks, host paths, spans or secret values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// The empty tree.
    Scratch,
    /// An image's tree, by reference and platform; no inputs. Its key is the resolved manifest's digest.
    Image(ImageOp),
    /// A process on input 0; further inputs are what its mounts name.
    Run(RunOp),
    /// COPY and ADD onto input 0; input 1 is the source tree unless the source is a context.
    Copy(CopyOp),
    /// A directory (WORKDIR) on input 0, created when missing.
    MakeDirectory(MakeDirectoryOp),
}

/// See `Op::Image`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageOp {
    /// The normalised reference: `docker.io/library/debian:latest`.
    pub reference: String,
    /// The platform asked for.
    pub platform: Platform,
}

/// See `Op::Run`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOp {
    /// Arguments, shell included; never empty.
    pub argv: Vec<String>,
    /// `NAME=value`, ENV and ARG values, in order.
    pub env: Vec<String>,
    /// Working directory, absolute.
    pub cwd: String,
    /// As USER wrote it, looked up in the image's passwd and group; empty is root.
    pub user: String,
    /// Network.
    pub network: Network,
    /// Extra lines of /etc/hosts: (name, address).
    pub extra_hosts: Vec<(String, String)>,
    /// Mounts besides the root filesystem, in order.
    pub mounts: Vec<RunMount>,
    /// Heredoc files that the shell reads: (path inside the step, content). Empty for plain commands.
    pub files: Vec<(String, String)>,
}

/// The network of a step or container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The host's.
    #[default]
    Host,
    /// A loopback of its own.
    None,
}

/// A `RUN --mount`. (The kinds widen with the whole Dockerfile.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMount {
    /// What is mounted.
    pub kind: RunMountKind,
    /// Where, absolute.
    pub target: String,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// What a `RUN --mount` mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunMountKind {
    /// A directory or file of input `input`; writes are dropped.
    Bind {
        /// Index into the vertex's inputs; `None` is the build context.
        input: Option<usize>,
        /// Path in it.
        source: String,
    },
    /// A fresh tmpfs of at most `size` bytes (0: no limit).
    Tmpfs {
        /// Bytes.
        size: u64,
    },
}

/// See `Op::Copy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyOp {
    /// Where the sources are.
    pub from: CopySource,
    /// What to copy.
    pub sources: Vec<CopyItem>,
    /// Destination: absolute, already joined with WORKDIR; a trailing slash is kept and means a directory.
    pub destination: String,
    /// `--chown`, looked up in input 0's passwd and group; `None` means 0:0.
    pub chown: Option<String>,
    /// `--chmod`, octal.
    pub chmod: Option<u16>,
    /// Whether local tar archives are unpacked (ADD).
    pub unpack: bool,
    /// Whether this was ADD (URLs allowed).
    pub add: bool,
}

/// Where COPY reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopySource {
    /// The build context of this name; the main one is `""`. Keyed by the content digest of what is copied.
    Context(String),
    /// The tree of input 1.
    Input,
}

/// One source of COPY or ADD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyItem {
    /// A path or glob relative to the source's root, `filepath.Match` syntax with `**`.
    Path(String),
    /// A file given in the Dockerfile: (name, content).
    Inline(String, String),
    /// A URL (ADD).
    Url(String),
}

/// See `Op::MakeDirectory`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeDirectoryOp {
    /// Absolute path.
    pub path: String,
    /// Owner as USER wrote it; empty is root.
    pub user: String,
}

/// One line of the resulting image's history, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedHistory {
    /// `RUN /bin/sh -c make # buildkit` and the like.
    pub created_by: String,
    /// The vertex whose layer this is; `None` for an empty layer (ENV, CMD, ...).
    pub vertex: Option<VertexId>,
}

/// A whole build, ready to solve: only what the target needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Topological order: inputs come first.
    pub vertices: Vec<Vertex>,
    /// The result's root filesystem.
    pub result: VertexId,
    /// The base image whose layers, history and platform the result continues; `None` from scratch.
    pub base: Option<VertexId>,
    /// The steps from `base` to `result` that make layers, lowest first.
    pub chain: Vec<VertexId>,
    /// Config of the resulting image.
    pub config: RunConfig,
    /// Author, from MAINTAINER.
    pub author: String,
    /// History after the base's.
    pub history: Vec<PlannedHistory>,
    /// Platform of the result.
    pub platform: Platform,
}
