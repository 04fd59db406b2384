//! A token that stops work: whoever holds it may ask, or leave a hook that ends what it is doing.
//!
//! In: one call of `cancel`. Out: a flag, and each hook run once. Hooks run on the cancelling thread and must be short.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

type Hook = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Hooks {
    next: u64,
    waiting: BTreeMap<u64, Hook>,
}

#[derive(Default)]
struct Inner {
    cancelled: AtomicBool,
    hooks: Mutex<Hooks>,
}

/// A cancellation token; clones are the same token.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Inner>);

/// Keeps a hook registered; dropping it takes the hook back.
#[must_use = "the hook is taken back when this is dropped"]
pub struct HookGuard {
    inner: Arc<Inner>,
    number: u64,
}

impl Cancel {
    /// A token nobody has cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels: the flag is set and every hook runs, once.
    pub fn cancel(&self) {
        let hooks = {
            let mut hooks = self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner);
            self.0.cancelled.store(true, Ordering::SeqCst);
            std::mem::take(&mut hooks.waiting)
        };
        for hook in hooks.into_values() {
            hook();
        }
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// Runs `hook` at cancellation, at once if that was already; not at all once the guard is dropped.
    pub fn on_cancel(&self, hook: impl FnOnce() + Send + 'static) -> HookGuard {
        let mut hooks = self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        let number = hooks.next;
        hooks.next += 1;
        if self.is_cancelled() {
            drop(hooks);
            hook();
        } else {
            hooks.waiting.insert(number, Box::new(hook));
        }
        HookGuard {
            inner: Arc::clone(&self.0),
            number,
        }
    }

    /// A token that is cancelled with this one, or alone; the guard ties it to this one.
    pub fn child(&self) -> (Self, HookGuard) {
        let child = Self::new();
        let token = child.clone();
        let guard = self.on_cancel(move || token.cancel());
        (child, guard)
    }
}

impl Drop for HookGuard {
    fn drop(&mut self) {
        let mut hooks = self.inner.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        hooks.waiting.remove(&self.number);
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cancel({})", self.is_cancelled())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn hooks_run_once_and_not_after_their_guard() {
        let runs = Arc::new(AtomicUsize::new(0));
        let count = |runs: &Arc<AtomicUsize>| {
            let runs = Arc::clone(runs);
            move || {
                runs.fetch_add(1, Ordering::SeqCst);
            }
        };
        let cancel = Cancel::new();
        let kept = cancel.on_cancel(count(&runs));
        drop(cancel.on_cancel(count(&runs)));
        cancel.cancel();
        cancel.cancel();
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        let late = cancel.on_cancel(count(&runs));
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        drop((kept, late));
    }

    #[test]
    fn a_child_falls_with_its_parent_and_not_the_other_way() {
        let parent = Cancel::new();
        let (first, _first) = parent.child();
        let (second, _second) = parent.child();
        first.cancel();
        assert!(!parent.is_cancelled());
        parent.cancel();
        assert!(second.is_cancelled());
    }
}
