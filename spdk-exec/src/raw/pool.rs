//! The pool of task headers: memory that is a header for ever.
//!
//! ```text
//!              acquire                      home thread                 release
//!      ┌───────────────────── free ◄──────────────────────────────────────────┐
//!      │                       ▲ whole, when free is empty                    │
//!      ▼                    returned ◄─────────── other threads ──────────────┤
//!   a task of this executor                                                   │
//!      ▲                                                                      │
//!      └───────────────────── depot ◄─── slots that spawns from other threads ┘
//!              acquire_remote               made
//! ```
//!
//! The pool grows to the largest number of tasks that were alive at once, and stays there: a slot
//! is reused, never freed, so that the oldest waker still points to a header.

use alloc::boxed::Box;
use core::ptr;

use super::header::{Header, HeaderRef, Link, UNLINKED};
use super::spin::SpinLock;
use super::state::Kind;
use crate::loom::atomic::{AtomicPtr, Ordering::*};
use crate::loom::{Cell, const_fn};

/// How many slots the pool grows by at once: 4 KiB of them.
const CHUNK: usize = if cfg!(loom) { 2 } else { 64 };

/// See the [module](self).
///
/// # Invariants
/// Every slot in a list is vacant, and in that list only.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Linked by `owned_next`; the home thread's.
    free: Cell<Link>,
    /// Linked by `remote_next`; pushed by any thread, taken whole by the home thread.
    returned: AtomicPtr<Header>,
    /// Linked by `remote_next`.
    depot: SpinLock<Link>,
}

impl Pool {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self {
                free: Cell::new(ptr::null()),
                returned: AtomicPtr::new(ptr::null_mut()),
                depot: SpinLock::new(ptr::null()),
            }
        }
    }

    /// A vacant slot, for the home thread.
    #[inline]
    pub(crate) fn acquire(&self) -> HeaderRef {
        loop {
            // SAFETY: the list holds only headers.
            if let Some(slot) = unsafe { Header::from_link(self.free.get()) } {
                self.free.set(slot.owned_next.replace(UNLINKED));
                return slot;
            }
            self.refill();
        }
    }

    /// Makes slots until `count` tasks more can start without an allocation.
    pub(crate) fn reserve(&self, count: usize) {
        let mut free = 0;
        let mut link = self.free.get();
        // SAFETY: the list holds only headers.
        while let Some(slot) = unsafe { Header::from_link(link) } {
            free += 1;
            link = slot.owned_next.get();
        }
        while free < count {
            self.grow();
            free += CHUNK;
        }
    }

    #[cold]
    fn refill(&self) {
        // Acquire: whoever returned a slot is done with it.
        let mut link = self.returned.swap(ptr::null_mut(), Acquire);
        if link.is_null() {
            return self.grow();
        }
        // SAFETY: the list holds only headers.
        while let Some(slot) = unsafe { Header::from_link(link) } {
            link = slot.remote_next.load(Relaxed);
            self.release(slot);
        }
    }

    fn grow(&self) {
        let chunk: &'static [Header; CHUNK] =
            Box::leak(Box::new(core::array::from_fn(|_| Header::new(Kind::Pool))));
        chunk.iter().rev().for_each(|slot| self.release(slot));
    }

    /// Takes back a vacant slot of `Kind::Pool` on the home thread.
    #[inline]
    pub(crate) fn release(&self, slot: HeaderRef) {
        slot.owned_next.set(self.free.replace(slot));
    }

    /// Takes back a vacant slot of `Kind::Pool` on any other thread.
    pub(crate) fn release_remote(&self, slot: HeaderRef) {
        let mut head = self.returned.load(Relaxed);
        loop {
            slot.remote_next.store(head, Relaxed);
            // Release: pairs with `refill`.
            match self.returned.compare_exchange_weak(
                head,
                ptr::from_ref(slot).cast_mut(),
                Release,
                Relaxed,
            ) {
                Ok(_) => return,
                Err(seen) => head = seen,
            }
        }
    }

    /// A vacant slot of `Kind::Depot`, for any thread.
    pub(crate) fn acquire_remote(&self) -> HeaderRef {
        let found = self.depot.with(|depot| {
            // SAFETY: the list holds only headers.
            let slot = unsafe { Header::from_link(*depot) }?;
            *depot = slot.remote_next.load(Relaxed);
            Some(slot)
        });
        found.unwrap_or_else(|| Box::leak(Box::new(Header::new(Kind::Depot))))
    }

    /// Takes back a vacant slot of `Kind::Depot` on any thread.
    pub(crate) fn release_depot(&self, slot: HeaderRef) {
        self.depot.with(|depot| {
            slot.remote_next.store(depot.cast_mut(), Relaxed);
            *depot = slot;
        });
    }
}
