//! All vertices of a plan: which are needed, which came from the cache, which can start; several at once.
//!
//! In: a plan and a `Solver`. Out: `Built`. Effects: a thread for each running vertex, one for the recorder, for the time of the call.
//!
//! One coordinator holds all state; threads report to it through a channel. A pass over the vertices in topological order
//! moves each as far as what is known allows: identify -> key -> look-up -> (needed and missed) inputs needed -> start.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Scope;
use std::time::Instant;

use crossbeam::channel::{Receiver, Sender, unbounded};
use silt_store::Store;

use super::flight::Flights;
use super::key::{CacheKey, definition_key, op_parts};
use super::record::Index;
use super::recorder::{self, Pending};
use super::step::{Outcome, Ready, Shared, fail, recorded};
use super::{Built, Cancel, Executor, Failure, Outside, Produced, SolveError, Step, reads_outside, recall};
use crate::plan::{Op, Plan, VertexId};
use crate::progress::{Event, Sink};

/// What a solve works with.
pub struct Solver<'a, E: Executor> {
    /// Holds the index.
    pub store: &'a Arc<dyn Store>,
    /// Does the work.
    pub executor: &'a E,
    /// Hears what happens.
    pub sink: &'a dyn Sink,
    /// Stops it.
    pub cancel: &'a Cancel,
    /// The vertices in flight of all solves that share this table.
    pub flights: &'a Flights<Outcome<E::Snapshot>>,
    /// How many vertices may work at once.
    pub parallelism: NonZeroUsize,
}

/// Solves `plan`: finds or makes its result and the steps of its chain, all sealed and recorded.
///
/// # Errors
/// `Vertex` for the first vertex that failed, `Cancelled`, `Plan`, `Store`.
pub fn solve<E: Executor>(plan: &Plan, solver: &Solver<'_, E>) -> Result<Built, SolveError> {
    static BUILDS: AtomicU64 = AtomicU64::new(0);
    check(plan)?;
    let names = plan.vertices.iter().map(|vertex| vertex.name.clone()).collect();
    solver.sink.event(Event::Planned { vertices: names });
    let index = Index::new(Arc::clone(solver.store));
    let (cancel, _tie) = solver.cancel.child();
    let shared = Shared {
        executor: solver.executor,
        index: &index,
        flights: solver.flights,
        sink: solver.sink,
        cancel: &cancel,
        build: BUILDS.fetch_add(1, Ordering::Relaxed),
    };
    let solved = std::thread::scope(|scope| {
        let (reports, inbox) = unbounded();
        let (recorder, pending) = unbounded();
        let recording = scope.spawn({
            let (shared, reports) = (&shared, reports.clone());
            move || {
                let recorded = guarded(|| recorder::run(shared.executor, shared.index, &pending));
                match recorded {
                    Ok(Ok(())) => {}
                    Ok(Err((vertex, failure))) => drop(reports.send(Report::Unrecorded(vertex, failure))),
                    Err(failure) => drop(reports.send(Report::Unrecorded(plan.result, failure))),
                }
            }
        });
        let mut coordinator = Coordinator {
            plan,
            shared: &shared,
            scope,
            limit: solver.parallelism.get(),
            running: 0,
            reports,
            recorder,
            vertices: plan.vertices.iter().map(|_| State::default()).collect(),
            below: below(plan),
            failed: None,
        };
        let outcome = coordinator.drive(&inbox);
        let Coordinator {
            vertices,
            mut failed,
            reports,
            recorder,
            ..
        } = coordinator;
        drop((recorder, reports));
        if recording.join().is_err() {
            failed.get_or_insert((plan.result, Failure::other("the recorder stopped")));
        }
        if let Some(Report::Unrecorded(vertex, failure)) = inbox.try_iter().last() {
            failed.get_or_insert((vertex, failure));
        }
        outcome.map(|()| (vertices, failed))
    });
    let (vertices, failed) = solved?;
    if let Some((vertex, failure)) = failed {
        return Err(blame(plan, solver.cancel, vertex, failure));
    }
    built(plan, &vertices).map_err(|error| match error {
        Ended::Plan(problem) => SolveError::Plan(problem),
        Ended::Vertex(vertex, failure) => blame(plan, solver.cancel, vertex, failure),
    })
}

