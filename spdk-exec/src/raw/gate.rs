//! Who may still be inside an executor when it closes.
//!
//! ```text
//!    epoch (number of times it closed) │ visitors (15 bits) │ CLOSED
//!
//!   1 enter: visitors + 1, then look ── CLOSED or other epoch ──► visitors - 1, refused
//!   2 leave: visitors - 1
//!   3 close: CLOSED; then the home thread waits for visitors = 0
//!   4 reopen: epoch + 1 at the end of closing, CLOSED off at the next bind
//! ```
//!
//! A visitor is a spawn from another thread, or a wake that is about to tell the host. Closed flag
//! and count share a word, so either the visitor sees the flag or the closer sees the visitor.

use crate::loom::atomic::{AtomicUsize, Ordering::*};
use crate::loom::const_fn;

const CLOSED: usize = 1;
const VISITOR: usize = 2;
const VISITORS: usize = EPOCH - VISITOR;
const EPOCH: usize = 1 << 16;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Gate(AtomicUsize);

/// Which of an executor's lives a handle belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(usize);

/// A visit; its end is 2.
#[derive(Debug)]
pub(crate) struct Visit<'a>(&'a Gate);

impl Gate {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self(AtomicUsize::new(CLOSED))
        }
    }

    /// 1, for a caller whose own task keeps the executor from closing before it entered.
    pub(crate) fn enter(&self) -> Visit<'_> {
        // Relaxed: the push that follows publishes it to the home thread, before that thread can
        // find the task off its queue and look for visitors.
        self.0.fetch_add(VISITOR, Relaxed);
        Visit(self)
    }

    /// 1
    #[cfg(feature = "alloc")]
    pub(crate) fn try_enter(&self, epoch: Epoch) -> Option<Visit<'_>> {
        // Acquire: what the bind wrote is visible.
        let before = self.0.fetch_add(VISITOR, Acquire);
        let visit = Visit(self);
        (before & CLOSED == 0 && before & !(EPOCH - 1) == epoch.0).then_some(visit)
    }

    /// The present life, if it is open.
    #[inline]
    pub(crate) fn is_open(&self, epoch: Epoch) -> bool {
        let now = self.0.load(Relaxed);
        now & CLOSED == 0 && now & !(EPOCH - 1) == epoch.0
    }

    #[cfg(feature = "std")]
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.0.load(Relaxed) & !(EPOCH - 1))
    }

    /// 3, first half.
    pub(crate) fn close(&self) {
        // Acquire and Release: orders it against each visitor's entry.
        self.0.fetch_or(CLOSED, AcqRel);
    }

    /// 3, second half: true when the last visitor left.
    pub(crate) fn is_empty(&self) -> bool {
        // Acquire: all that the visitors did is over.
        self.0.load(Acquire) & VISITORS == 0
    }

    /// 4, first half: handles of the life that ended are refused from here on. False if the epochs
    /// are used up: then this was the executor's last life.
    pub(crate) fn next_epoch(&self) -> bool {
        let last = self.0.load(Relaxed) >= usize::MAX - EPOCH;
        if !last {
            self.0.fetch_add(EPOCH, Relaxed);
        }
        !last
    }

    /// 4, second half.
    pub(crate) fn open(&self) -> Epoch {
        // Release: pairs with `try_enter`.
        Epoch(self.0.fetch_and(!CLOSED, Release) & !(EPOCH - 1))
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        // Release: pairs with `is_empty`; the visitor's last access to the executor.
        self.0.0.fetch_sub(VISITOR, Release);
    }
}
