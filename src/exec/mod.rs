//! Performs vertices: one op and its inputs become a snapshot.
//!
//! In: tasks of the solver. Out: snapshots. Effects: containers, files of contexts, network, the store.
//!
//! | file       | turns what into what                                               |
//! |------------|--------------------------------------------------------------------|
//! | `accounts` | /etc/passwd, /etc/group, a name -> ids                             |
//! | `select`   | a pattern, a tree -> matches                                       |
//! | `dress`    | a part of a tree -> the same with other owners, modes, less of it  |
//! | `place`    | a destination, entries -> a tree with them                         |
//! | `copy`     | COPY and ADD                                                       |
//! | `download` | a URL -> content                                                   |
//! | `mounts`   | a step's own mounts -> directories on the host                     |
//! | `run`      | RUN                                                                |

mod accounts;
mod copy;
mod download;
mod dress;
mod error;
mod mounts;
mod place;
mod run;
mod select;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use silt_store::{Content, ContentId, Data, GuestPath, Store, TreeRef, root, walk};

pub use accounts::{Account, AccountError};
pub use error::{CopyError, DownloadError, ExecError};
pub use run::{FAILED, account, hosts, with_directory};

use self::copy::{Copy, Download};
use self::mounts::Mounts;
use crate::dockerfile::ignore::Ignore;
use crate::plan::{CopyItem, CopyOp, CopySource, ImageOp, MountSource, Op, RunMountKind, RunOp, VertexId};
use crate::progress::{Event, Sink};
use crate::sandbox::{Helper, Limits};
use crate::snapshot::{Snapshot, SnapshotStrategy};
use crate::solve::{Cancel, Executor, Failure, Outside, Part, Produced, Task};
use crate::source::context::{Context, Selection, Trust, Wanted};
use crate::source::pattern::Pattern;

/// An image that a plan starts from, resolved and unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseTree {
    /// The image's id: `sha256:` of its config. Its key.
    pub id: String,
    /// Its root filesystem.
    pub tree: TreeRef,
}

/// What a build works with.
pub struct Surroundings {
    /// Where trees are.
    pub store: Arc<dyn Store>,
    /// How steps get their filesystem.
    pub strategy: Arc<dyn SnapshotStrategy>,
    /// Starts containers.
    pub helper: Arc<Helper>,
    /// A directory for what lives as long as a step.
    pub scratch: PathBuf,
    /// The contexts by name; the main one is `""`.
    pub contexts: HashMap<String, Context>,
    /// The images.
    pub bases: HashMap<ImageOp, BaseTree>,
    /// `Plan::proxy`.
    pub proxy: Vec<String>,
    /// `Plan::hostname`.
    pub hostname: Option<String>,
    /// What every step may use.
    pub limits: Limits,
    /// /etc/resolv.conf of every step.
    pub resolv_conf: String,
}

/// Performs one build's vertices.
pub struct Performer {
    around: Surroundings,
    /// What vertices selected of contexts, by mount for RUN.
    selections: Mutex<HashMap<(VertexId, usize), Selection>>,
    downloads: Mutex<HashMap<VertexId, Vec<Download>>>,
}

impl Performer {
    /// A performer for one build.
    pub fn new(around: Surroundings) -> Self {
        Self {
            around,
            selections: Mutex::default(),
            downloads: Mutex::default(),
        }
    }

    fn context(&self, name: &str) -> Result<&Context, ExecError> {
        self.around
            .contexts
            .get(name)
            .ok_or_else(|| ExecError::NoContext(name.to_owned()))
    }

    /// Selects `patterns` of a context for a vertex, and remembers it.
    fn select(&self, want: &Want<'_>, trust: Trust) -> Result<Selection, Failure> {
        let context = self.context(want.context).map_err(Failure::other)?;
        let wanted = Wanted {
            patterns: &want.patterns,
            exclude: &want.exclude,
            parents: want.parents,
        };
        let what = if want.context.is_empty() {
            "scanning the build context".to_owned()
        } else {
            format!("scanning the build context {}", want.context)
        };
        let watch = |files: u64, finished: bool| {
            want.sink.event(Event::Work {
                what: what.clone(),
                done: files,
                total: None,
                unit: "files".to_owned(),
                finished,
            });
        };
        let selected = context.select(&self.around.store, &wanted, trust, want.cancel, &|files| {
            watch(files, false);
        });
        watch(selected.as_ref().map_or(0, |selection| selection.files), true);
        selected.map_err(|error| match error {
            crate::source::context::ContextError::Cancelled => Failure::Cancelled,
            error => Failure::other(ExecError::from(error)),
        })
    }