fn blame(plan: &Plan, cancel: &Cancel, vertex: VertexId, failure: Failure) -> SolveError {
    if cancel.is_cancelled() {
        return SolveError::Cancelled;
    }
    let blamed = &plan.vertices[vertex.0];
    SolveError::Vertex {
        vertex,
        name: blamed.name.clone(),
        lines: blamed.lines,
        failure,
    }
}

fn check(plan: &Plan) -> Result<(), SolveError> {
    let count = plan.vertices.len();
    let ordered =
        |(id, vertex): (usize, &crate::plan::Vertex)| vertex.inputs.iter().all(|edge| edge.vertex.0 < id);
    if !plan.vertices.iter().enumerate().all(ordered) {
        return Err(SolveError::Plan("an input does not come before its user"));
    }
    if plan.result.0 >= count || plan.chain.iter().any(|vertex| vertex.0 >= count) {
        return Err(SolveError::Plan("the result is not among the vertices"));
    }
    if plan
        .chain
        .iter()
        .any(|vertex| plan.vertices[vertex.0].inputs.is_empty())
    {
        return Err(SolveError::Plan("a step of the chain stands on nothing"));
    }
    Ok(())
}

/// For each vertex of the chain, the one below it if that is of the chain, too.
fn below(plan: &Plan) -> HashMap<usize, Option<usize>> {
    let pairs = plan.chain.iter().map(|vertex| {
        let under = plan.vertices[vertex.0].inputs[0].vertex;
        (vertex.0, plan.chain.contains(&under).then_some(under.0))
    });
    pairs.collect()
}

/// A panic in a vertex's thread is that vertex's failure, not the end of the engine.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Failure::other(format!("internal error: {text}"))
    })
}

enum Report<S> {
    Identified(VertexId, Result<Outside, Failure>),
    Ended(VertexId, Result<Outcome<S>, Failure>),
    Unrecorded(VertexId, Failure),
}

