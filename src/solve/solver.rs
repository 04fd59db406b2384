//! One solve from its plan to what it built.
//!
//! In: a plan and a `Solver`. Out: `Built`. Effects: a thread for each running vertex, one for the recorder, for the time of the call.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Scope;

use crossbeam::channel::unbounded;
use silt_store::{Store, StoreResult};

use super::flight::Flights;
use super::record::Index;
use super::recorder;
use super::schedule::{Coordinator, Report, State, Worked, guarded};
use super::step::{Outcome, Shared, recorded};
use super::{Built, Cancel, Executor, Failure, Produced, SolveError, Step};
use crate::plan::{Plan, VertexId};
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
    check(plan).map_err(SolveError::Plan)?;
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
    let limit = solver.parallelism.get();
    let (vertices, failed) = std::thread::scope(|scope| work(scope, plan, &shared, limit))?;
    if let Some((vertex, failure)) = failed {
        return Err(blame(plan, solver.cancel, vertex, failure));
    }
    built(plan, &vertices).map_err(|error| match error {
        Ended::Plan(problem) => SolveError::Plan(problem),
        Ended::Vertex(vertex, failure) => blame(plan, solver.cancel, vertex, *failure),
    })
}

/// Coordinator and recorder, until both are done.
fn work<'scope, 'env, E: Executor>(
    scope: &'scope Scope<'scope, 'env>,
    plan: &'env Plan,
    shared: &'env Shared<'env, E>,
    limit: usize,
) -> StoreResult<Worked<E::Snapshot>>
where
    E::Snapshot: 'env,
{
    let (reports, inbox) = unbounded();
    let (records, pending) = unbounded();
    let recording = scope.spawn({
        let reports = reports.clone();
        move || {
            let (vertex, failure) = match guarded(|| recorder::run(shared.executor, shared.index, &pending)) {
                Ok(Ok(())) => return,
                Ok(Err(unrecorded)) => *unrecorded,
                Err(failure) => (plan.result, failure),
            };
            drop(reports.send(Report::Unrecorded(vertex, failure)));
        }
    });
    let mut coordinator = Coordinator::new(plan, shared, scope, limit, reports, records);
    let outcome = coordinator.drive(&inbox);
    // Drops the recorder's channel: it ends when it has recorded the rest.
    let (vertices, mut failed) = coordinator.finish();
    if recording.join().is_err() {
        failed.get_or_insert((plan.result, Failure::other("the recorder stopped")));
    }
    if let Some(Report::Unrecorded(vertex, failure)) = inbox.try_iter().last() {
        failed.get_or_insert((vertex, failure));
    }
    outcome.map(|()| (vertices, failed))
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

fn check(plan: &Plan) -> Result<(), &'static str> {
    let count = plan.vertices.len();
    let ordered =
        |(id, vertex): (usize, &crate::plan::Vertex)| vertex.inputs.iter().all(|edge| edge.vertex.0 < id);
    if !plan.vertices.iter().enumerate().all(ordered) {
        return Err("an input does not come before its user");
    }
    if plan.result.0 >= count || plan.chain.iter().any(|vertex| vertex.0 >= count) {
        return Err("the result is not among the vertices");
    }
    if plan
        .chain
        .iter()
        .any(|vertex| plan.vertices[vertex.0].inputs.is_empty())
    {
        return Err("a step of the chain stands on nothing");
    }
    Ok(())
}

enum Ended {
    Plan(&'static str),
    Vertex(VertexId, Box<Failure>),
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
        snapshot
            .seal()
            .map_err(|failure| Ended::Vertex(vertex, Box::new(failure)))
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
            .filter(|(vertex, _)| recorded(&vertex.op));
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
