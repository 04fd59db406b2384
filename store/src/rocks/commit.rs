//! Durability: everything put before a record is on disk before the record is, and many callers share one write.
//!
//! In: writes that were made without the log, records to be written. Out: durability. Effects: disk. Spec: `store/DESIGN.md`,
//! "Crashes". Few bytes are written once more, with the log and together with the record: one `fdatasync`. Many are
//! flushed, all families at once, and then the record is written. One caller leads, those that come meanwhile are in the next
//! round.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rocksdb::{DB, FlushOptions, WriteBatch, WriteOptions};

use super::failure::database;
use super::schema::{self, Family};
use crate::StoreResult;

/// Up to so many bytes go through the log.
const LOGGED: usize = 2 << 20;

/// One key written or deleted.
#[derive(Clone)]
pub(super) struct Op {
    family: Family,
    key: Box<[u8]>,
    value: Option<Bytes>,
}

impl Op {
    pub(super) fn put(family: Family, key: &[u8], value: Bytes) -> Self {
        Self {
            family,
            key: key.into(),
            value: Some(value),
        }
    }

    pub(super) fn delete(family: Family, key: &[u8]) -> Self {
        Self {
            family,
            key: key.into(),
            value: None,
        }
    }

    pub(super) fn add_to(&self, db: &DB, batch: &mut WriteBatch) -> StoreResult<()> {
        let family = schema::handle(db, self.family)?;
        match &self.value {
            Some(value) => batch.put_cf(family, &self.key, value),
            None => batch.delete_cf(family, &self.key),
        }
        Ok(())
    }

    pub(super) fn size(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

#[derive(Default)]
pub(super) struct Committer {
    state: Mutex<State>,
    turn: Condvar,
}

#[derive(Default)]
struct State {
    /// Written without the log since the last round; empty when `flush` is set.
    unlogged: Vec<Op>,
    unlogged_bytes: usize,
    /// More was written than goes through the log.
    flush: bool,
    /// Records that wait for a round, each with its caller's ticket.
    waiting: Vec<(u64, Op)>,
    next_ticket: u64,
    /// How many rounds were begun, and up to which one all is durable.
    begun: u64,
    durable: u64,
    leading: bool,
}

/// What one round makes durable.
struct Round {
    unlogged: Vec<Op>,
    flush: bool,
    records: Vec<(u64, Op)>,
}

impl State {
    fn has_work(&self) -> bool {
        self.flush || !self.unlogged.is_empty() || !self.waiting.is_empty()
    }

    fn begin(&mut self) -> Round {
        self.leading = true;
        self.begun += 1;
        self.unlogged_bytes = 0;
        Round {
            unlogged: std::mem::take(&mut self.unlogged),
            flush: std::mem::take(&mut self.flush),
            records: std::mem::take(&mut self.waiting),
        }
    }

    /// Puts a failed round's work back, but for the record of the caller who gets the error.
    fn restore(&mut self, round: Round, ticket: Option<u64>) {
        if round.flush || !round.unlogged.is_empty() {
            self.flush = true;
            self.unlogged.clear();
        }
        let newer = std::mem::replace(&mut self.waiting, round.records);
        self.waiting.extend(newer);
        self.waiting.retain(|(number, _)| Some(*number) != ticket);
    }
}

impl Committer {
    /// Notes what was just written without the log.
    pub(super) fn written(&self, ops: Vec<Op>) {
        let mut state = self.lock();
        let bytes: usize = ops.iter().map(Op::size).sum();
        if state.flush {
            return;
        }
        state.unlogged_bytes += bytes;
        if state.unlogged_bytes > LOGGED {
            state.flush = true;
            state.unlogged = Vec::new();
        } else {
            state.unlogged.extend(ops);
        }
    }

    /// Makes all that was noted before durable, then `record`, and returns when both are. With nothing to do it costs a lock.
    pub(super) fn commit(&self, db: &DB, record: Option<Op>) -> StoreResult<()> {
        let mut state = self.lock();
        let mut ticket = None;
        if let Some(record) = record {
            state.next_ticket += 1;
            ticket = Some(state.next_ticket);
            let number = state.next_ticket;
            state.waiting.push((number, record));
        }
        // The round that will take all noted so far: the next one, or the one under way.
        let target = state.begun + u64::from(state.has_work());
        while state.durable < target {
            if state.leading {
                state = self.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let round = state.begin();
            let number = state.begun;
            drop(state);
            let written = round.write(db);
            state = self.lock();
            state.leading = false;
            self.turn.notify_all();
            match written {
                Ok(()) => state.durable = number,
                Err(error) => {
                    state.restore(round, ticket);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Round {
    fn write(&self, db: &DB) -> StoreResult<()> {
        if self.flush {
            let families: Vec<_> = Family::all()
                .map(|family| schema::handle(db, family))
                .collect::<Result<_, _>>()?;
            let mut options = FlushOptions::default();
            options.set_wait(true);
            db.flush_cfs_opt(&families, &options)
                .map_err(database("flushing"))?;
        }
        let mut batch = WriteBatch::default();
        for op in self.unlogged.iter().chain(self.records.iter().map(|(_, op)| op)) {
            op.add_to(db, &mut batch)?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        let mut durable = WriteOptions::default();
        durable.set_sync(true);
        db.write_opt(batch, &durable)
            .map_err(database("writing a record"))
    }
}