enum Outer {
    Unasked,
    Asked,
    Known(Outside),
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Look {
    Unknown,
    Hit,
    Miss,
}

struct State<S> {
    outside: Outer,
    key: Option<CacheKey>,
    tainted: bool,
    look: Look,
    needed: bool,
    started: bool,
    began: Option<Instant>,
    outcome: Option<Outcome<S>>,
}

impl<S> Default for State<S> {
    fn default() -> Self {
        Self {
            outside: Outer::Unasked,
            key: None,
            tainted: false,
            look: Look::Unknown,
            needed: false,
            started: false,
            began: None,
            outcome: None,
        }
    }
}

struct Coordinator<'scope, 'env, E: Executor> {
    plan: &'env Plan,
    shared: &'env Shared<'env, E>,
    scope: &'scope Scope<'scope, 'env>,
    limit: usize,
    running: usize,
    reports: Sender<Report<E::Snapshot>>,
    recorder: Sender<Pending<'env, E::Snapshot>>,
    vertices: Vec<State<E::Snapshot>>,
    below: HashMap<usize, Option<usize>>,
    failed: Option<(VertexId, Failure)>,
}

impl<'env, E: Executor> Coordinator<'_, 'env, E>
where
    E::Snapshot: 'env,
{
    fn drive(&mut self, inbox: &Receiver<Report<E::Snapshot>>) -> Result<(), SolveError> {
        self.vertices[self.plan.result.0].needed = true;
        for vertex in &self.plan.chain {
            self.vertices[vertex.0].needed = true;
        }
        loop {
            let stopped = self.failed.is_some() || self.shared.cancel.is_cancelled();
            if !stopped {
                if let Err(error) = self.advance() {
                    self.shared.cancel.cancel();
                    self.drain(inbox);
                    return Err(error);
                }
                if self
                    .vertices
                    .iter()
                    .all(|state| !state.needed || state.outcome.is_some())
                {
                    return Ok(());
                }
            }
            if self.running == 0 {
                // Only a cancelled build has nothing running and something missing.
                self.failed.get_or_insert((self.plan.result, Failure::Cancelled));
                return Ok(());
            }
            match inbox.recv() {
                Ok(report) => self.take(report),
                Err(_) => return Err(SolveError::Plan("no thread is left to report")),
            }
        }
    }

    fn drain(&mut self, inbox: &Receiver<Report<E::Snapshot>>) {
        while self.running > 0 {
            let Ok(report) = inbox.recv() else { return };
            self.take(report);
        }
    }

    fn take(&mut self, report: Report<E::Snapshot>) {
        let (vertex, failure) = match report {
            Report::Identified(vertex, Ok(outside)) => {
                self.running -= 1;
                self.vertices[vertex.0].outside = Outer::Known(outside);
                return;
            }
            Report::Ended(vertex, Ok(outcome)) => {
                self.running -= 1;
                self.vertices[vertex.0].outcome = Some(outcome);
                return;
            }
            Report::Identified(vertex, Err(failure)) => {
                self.running -= 1;
                if let Some(began) = self.vertices[vertex.0].began {
                    fail(self.shared.sink, vertex, began, &failure);
                }
                (vertex, failure)
            }
            Report::Ended(vertex, Err(failure)) => {
                self.running -= 1;
                (vertex, failure)
            }
            Report::Unrecorded(vertex, failure) => (vertex, failure),
        };
        // A cancelled vertex is a consequence: whoever caused it reports, or has.
        let consequence = matches!(failure, Failure::Cancelled);
        match &self.failed {
            None => self.failed = Some((vertex, failure)),
            Some((_, Failure::Cancelled)) if !consequence => self.failed = Some((vertex, failure)),
            Some(_) => {}
        }
        self.shared.cancel.cancel();
    }

    /// One pass: whatever can be known or started now, is.
    fn advance(&mut self) -> Result<(), SolveError> {
        for id in 0..self.plan.vertices.len() {
            self.identify(id);
            self.work_out_key(id)?;
        }
        for id in self.by_need() {
            self.look_up(id)?;
        }
        for id in 0..self.plan.vertices.len() {
            self.start(id);
        }
        Ok(())
    }

    fn identify(&mut self, id: usize) {
        let vertex = &self.plan.vertices[id];
        if !matches!(self.vertices[id].outside, Outer::Unasked) {
            return;
        }
        if !reads_outside(&vertex.op) {
            self.vertices[id].outside = Outer::Known(Outside::default());
            return;
        }
        if self.running >= self.limit {
            return;
        }
        self.vertices[id].outside = Outer::Asked;
        if recorded(&vertex.op) {
            self.shared.sink.event(Event::Started { vertex: VertexId(id) });
            self.vertices[id].began = Some(Instant::now());
        }
        let (shared, reports) = (self.shared, self.reports.clone());
        self.running += 1;
        self.scope.spawn(move || {
            let identify = || {
                shared
                    .executor
                    .identify(VertexId(id), &vertex.op, shared.sink, shared.cancel)
            };
            let outside = guarded(identify).and_then(|outside| outside);
            drop(reports.send(Report::Identified(VertexId(id), outside)));
        });
    }

    fn work_out_key(&mut self, id: usize) -> Result<(), SolveError> {
        let vertex = &self.plan.vertices[id];
        let Outer::Known(outside) = &self.vertices[id].outside else {
            return Ok(());
        };
        if self.vertices[id].key.is_some() {
            return Ok(());
        }
        let Some(inputs) = self.input_keys(id) else {
            return Ok(());
        };
        let mut parts = op_parts(&vertex.op);
        parts.extend(outside.parts.iter().cloned());
        let key = definition_key(&parts, &inputs);
        let inherited = vertex
            .inputs
            .iter()
            .any(|edge| self.vertices[edge.vertex.0].tainted);
        let tainted = inherited || (vertex.ignore_cache && recorded(&vertex.op));
        if tainted {
            self.shared.index.forget(key)?;
        }
        self.vertices[id].key = Some(key);
        self.vertices[id].tainted = tainted;
        Ok(())
    }

    fn input_keys(&self, id: usize) -> Option<Vec<(CacheKey, usize)>> {
        let inputs = self.plan.vertices[id].inputs.iter();
        inputs
            .map(|edge| Some((self.vertices[edge.vertex.0].key?, edge.output)))
            .collect()
    }

    /// The chain upwards, since a hit there depends on the one below; then the others from the result down, since only
    /// those above tell whether they are needed.
    fn by_need(&self) -> Vec<usize> {
        let chain = self.plan.chain.iter().map(|vertex| vertex.0);
        let others = (0..self.plan.vertices.len())
            .rev()
            .filter(|id| !self.below.contains_key(id));
        chain.chain(others).collect()
    }

    fn look_up(&mut self, id: usize) -> Result<(), SolveError> {
        let state = &self.vertices[id];
        if state.look != Look::Unknown || !state.needed {
            return Ok(());
        }
        let Some(key) = state.key else { return Ok(()) };
        let under = self.below.get(&id).copied().flatten();
        if under.is_some_and(|under| self.vertices[under].look == Look::Unknown) {
            return Ok(());
        }
        let mut found = None;
        if !state.tainted && recorded(&self.plan.vertices[id].op) {
            found = self.shared.index.by_definition(key)?;
        }
        if let (Some(record), Some(under)) = (&found, under) {
            let output = self.plan.vertices[id].inputs[0].output;
            let given = self.vertices[under]
                .outcome
                .as_ref()
                .and_then(|outcome| outcome.outputs.get(output)?.known());
            let continues = self.vertices[under].look == Look::Hit
                && given.map(|tree| tree.content) == record.inputs.first().map(|tree| tree.content);
            if !continues {
                found = None;
            }
        }
        let state = &mut self.vertices[id];
        if let Some(record) = found {
            state.look = Look::Hit;
            state.outcome = Some(Outcome {
                inputs: recall(&record.inputs),
                outputs: recall(&record.outputs),
                created: record.created,
                cached: true,
            });
            self.shared.sink.event(Event::Cached { vertex: VertexId(id) });
        } else {
            state.look = Look::Miss;
            for edge in &self.plan.vertices[id].inputs {
                self.vertices[edge.vertex.0].needed = true;
            }
        }
        Ok(())
    }

    fn start(&mut self, id: usize) {
        let vertex = &self.plan.vertices[id];
        let state = &self.vertices[id];
        let (Some(key), Look::Miss, false) = (state.key, state.look, state.started) else {
            return;
        };
        if self.running >= self.limit {
            return;
        }
        let Outer::Known(outside) = &state.outside else {
            return;
        };
        let Some(input_keys) = self.input_keys(id) else {
            return;
        };
        let inputs = vertex.inputs.iter().map(|edge| {
            let producer = self.vertices[edge.vertex.0].outcome.as_ref()?;
            producer.outputs.get(edge.output).cloned()
        });
        let Some(inputs) = inputs.collect::<Option<Vec<_>>>() else {
            return;
        };
        let mut parts = op_parts(&vertex.op);
        parts.extend(outside.parts.iter().cloned());
        let ready = Ready {
            id: VertexId(id),
            vertex,
            key,
            tainted: state.tainted,
            parts,
            outside: outside.trees.clone(),
            input_keys,
            inputs,
            began: state.began,
            recorder: self.recorder.clone(),
        };
        self.vertices[id].started = true;
        self.running += 1;
        let (shared, reports) = (self.shared, self.reports.clone());
        self.scope.spawn(move || {
            let ended = guarded(|| ready.run(shared)).and_then(|ended| ended);
            drop(reports.send(Report::Ended(VertexId(id), ended)));
        });
    }
}

enum Ended {
    Plan(&'static str),
    Vertex(VertexId, Failure),
}

/// Waits for the seals of what the result needs.
fn built<S: Produced>(plan: &Plan, vertices: &[State<S>]) -> Result<Built, Ended> {
    let outcome = |vertex: VertexId| {
        let outcome = vertices[vertex.0].outcome.as_ref();
        outcome.ok_or(Ended::Plan("a vertex of the result was not solved"))
    };
    let seal = |vertex: VertexId, snapshots: &[S], output: usize| {
        let snapshot = snapshots
            .get(output)
            .ok_or(Ended::Plan("a vertex has no such output"))?;
        snapshot.seal().map_err(|failure| Ended::Vertex(vertex, failure))
    };
    let mut chain = Vec::with_capacity(plan.chain.len());
    for vertex in &plan.chain {
        let step = outcome(*vertex)?;
        chain.push(Step {
            vertex: *vertex,
            lower: seal(*vertex, &step.inputs, 0)?,
            upper: seal(*vertex, &step.outputs, 0)?,
            created: step.created,
            created_by: plan.vertices[vertex.0].created_by.clone(),
            cached: step.cached,
        });
    }
    let counted = |cached: bool| {
        let own = plan
            .vertices
            .iter()
            .zip(vertices)
            .filter(|(vertex, _)| !matches!(vertex.op, Op::Image(_) | Op::Scratch));
        own.filter(|(_, state)| {
            state
                .outcome
                .as_ref()
                .is_some_and(|outcome| outcome.cached == cached)
        })
        .count()
    };
    Ok(Built {
        result: seal(plan.result, &outcome(plan.result)?.outputs, 0)?,
        chain,
        performed: counted(false),
        cached: counted(true),
    })
}
