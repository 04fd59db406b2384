//! Outcomes to the index, behind the build's back: waits until they are sealed, then records a group at a time.
//!
//! In: outcomes, in the order in which steps ended. Out: records, or the failure of the vertex whose sealing failed. Effects: cache
//! records. One thread for each build; one `sync` for all that waited meanwhile.

use crossbeam::channel::Receiver;
use silt_store::TreeRef;

use super::flight::Ticket;
use super::key::{CacheKey, OpKey, Part, content_key};
use super::record::{CacheRecord, Index, Recordable};
use super::step::Outcome;
use super::{Executor, Failure, Produced, of_store};
use crate::plan::{Op, VertexId};

/// An outcome that is to be recorded.
pub(super) struct Pending<'a, S> {
    pub(super) vertex: VertexId,
    pub(super) op: &'a Op,
    pub(super) definition: CacheKey,
    /// The op's key, if this was performed; a content hit only needs its definition key recorded.
    pub(super) performed: Option<OpKey>,
    pub(super) name: &'a str,
    pub(super) parts: Vec<Part>,
    pub(super) input_keys: Vec<(CacheKey, usize)>,
    pub(super) outside: Vec<TreeRef>,
    pub(super) outcome: Outcome<S>,
    /// Dropped when the record stands: from then on the index answers.
    pub(super) ticket: Ticket<Outcome<S>>,
}

/// Records until the channel closes; stops at the first failure.
pub(super) fn run<E: Executor>(
    executor: &E,
    index: &Index,
    pending: &Receiver<Pending<'_, E::Snapshot>>,
) -> Result<(), Box<(VertexId, Failure)>> {
    while let Ok(first) = pending.recv() {
        let mut group = vec![first];
        group.extend(pending.try_iter());
        let mut outcomes = Vec::with_capacity(group.len());
        for item in &group {
            outcomes.push(sealed(executor, item).map_err(|failure| Box::new((item.vertex, failure)))?);
        }
        of_store(index.put(&outcomes)).map_err(|failure| Box::new((group[0].vertex, failure)))?;
        for item in group {
            drop(item.ticket);
        }
    }
    Ok(())
}

fn sealed<E: Executor>(executor: &E, item: &Pending<'_, E::Snapshot>) -> Result<Recordable, Failure> {
    let seal = |snapshots: &[E::Snapshot]| {
        snapshots
            .iter()
            .map(Produced::seal)
            .collect::<Result<Vec<_>, _>>()
    };
    let inputs = seal(&item.outcome.inputs)?;
    let outputs = seal(&item.outcome.outputs)?;
    let fresh = match item.performed {
        None => None,
        Some(op) => {
            let contents = inputs
                .iter()
                .enumerate()
                .map(|(input, tree)| executor.content(item.op, input, *tree));
            let contents = contents.collect::<Result<Vec<_>, _>>()?;
            Some((op, content_key(&item.parts, &contents)))
        }
    };
    let record = CacheRecord {
        name: item.name.to_owned(),
        created: item.outcome.created,
        parts: item.parts.clone(),
        input_keys: item.input_keys.clone(),
        inputs,
        outputs,
        outside: item.outside.clone(),
    };
    Ok((item.definition, fresh, record))
}
