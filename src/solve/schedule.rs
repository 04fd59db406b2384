//! All vertices of a plan: which are needed, which came from the cache, which can start; several at once.
//!
//! In: a plan and what all steps share. Out: each needed vertex's outcome. Effects: a thread for each running vertex.
//!
//! One coordinator holds all state; threads report to it through a channel. A pass over the vertices in topological order
//! moves each as far as what is known allows: identify -> key -> look-up -> (needed and missed) inputs needed -> start.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::Scope;
use std::time::Instant;

use crossbeam::channel::{Receiver, Sender};
use silt_store::StoreResult;

use super::key::{CacheKey, definition_key, op_parts};
use super::recorder::Pending;
use super::step::{Outcome, Ready, Shared, fail, recorded};
use super::{Executor, Failure, Outside, Produced, reads_outside, recall};
use crate::plan::{Plan, VertexId};
use crate::progress::Event;

/// For each vertex of the chain, the one below it if that is of the chain, too.
fn below(plan: &Plan) -> HashMap<usize, Option<usize>> {
    let pairs = plan.chain.iter().map(|vertex| {
        let under = plan.vertices[vertex.0].inputs[0].vertex;
        (vertex.0, plan.chain.contains(&under).then_some(under.0))
    });
    pairs.collect()
}

/// A panic in a vertex's thread is that vertex's failure, not the end of the engine.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Failure::other(format!("internal error: {text}"))
    })
}

/// What became of each vertex, and the first failure.
pub(super) type Worked<S> = (Vec<State<S>>, Option<(VertexId, Failure)>);

pub(super) enum Report<S> {
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

pub(super) struct State<S> {
    outside: Outer,
    key: Option<CacheKey>,
    tainted: bool,
    look: Look,
    needed: bool,
    started: bool,
    began: Option<Instant>,
    pub(super) outcome: Option<Outcome<S>>,
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

pub(super) struct Coordinator<'scope, 'env, E: Executor> {
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

impl<'scope, 'env, E: Executor> Coordinator<'scope, 'env, E>
where
    E::Snapshot: 'env,
{
    pub(super) fn new(
        plan: &'env Plan,
        shared: &'env Shared<'env, E>,
        scope: &'scope Scope<'scope, 'env>,
        limit: usize,
        reports: Sender<Report<E::Snapshot>>,
        recorder: Sender<Pending<'env, E::Snapshot>>,
    ) -> Self {
        Self {
            plan,
            shared,
            scope,
            limit,
            running: 0,
            reports,
            recorder,
            vertices: plan.vertices.iter().map(|_| State::default()).collect(),
            below: below(plan),
            failed: None,
        }
    }

    /// What became of each vertex, and the first failure.
    pub(super) fn finish(self) -> Worked<E::Snapshot> {
        (self.vertices, self.failed)
    }

    pub(super) fn drive(&mut self, inbox: &Receiver<Report<E::Snapshot>>) -> StoreResult<()> {
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
            let Ok(report) = inbox.recv() else {
                let gone = Failure::other("no thread is left to report");
                self.failed.get_or_insert((self.plan.result, gone));
                return Ok(());
            };
            self.take(report);
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
    fn advance(&mut self) -> StoreResult<()> {
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

    fn work_out_key(&mut self, id: usize) -> StoreResult<()> {
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

    fn look_up(&mut self, id: usize) -> StoreResult<()> {
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
