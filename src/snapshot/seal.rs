//! Sealing behind the build's back: a few threads that digest and store what steps left.
//!
//! In: frozen snapshots. Out: nothing; whoever needs the tree asks the snapshot, which waits or helps itself. Effects: the store. The
//! queue is bounded: when sealing cannot keep up, the next commit waits, and written data does not pile up.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Sender, bounded};
use silt_fuse::Frozen;

/// Snapshots that may wait for a thread.
const QUEUE: usize = 16;

/// The threads. Dropped, it finishes what it was given.
pub struct Sealer {
    queue: Option<Sender<Arc<Frozen>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Sealer {
    /// Starts `threads` threads, at least one.
    ///
    /// # Errors
    /// The system's, when it has no thread to give.
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let (queue, waiting) = bounded::<Arc<Frozen>>(QUEUE);
        let spawn = |number: usize| {
            let waiting = waiting.clone();
            let work = move || {
                for frozen in &waiting {
                    // Its failure meets whoever asks for the tree: sealing is tried again then.
                    if let Err(error) = frozen.seal() {
                        tracing::debug!(
                            error = &error as &dyn std::error::Error,
                            "sealing failed in the background"
                        );
                    }
                }
            };
            std::thread::Builder::new()
                .name(format!("silt-seal-{number}"))
                .spawn(work)
        };
        let threads = (0..threads.max(1)).map(spawn).collect::<Result<_, _>>()?;
        Ok(Self {
            queue: Some(queue),
            threads,
        })
    }

    /// Has `frozen` sealed soon; waits while too many others wait.
    pub fn submit(&self, frozen: Arc<Frozen>) {
        if let Some(queue) = &self.queue {
            // The threads end only with the queue, so somebody takes it.
            drop(queue.send(frozen));
        }
    }
}

impl Drop for Sealer {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a sealing thread panicked");
            }
        }
    }
}
