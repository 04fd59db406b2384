//! Vertices in flight: the same one, asked for by several builds or several stages at once, runs once.
//!
//! In: a definition key. Out: the right to run it, or the outcome of whoever has that right. Effects: waiting. An outcome stays
//! here until its record is in the index, so between the end of a step and the end of its sealing it is found as well.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::cancel::Cancel;
use super::key::CacheKey;

/// How often a waiter looks whether its own build was cancelled.
const PATIENCE: Duration = Duration::from_millis(20);

enum State<T> {
    Running,
    Landed(T),
    Abandoned,
}

struct Flight<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

type Table<T> = Mutex<HashMap<CacheKey, Arc<Flight<T>>>>;

/// The vertices in flight of one engine; `T` is what a vertex gives.
pub struct Flights<T>(Arc<Table<T>>);

/// What a caller is to do.
pub(crate) enum Turn<T> {
    /// Run it; others wait until this is landed or dropped.
    Run(Ticket<T>),
    /// It was run by another.
    Landed(T),
    /// The caller's build was cancelled while it waited.
    Cancelled,
}

/// The right and duty to run a vertex. Dropped without landing, the next waiter gets it.
pub(crate) struct Ticket<T> {
    key: CacheKey,
    flight: Arc<Flight<T>>,
    table: Arc<Table<T>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Flights<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Flights<T> {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until `key` is the caller's to run, or was run.
    pub(crate) fn join(&self, key: CacheKey, cancel: &Cancel) -> Turn<T> {
        loop {
            let flight = {
                let mut table = lock(&self.0);
                if let Some(flight) = table.get(&key) {
                    Arc::clone(flight)
                } else {
                    let flight = Arc::new(Flight {
                        state: Mutex::new(State::Running),
                        changed: Condvar::new(),
                    });
                    table.insert(key, Arc::clone(&flight));
                    return Turn::Run(Ticket {
                        key,
                        flight,
                        table: Arc::clone(&self.0),
                    });
                }
            };
            let mut state = lock(&flight.state);
            loop {
                match &*state {
                    State::Landed(outcome) => return Turn::Landed(outcome.clone()),
                    State::Abandoned => break,
                    State::Running if cancel.is_cancelled() => return Turn::Cancelled,
                    State::Running => {
                        let waited = flight.changed.wait_timeout(state, PATIENCE);
                        state = waited.unwrap_or_else(PoisonError::into_inner).0;
                    }
                }
            }
        }
    }
}

impl<T> Ticket<T> {
    /// Hands the outcome to those who wait, and to those who come until the ticket is dropped.
    pub(crate) fn land(&self, outcome: T) {
        *lock(&self.flight.state) = State::Landed(outcome);
        self.flight.changed.notify_all();
    }
}

impl<T> Drop for Ticket<T> {
    fn drop(&mut self) {
        lock(&self.table).remove(&self.key);
        let mut state = lock(&self.flight.state);
        if matches!(*state, State::Running) {
            *state = State::Abandoned;
        }
        self.flight.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    const KEY: CacheKey = CacheKey::from_bytes([1; 32]);

    #[test]
    fn one_runs_and_the_others_get_its_outcome() {
        let flights = Flights::new();
        let runs = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| match flights.join(KEY, &Cancel::new()) {
                    Turn::Run(ticket) => {
                        runs.fetch_add(1, Ordering::SeqCst);
                        ticket.land(5);
                        thread::sleep(Duration::from_millis(100));
                    }
                    Turn::Landed(outcome) => assert_eq!(outcome, 5),
                    Turn::Cancelled => panic!("nobody cancelled"),
                });
            }
        });
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        assert!(matches!(flights.join(KEY, &Cancel::new()), Turn::Run(_)));
    }

    #[test]
    fn a_dropped_ticket_passes_on_and_a_cancelled_waiter_leaves() {
        let flights = Flights::<u8>::new();
        let Turn::Run(ticket) = flights.join(KEY, &Cancel::new()) else {
            panic!("free")
        };
        let cancelled = Cancel::new();
        cancelled.cancel();
        assert!(matches!(flights.join(KEY, &cancelled), Turn::Cancelled));
        thread::scope(|scope| {
            let waiter = scope.spawn(|| matches!(flights.join(KEY, &Cancel::new()), Turn::Run(_)));
            thread::sleep(Duration::from_millis(30));
            drop(ticket);
            assert!(waiter.join().unwrap());
        });
    }
}
