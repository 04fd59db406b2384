//! One vertex that missed its definition key: asked for by content, then performed, announced, handed to the recorder.
//!
//! In: the vertex, its keys and inputs. Out: its outcome. Effects: events, whatever the executor does.

use std::time::Instant;

use crossbeam::channel::Sender;
use silt_store::{Time, TreeRef};

use super::flight::{Flights, Ticket, Turn};
use super::key::{CacheKey, Part, content_key, op_key};
use super::record::Index;
use super::recorder::Pending;
use super::{Cancel, Executor, Failure, Produced, Task, now, of_store, recall};
use crate::plan::{Op, Vertex, VertexId};
use crate::progress::{Event, Sink};

/// What a vertex gave, and what it took: for a hit both are the record's.
#[derive(Debug, Clone)]
pub struct Outcome<S> {
    pub(super) inputs: Vec<S>,
    pub(super) outputs: Vec<S>,
    pub(super) created: Time,
    pub(super) cached: bool,
}

/// What all steps of a build share.
pub(super) struct Shared<'a, E: Executor> {
    pub(super) executor: &'a E,
    pub(super) index: &'a Index,
    pub(super) flights: &'a Flights<Outcome<E::Snapshot>>,
    pub(super) sink: &'a dyn Sink,
    pub(super) cancel: &'a Cancel,
    /// Tells this build's forced runs from other builds' in the table of flights.
    pub(super) build: u64,
}

/// A vertex ready to go: its inputs stand.
pub(super) struct Ready<'a, S> {
    pub(super) id: VertexId,
    pub(super) vertex: &'a Vertex,
    pub(super) key: CacheKey,
    /// Whether something at or below it ignores the cache.
    pub(super) tainted: bool,
    pub(super) parts: Vec<Part>,
    pub(super) outside: Vec<TreeRef>,
    pub(super) input_keys: Vec<(CacheKey, usize)>,
    pub(super) inputs: Vec<S>,
    /// When its identification began, if it was announced then.
    pub(super) began: Option<Instant>,
    pub(super) recorder: Sender<Pending<'a, S>>,
}

/// Whether outcomes of the op are recorded here: images and the empty tree are somebody else's to keep.
pub(super) fn recorded(op: &Op) -> bool {
    !matches!(op, Op::Image(_) | Op::Scratch)
}

impl<S: Produced> Ready<'_, S> {
    /// Finds or makes the outcome.
    pub(super) fn run<E: Executor<Snapshot = S>>(
        self,
        shared: &Shared<'_, E>,
    ) -> Result<Outcome<S>, Failure> {
        let flight = if self.tainted {
            forced(self.key, shared.build)
        } else {
            self.key
        };
        match shared.flights.join(flight, shared.cancel) {
            Turn::Cancelled => Err(Failure::Cancelled),
            Turn::Landed(outcome) => {
                shared.sink.event(Event::Cached { vertex: self.id });
                Ok(outcome)
            }
            Turn::Run(ticket) => self.find_or_perform(shared, ticket),
        }
    }

    fn find_or_perform<E: Executor<Snapshot = S>>(
        self,
        shared: &Shared<'_, E>,
        ticket: Ticket<Outcome<S>>,
    ) -> Result<Outcome<S>, Failure> {
        if shared.cancel.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        let op = op_key(&self.parts);
        if let Some(outcome) = self.by_content(shared, op)? {
            shared.sink.event(Event::Cached { vertex: self.id });
            self.hand_over(outcome.clone(), None, ticket);
            return Ok(outcome);
        }
        let began = self.began.unwrap_or_else(|| {
            shared.sink.event(Event::Started { vertex: self.id });
            Instant::now()
        });
        let outputs = shared.executor.perform(&Task {
            vertex: self.id,
            name: &self.vertex.name,
            op: &self.vertex.op,
            key: self.key,
            inputs: &self.inputs,
            sink: shared.sink,
            cancel: shared.cancel,
        });
        let outputs = outputs.inspect_err(|failure| fail(shared.sink, self.id, began, failure))?;
        shared.sink.event(Event::Finished {
            vertex: self.id,
            duration: began.elapsed(),
        });
        let outcome = Outcome {
            inputs: self.inputs.clone(),
            outputs,
            created: now(),
            cached: false,
        };
        self.hand_over(outcome.clone(), Some(op), ticket);
        Ok(outcome)
    }

    /// The outcome of this op on inputs of the same content. Waits for the inputs' digests only if the index has any outcome
    /// of this op: otherwise the step starts at once.
    fn by_content<E: Executor<Snapshot = S>>(
        &self,
        shared: &Shared<'_, E>,
        op: super::OpKey,
    ) -> Result<Option<Outcome<S>>, Failure> {
        if self.vertex.ignore_cache || !recorded(&self.vertex.op) || !of_store(shared.index.knows(op))? {
            return Ok(None);
        }
        let contents = self.inputs.iter().enumerate().map(|(input, snapshot)| {
            let tree = snapshot.seal()?;
            shared.executor.content(&self.vertex.op, input, tree)
        });
        let contents = contents.collect::<Result<Vec<_>, _>>()?;
        let record = of_store(shared.index.by_content(content_key(&self.parts, &contents)))?;
        Ok(record.map(|record| Outcome {
            inputs: recall(&record.inputs),
            outputs: recall(&record.outputs),
            created: record.created,
            cached: true,
        }))
    }

    fn hand_over(self, outcome: Outcome<S>, performed: Option<super::OpKey>, ticket: Ticket<Outcome<S>>) {
        ticket.land(outcome.clone());
        if !recorded(&self.vertex.op) {
            return;
        }
        let pending = Pending {
            vertex: self.id,
            op: &self.vertex.op,
            definition: self.key,
            performed,
            name: &self.vertex.name,
            parts: self.parts,
            input_keys: self.input_keys,
            outside: self.outside,
            outcome,
            ticket,
        };
        // A recorder that is gone has failed, and its failure is the build's.
        drop(self.recorder.send(pending));
    }
}

/// The flight of a run that must not be answered by another build's.
fn forced(key: CacheKey, build: u64) -> CacheKey {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(&build.to_le_bytes());
    CacheKey::from_bytes(*hasher.finalize().as_bytes())
}

/// Announces a failure.
pub(super) fn fail(sink: &dyn Sink, vertex: VertexId, began: Instant, failure: &Failure) {
    sink.event(Event::Failed {
        vertex,
        duration: began.elapsed(),
        message: failure.to_string(),
    });
}