    fn remember(&self, vertex: VertexId, mount: usize, selection: Selection) {
        let mut selections = self.selections.lock().unwrap_or_else(PoisonError::into_inner);
        selections.insert((vertex, mount), selection);
    }

    /// The tree that a vertex selected of a context, with all its content in the store: what the stat cache remembered may have been
    /// collected since, then it is read again.
    fn selected(&self, want: &Want<'_>, vertex: VertexId, mount: usize) -> Result<TreeRef, Failure> {
        let selection = {
            let selections = self.selections.lock().unwrap_or_else(PoisonError::into_inner);
            selections.get(&(vertex, mount)).cloned()
        };
        if let Some(selection) = selection
            && selection.is_present(&*self.around.store)?
        {
            return Ok(selection.tree);
        }
        let again = self.select(want, Trust::Nothing)?;
        Ok(again.tree)
    }

    fn identify_copy(
        &self,
        vertex: VertexId,
        op: &CopyOp,
        sink: &dyn Sink,
        cancel: &Cancel,
    ) -> Result<Outside, Failure> {
        let mut outside = Outside::default();
        if let Some(want) = want_of_copy(op, sink, cancel)? {
            let selection = self.select(&want, Trust::Stat)?;
            let check = Copy {
                store: &self.around.store,
                op: &paths_only(op),
                source: Some(selection.tree),
                downloads: &[],
                owner: None,
            };
            check.selected().map_err(|error| match error {
                CopyError::Missing { path }
                    if self
                        .context(want.context)
                        .is_ok_and(|context| context.ignores(&path)) =>
                {
                    Failure::other(CopyError::Ignored { path })
                }
                error => Failure::other(error),
            })?;
            outside
                .parts
                .push(Part::one("selection", selection.tree.content.to_string()));
            outside.trees.push(selection.tree);
            self.remember(vertex, 0, selection);
        }
        let urls = op.sources.iter().filter_map(|item| match item {
            CopyItem::Url(url) => Some(url),
            CopyItem::Path(_) | CopyItem::Inline(..) => None,
        });
        let named = !op.destination.ends_with('/');
        let fetched = urls.map(|url| {
            if cancel.is_cancelled() {
                return Err(Failure::Cancelled);
            }
            let fetched = download::download(&*self.around.store, url, named, op.checksum.as_deref());
            fetched.map_err(Failure::other)
        });
        let fetched = fetched.collect::<Result<Vec<_>, _>>()?;
        if !fetched.is_empty() {
            outside.parts.push(Part::many(
                "downloads",
                fetched.iter().map(|one| digest(&one.content)),
            ));
            self.downloads
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(vertex, fetched);
        }
        Ok(outside)
    }

    fn identify_run(
        &self,
        vertex: VertexId,
        op: &RunOp,
        sink: &dyn Sink,
        cancel: &Cancel,
    ) -> Result<Outside, Failure> {
        let mut outside = Outside::default();
        for (mount, want) in wants_of_run(op, sink, cancel)? {
            let selection = self.select(&want, Trust::Stat)?;
            outside
                .parts
                .push(Part::one("mounted selection", selection.tree.content.to_string()));
            outside.trees.push(selection.tree);
            self.remember(vertex, mount, selection);
        }
        Ok(outside)
    }

