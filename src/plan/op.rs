//! The seam to the solver: vertices, edges and operations as plain data.
//!
//! Nothing here holds clocks, host paths, Dockerfile spans or secret values, so that an [`Op`] may be digested whole; what is
//! shown or traced stands beside it in [`Vertex`]. Kinds follow BuildKit's LLB (source, exec, file).

use serde::{Deserialize, Serialize};

use super::chmod::Chmod;
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// `NAME=value`, ENV and ARG values, in order. Predefined proxy arguments are not here: see `Plan::proxy`.
    pub env: Vec<String>,
    /// Working directory, absolute.
    pub cwd: String,
    /// As USER wrote it, looked up in the image's passwd and group; empty is root.
    pub user: String,
    /// Platform the process runs on.
    pub platform: Platform,
    /// Network.
    pub network: Network,
    /// How far the process is cut off.
    pub security: Security,
    /// Extra lines of /etc/hosts: (name, address).
    pub extra_hosts: Vec<(String, String)>,
    /// Mounts besides the root filesystem, in order.
    pub mounts: Vec<RunMount>,
    /// Heredoc files that the shell reads: (path inside the step, content), mode 0755 in a read-only directory. Empty for
    /// plain commands.
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

/// `RUN --security`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// Cut off as a container is.
    #[default]
    Sandbox,
    /// As `docker run --privileged`; needs an entitlement.
    Insecure,
}

/// A `RUN --mount`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMount {
    /// What is mounted.
    pub kind: RunMountKind,
    /// Where, absolute; empty only for a secret that is an environment variable alone.
    pub target: String,
    /// Whether writes are refused.
    pub read_only: bool,
}

/// What a `RUN --mount` mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunMountKind {
    /// A directory or file of a tree; writes are dropped.
    Bind {
        /// Whose.
        from: MountSource,
        /// Absolute path in it; `/` is its root.
        source: String,
    },
    /// A fresh tmpfs of at most `size` bytes (0: no limit).
    Tmpfs {
        /// Bytes.
        size: u64,
    },
    /// A directory that outlives builds. Its content enters no key.
    Cache {
        /// Which: namespace and id.
        id: String,
        /// Whether several steps may have it at once.
        sharing: CacheSharing,
        /// What a new cache starts from; `None` is an empty directory.
        from: Option<MountSource>,
        /// Absolute path in `from`.
        source: String,
        /// Owner and mode of a new, empty cache directory.
        owner: MountOwner,
    },
    /// A secret as a file, an environment variable, or both. Its value is never in an op.
    Secret {
        /// Which.
        id: String,
        /// Whether the step fails without it.
        required: bool,
        /// Variable that holds it.
        env: Option<String>,
        /// Owner and mode of the file.
        owner: MountOwner,
    },
    /// An ssh agent's socket.
    Ssh {
        /// Which.
        id: String,
        /// Whether the step fails without it.
        required: bool,
        /// Owner and mode of the socket.
        owner: MountOwner,
    },
}

/// Whose tree a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// The build context of this name; the main one is `""`.
    Context(String),
    /// The vertex's input of this number.
    Input(usize),
}

/// How a cache mount is shared among steps and builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheSharing {
    /// Several writers at once.
    #[default]
    Shared,
    /// A second writer gets a new one.
    Private,
    /// A second writer waits.
    Locked,
}

/// Owner and permission bits of what a mount creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MountOwner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u16,
}

/// See `Op::Copy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the instruction's flags, each independent of the others"
)]
pub struct CopyOp {
    /// Where the sources are.
    pub from: CopySource,
    /// What to copy, in order.
    pub sources: Vec<CopyItem>,
    /// Destination: absolute, already joined with WORKDIR; a trailing slash is kept and means a directory.
    pub destination: String,
    /// `--chown`, looked up in input 0's passwd and group; `None` means 0:0.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<Chmod>,
    /// Whether local tar archives are unpacked (ADD).
    pub unpack: bool,
    /// Whether downloaded tar archives are unpacked (`ADD --unpack`).
    pub unpack_downloads: bool,
    /// Whether this was ADD (URLs allowed).
    pub add: bool,
    /// `--link`: nothing of input 0 is read, and no symbolic link in the destination is followed.
    pub link: bool,
    /// `--parents`: a source keeps its directories, those after its `/./` if it has one.
    pub parents: bool,
    /// `--exclude`: patterns of what is left out, relative to the source's root.
    pub exclude: Vec<String>,
    /// `--checksum` of the one URL.
    pub checksum: Option<String>,
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
    /// A path or glob relative to the source's root, `filepath.Match` syntax with `**`; cleaned: no leading or trailing
    /// slash, no `.` or `..` (but for the `/./` of `--parents`), and `.` alone is the root.
    Path(String),
    /// A file given in the Dockerfile: (name, content), mode 0644.
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
