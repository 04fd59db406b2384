//! Solving: a plan becomes what each of its steps produced, from the cache where it can, by work where it must.
//!
//! In: a `Plan` and an `Executor` that does the work. Out: `Built`, or the failure of one vertex. Effects: cache records, events,
//! threads for the time of one call.
//!
//! | file       | holds                                                    |
//! |------------|----------------------------------------------------------|
//! | `cancel`   | the token that stops a build                             |
//! | `encode`   | canonical bytes                                          |
//! | `key`      | definition keys, content keys, their parts               |
//! | `record`   | the index: keys -> outcomes                              |
//! | `flight`   | the same vertex asked for twice runs once                |
//! | `recorder` | outcomes -> index, once they are sealed                  |
//! | `step`     | one vertex: content look-up, work, events                |
//! | `schedule` | all vertices: what is needed, what can start             |
//! | `solver`   | one solve from its plan to what it built                 |
//!
//! Decision: look-ups come before work and need no tree. A vertex of the result's chain counts as a hit only if the one below
//! it hit as well and gave the content that the record took: a layer is always the difference of one recorded pair. Vertices
//! off the chain (other stages) are not even looked up unless something that needs them missed.

mod cancel;
pub(crate) mod encode;
mod flight;
mod key;
mod record;
mod recorder;
mod schedule;
mod solver;
mod step;

#[cfg(test)]
mod model;

use std::error::Error;

use silt_store::{ContentId, StoreError, StoreResult, Time, TreeRef};

pub use cancel::{Cancel, HookGuard};
pub use flight::Flights;
pub use key::{CacheKey, OpKey, Part, VERSION, content_key, definition_key, op_key, op_parts};
pub use record::{CacheRecord, Index, Recordable};
pub use solver::{Solver, solve};
pub use step::Outcome;

use crate::plan::{Lines, Op, VertexId};
use crate::progress::Sink;

/// A filesystem that a vertex produced: its id may be known, or still being worked out behind the next step's back.
pub trait Produced: Clone + Send + Sync {
    /// What the store holds.
    fn stored(tree: TreeRef) -> Self;

    /// Its id, if no waiting is needed.
    fn known(&self) -> Option<TreeRef>;

    /// Its id, once all its content is in the store.
    ///
    /// # Errors
    /// What went wrong while sealing; a full disk above all.
    fn seal(&self) -> Result<TreeRef, Failure>;
}

/// What an op takes from outside the plan: an image, files of a context, a URL's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// Enters the keys: digests of content, never times or names of hosts.
    pub parts: Vec<Part>,
    /// Trees that hold it, for explanations: kept with the record.
    pub trees: Vec<TreeRef>,
}

/// One vertex to perform.
pub struct Task<'a, S> {
    /// Which.
    pub vertex: VertexId,
    /// As shown.
    pub name: &'a str,
    /// What to do.
    pub op: &'a Op,
    /// Its definition key: a name for what is kept of a failure.
    pub key: CacheKey,
    /// The inputs, in the vertex's order.
    pub inputs: &'a [S],
    /// Where output and progress go.
    pub sink: &'a dyn Sink,
    /// Ends the work early.
    pub cancel: &'a Cancel,
}

/// Does the work of vertices; called from several threads.
pub trait Executor: Sync {
    /// What it produces.
    type Snapshot: Produced;

    /// Finds out what `op` takes from outside the plan; called once for each vertex for which `reads_outside` holds, before
    /// its look-up.
    ///
    /// # Errors
    /// The vertex's failure: a missing file, an unreachable server.
    fn identify(
        &self,
        vertex: VertexId,
        op: &Op,
        sink: &dyn Sink,
        cancel: &Cancel,
    ) -> Result<Outside, Failure>;

    /// What of input `input`, which holds `tree`, the op depends on: all of it, or what a COPY selects.
    ///
    /// # Errors
    /// The vertex's failure: a missing path.
    fn content(&self, op: &Op, input: usize, tree: TreeRef) -> Result<ContentId, Failure>;

