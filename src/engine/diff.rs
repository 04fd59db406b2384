//! `diff`: what differs between two filesystems, in path order.

use silt_store::TreeRef;
use silt_store::diff::{self, ChangeKind as StoreKind};

use crate::engine::Engine;
use crate::engine::call::{Call, Message};
use crate::engine::error::EngineError;
use crate::engine::outcome::{Change, ChangeKind, Outcome};

/// Lines in one message.
const BATCH: usize = 512;

impl Engine {
    /// Sends the differences of two addresses, or of one and what it was made from.
    pub(super) fn diff(&self, old: &str, new: Option<&str>, call: &Call) -> Result<Outcome, EngineError> {
        let from = self.origin(old)?;
        let (old, new) = if let Some(new) = new {
            (from.tree, self.origin(new)?.tree)
        } else {
            (from.below, from.tree)
        };
        self.send_changes(old, new, call)
    }

    fn send_changes(&self, old: TreeRef, new: TreeRef, call: &Call) -> Result<Outcome, EngineError> {
        let mut batch = Vec::new();
        for change in diff::diff(&self.store, old, new) {
            let change = change?;
            batch.push(Change {
                kind: match change.kind {
                    StoreKind::Added(_) => ChangeKind::Added,
                    StoreKind::Removed(_) => ChangeKind::Deleted,
                    StoreKind::Modified { .. } => ChangeKind::Changed,
                },
                path: change.path.to_string(),
            });
            if batch.len() == BATCH {
                call.send(Message::Changes(std::mem::take(&mut batch)), Vec::new());
                if call.is_cancelled() {
                    return Err(EngineError::Interrupted);
                }
            }
        }
        call.send(Message::Changes(batch), Vec::new());
        Ok(Outcome::Done)
    }
}