    fn copy(&self, task: &Task<'_, Snapshot>, op: &CopyOp) -> Result<TreeRef, Failure> {
        let base = task
            .inputs
            .first()
            .ok_or_else(|| Failure::other(CopyError::NoSource))?;
        let owner = match &op.chown {
            None => None,
            Some(chown) => {
                let accounts = run::accounts(&self.around.store, base).map_err(Failure::other)?;
                Some(accounts.owner(chown).map_err(Failure::other)?)
            }
        };
        let source = match (&op.from, want_of_copy(op, task.sink, task.cancel)?) {
            (CopySource::Input, _) => task.inputs.get(1).map(Produced::seal).transpose()?,
            (CopySource::Context(_), Some(want)) => Some(self.selected(&want, task.vertex, 0)?),
            (CopySource::Context(_), None) => None,
        };
        let downloads = {
            let downloads = self.downloads.lock().unwrap_or_else(PoisonError::into_inner);
            downloads.get(&task.vertex).cloned().unwrap_or_default()
        };
        let copy = Copy {
            store: &self.around.store,
            op,
            source,
            downloads: &downloads,
            owner,
        };
        copy.onto(base.seal()?).map_err(Failure::other)
    }

    fn run(&self, task: &Task<'_, Snapshot>, op: &RunOp) -> Result<Snapshot, Failure> {
        let mut mounts = Mounts::new();
        let wants: HashMap<usize, Want<'_>> = wants_of_run(op, task.sink, task.cancel)?.into_iter().collect();
        for (number, mount) in op.mounts.iter().enumerate() {
            let RunMountKind::Bind { from, source } = &mount.kind else {
                mounts.other(&mount.kind, &mount.target).map_err(Failure::other)?;
                continue;
            };
            let tree = match (from, wants.get(&number)) {
                (MountSource::Context(_), Some(want)) => self.selected(want, task.vertex, number)?,
                (MountSource::Input(input), _) => match task.inputs.get(*input) {
                    Some(input) => input.seal()?,
                    None => return Err(Failure::other(CopyError::NoSource)),
                },
                (MountSource::Context(name), None) => {
                    return Err(Failure::other(ExecError::NoContext(name.clone())));
                }
            };
            let scratch = &self.around.scratch;
            let bound = mounts.bind(
                &self.around.store,
                tree,
                source,
                &mount.target,
                mount.read_only,
                scratch,
            );
            bound.map_err(Failure::other)?;
        }
        mounts
            .files(&op.files, &self.around.scratch)
            .map_err(Failure::other)?;
        run::run(&self.around, task, op, &mounts)
    }
}

impl Executor for Performer {
    type Snapshot = Snapshot;

    fn identify(
        &self,
        vertex: VertexId,
        op: &Op,
        sink: &dyn Sink,
        cancel: &Cancel,
    ) -> Result<Outside, Failure> {
        match op {
            Op::Scratch | Op::MakeDirectory(_) => Ok(Outside::default()),
            Op::Image(image) => {
                let base = self.around.bases.get(image);
                let base = base.ok_or_else(|| Failure::other(ExecError::NoImage(image.reference.clone())))?;
                Ok(Outside {
                    parts: vec![Part::one("image", &base.id)],
                    trees: Vec::new(),
                })
            }
            Op::Copy(op) => self.identify_copy(vertex, op, sink, cancel),
            Op::Run(op) => self.identify_run(vertex, op, sink, cancel),
        }
    }

    fn content(&self, op: &Op, input: usize, tree: TreeRef) -> Result<ContentId, Failure> {
        match op {
            Op::Copy(op) if input == 1 => {
                let copy = Copy {
                    store: &self.around.store,
                    op: &paths_only(op),
                    source: Some(tree),
                    downloads: &[],
                    owner: None,
                };
                copy.selected().map_err(Failure::other)
            }
            Op::Run(op) if input > 0 => self.mounted(op, input, tree),
            _ => Ok(tree.content),
        }
    }