    /// Does it; gives the outputs by index.
    ///
    /// # Errors
    /// The vertex's failure.
    fn perform(&self, task: &Task<'_, Self::Snapshot>) -> Result<Vec<Self::Snapshot>, Failure>;
}

/// Whether an op takes anything that neither the plan nor its inputs hold.
pub fn reads_outside(op: &Op) -> bool {
    use crate::plan::{CopyItem, CopySource, MountSource, RunMountKind};
    match op {
        Op::Scratch | Op::MakeDirectory(_) => false,
        Op::Image(_) => true,
        Op::Run(run) => run.mounts.iter().any(|mount| match &mount.kind {
            RunMountKind::Bind { from, .. } => matches!(from, MountSource::Context(_)),
            RunMountKind::Cache { from, .. } => matches!(from, Some(MountSource::Context(_))),
            RunMountKind::Tmpfs { .. } | RunMountKind::Secret { .. } | RunMountKind::Ssh { .. } => false,
        }),
        Op::Copy(copy) => {
            let outside = |item: &CopyItem| match item {
                CopyItem::Path(_) => matches!(copy.from, CopySource::Context(_)),
                CopyItem::Inline(..) => false,
                CopyItem::Url(_) => true,
            };
            copy.sources.iter().any(outside)
        }
    }
}

/// Why a vertex gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Its process ran and ended badly.
    #[error("the command failed: {reason}")]
    Command {
        /// As a shell would say: the exit status, 128 + the signal, 137 when out of memory.
        exit: i32,
        /// `exit status 2`, `killed by signal 9`, `killed: out of memory`.
        reason: String,
        /// The end of what it wrote.
        output: String,
        /// Its filesystem as it left it, kept in a snapshot record.
        kept: Option<TreeRef>,
    },
    /// The build was cancelled, by its user or because another vertex failed.
    #[error("cancelled")]
    Cancelled,
    /// Anything else; the message is the error's own.
    #[error(transparent)]
    Other(Box<dyn Error + Send + Sync>),
}

impl Failure {
    /// Wraps any error.
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::other(error)
    }
}

/// Why a build gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum SolveError {
    /// A vertex failed; the others were cancelled.
    #[error("{name} failed")]
    Vertex {
        /// Which.
        vertex: VertexId,
        /// As shown.
        name: String,
        /// Where it stands in the Dockerfile.
        lines: Option<Lines>,
        /// Why.
        #[source]
        failure: Failure,
    },
    /// The build was cancelled.
    #[error("the build was cancelled")]
    Cancelled,
    /// The plan is not in topological order, or names what is not there.
    #[error("malformed plan: {0}")]
    Plan(&'static str),
    /// The index could not be read.
    #[error("the cache could not be read")]
    Store(#[from] StoreError),
}

/// One step of the result's chain: a layer is the difference of `lower` and `upper`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which vertex.
    pub vertex: VertexId,
    /// What it ran on.
    pub lower: TreeRef,
    /// What it gave.
    pub upper: TreeRef,
    /// When it ran; of a cached step, when it ran then.
    pub created: Time,
    /// The history entry's text.
    pub created_by: Option<String>,
    /// Whether it came from the cache.
    pub cached: bool,
}

/// What a build gave: sealed, in the store, recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The result's root filesystem.
    pub result: TreeRef,
    /// The steps of `Plan::chain`, lowest first.
    pub chain: Vec<Step>,
    /// How many vertices were performed.
    pub performed: usize,
    /// How many came from the cache.
    pub cached: usize,
}

/// Now, as trees and records have it.
fn now() -> Time {
    match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => Time {
            seconds: since.as_secs() as i64,
            nanos: since.subsec_nanos(),
        },
        Err(_) => Time::default(),
    }
}

/// Trees as snapshots.
fn recall<S: Produced>(trees: &[TreeRef]) -> Vec<S> {
    trees.iter().copied().map(S::stored).collect()
}

/// Reads the cache on behalf of a vertex.
fn of_store<T>(result: StoreResult<T>) -> Result<T, Failure> {
    result.map_err(Failure::from)
}
