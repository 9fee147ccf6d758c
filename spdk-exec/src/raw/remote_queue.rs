//! The lock-free queue by which other threads hand headers to the home thread.
//!
//! ```text
//!            push: one compare-exchange             take_all: one swap
//!   threads ─────────────► head ─► C ─► B ─► A ─► null ─────────► C, B, A to the home thread
//! ```
//!
//! 1. `push`, by the thread whose transition set REMOTE in the header's state, and no other;
//! 2. `take_all`, by the home thread. Nobody takes a single header, so there is no ABA.
//!
//! A stack that is taken whole knows exactly when it was empty, which is when the host must be
//! told, and what it held when a poll began.

use core::ptr;

use super::header::{Header, HeaderRef};
use crate::loom::atomic::{AtomicPtr, Ordering::*};
use crate::loom::const_fn;

/// See the [module](self).
///
/// # Invariants
/// Every header in it stays linked by `remote_next` until `take_all` hands it out.
#[derive(Debug)]
pub(crate) struct RemoteQueue {
    head: AtomicPtr<Header>,
}

/// The headers of one [`RemoteQueue::take_all`], newest first.
#[derive(Debug)]
pub(crate) struct Taken(*mut Header);

impl RemoteQueue {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self { head: AtomicPtr::new(ptr::null_mut()) }
        }
    }

    /// 1: true if the queue was empty. `before_first` runs, perhaps more than once, before a push
    /// that would find it empty, while the header still keeps the executor from closing.
    #[inline]
    pub(crate) fn push(&self, header: HeaderRef, mut before_first: impl FnMut()) -> bool {
        let mut head = self.head.load(Relaxed);
        loop {
            if head.is_null() {
                before_first();
            }
            header.remote_next.store(head, Relaxed);
            // Release: the link, and all that the pusher did before.
            match self.head.compare_exchange_weak(
                head,
                ptr::from_ref(header).cast_mut(),
                Release,
                Relaxed,
            ) {
                Ok(_) => return head.is_null(),
                Err(seen) => head = seen,
            }
        }
    }

    /// A hint that saves the swap: a push that it misses is found by the next poll, for which the
    /// pusher tells the host.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Relaxed).is_null()
    }

    /// 2
    pub(crate) fn take_all(&self) -> Taken {
        // Acquire: pairs with every push that the swap takes (each continues the release sequence
        // of those before it).
        Taken(self.head.swap(ptr::null_mut(), Acquire))
    }
}

impl Iterator for Taken {
    type Item = HeaderRef;

    /// Reads the link before it hands the header out: from then on it may be pushed again.
    fn next(&mut self) -> Option<HeaderRef> {
        // SAFETY: `push` links only headers, which live for ever.
        let header = unsafe { Header::from_link(self.0) }?;
        self.0 = header.remote_next.load(Relaxed);
        Some(header)
    }
}