    fn perform(&self, task: &Task<'_, Snapshot>) -> Result<Vec<Snapshot>, Failure> {
        let produced = match task.op {
            Op::Scratch => Snapshot::Stored(root::scratch(&*self.around.store)?),
            Op::Image(image) => {
                let base = self.around.bases.get(image);
                let base = base.ok_or_else(|| Failure::other(ExecError::NoImage(image.reference.clone())))?;
                Snapshot::Stored(base.tree)
            }
            Op::Copy(op) => Snapshot::Stored(self.copy(task, op)?),
            Op::MakeDirectory(op) => {
                let base = task
                    .inputs
                    .first()
                    .ok_or_else(|| Failure::other(CopyError::NoSource))?;
                let accounts = run::accounts(&self.around.store, base).map_err(Failure::other)?;
                let owner = accounts.owner(&op.user).map_err(Failure::other)?;
                let made = place::make_directory(&self.around.store, base.seal()?, &op.path, owner);
                Snapshot::Stored(made.map_err(Failure::other)?)
            }
            Op::Run(op) => self.run(task, op)?,
        };
        Ok(vec![produced])
    }
}

impl Performer {
    /// What a RUN's mounts show of input `input`.
    fn mounted(&self, op: &RunOp, input: usize, tree: TreeRef) -> Result<ContentId, Failure> {
        let mut shown = Vec::new();
        for mount in &op.mounts {
            let RunMountKind::Bind {
                from: MountSource::Input(from),
                source,
            } = &mount.kind
            else {
                continue;
            };
            if *from != input {
                continue;
            }
            let path = GuestPath::root()
                .join(source.as_bytes())
                .map_err(|error| Failure::other(CopyError::Name(error)))?;
            let found = walk::resolve(&self.around.store, tree, &path)?;
            let content = found
                .map(|(_, entry)| copy::content_of(&*self.around.store, entry))
                .transpose();
            let content = content.map_err(Failure::other)?;
            shown.push(content.map_or_else(String::new, |content| content.to_string()));
        }
        Ok(if shown.is_empty() {
            tree.content
        } else {
            ContentId::of(shown.join("\n").as_bytes())
        })
    }
}

/// What of a context a vertex wants.
struct Want<'a> {
    context: &'a str,
    patterns: Vec<Pattern>,
    exclude: Ignore,
    parents: bool,
    sink: &'a dyn Sink,
    cancel: &'a Cancel,
}

fn want_of_copy<'a>(
    op: &'a CopyOp,
    sink: &'a dyn Sink,
    cancel: &'a Cancel,
) -> Result<Option<Want<'a>>, Failure> {
    let CopySource::Context(context) = &op.from else {
        return Ok(None);
    };
    let mut patterns = Vec::new();
    for item in &op.sources {
        if let CopyItem::Path(written) = item {
            patterns.push(copy::pattern(written).map_err(Failure::other)?.0);
        }
    }
    Ok((!patterns.is_empty()).then_some(Want {
        context,
        patterns,
        exclude: copy::exclude(op).map_err(Failure::other)?,
        parents: op.parents,
        sink,
        cancel,
    }))
}

fn wants_of_run<'a>(
    op: &'a RunOp,
    sink: &'a dyn Sink,
    cancel: &'a Cancel,
) -> Result<Vec<(usize, Want<'a>)>, Failure> {
    let mut wants = Vec::new();
    for (number, mount) in op.mounts.iter().enumerate() {
        let RunMountKind::Bind {
            from: MountSource::Context(context),
            source,
        } = &mount.kind
        else {
            continue;
        };
        let path = GuestPath::root()
            .join(source.as_bytes())
            .map_err(|error| Failure::other(CopyError::Name(error)))?;
        let want = Want {
            context,
            patterns: vec![Pattern::literal(path.names().iter().cloned())],
            exclude: Ignore::default(),
            parents: false,
            sink,
            cancel,
        };
        wants.push((number, want));
    }
    Ok(wants)
}

/// The op with the sources alone that are paths.
fn paths_only(op: &CopyOp) -> CopyOp {
    let mut op = op.clone();
    op.sources.retain(|item| matches!(item, CopyItem::Path(_)));
    op
}

/// A name for content, whatever its form.
fn digest(content: &Content) -> String {
    match &content.data {
        Data::Inline(bytes) => format!("inline {}", ContentId::of(bytes)),
        Data::Chunk(id) => format!("chunk {id}"),
        Data::List(id) => format!("list {id}"),
    }
}
