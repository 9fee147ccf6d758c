//! The home thread's FIFO of tasks that wait for their turn.
//!
//! ```text
//!   head ──► A ──► B ──► C ──► null        C.queue_next is null: linked, and the last
//!   tail ────────────────┘                 D.queue_next is UNLINKED: not in the queue
//! ```
//!
//! 1. `push` links a header that is not linked, at the tail.
//! 2. `pop` unlinks the one at the head.
//!
//! 3. `append` links a batch that came from the remote queue, oldest first.
//!
//! A header is linked at most once, so wakes coalesce, and a queue of plain cells has no atomic
//! operation: a wake and a turn on the home thread cost a few stores.

use core::ptr;

use super::header::{Header, HeaderRef, Link, UNLINKED};
use crate::loom::{Cell, const_fn};

/// See the [module](self).
///
/// # Invariants
/// Every link in it was made from a `HeaderRef`; `len` headers are linked.
#[derive(Debug)]
pub(crate) struct RunQueue {
    head: Cell<Link>,
    tail: Cell<Link>,
    len: Cell<usize>,
}

impl RunQueue {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self {
                head: Cell::new(ptr::null()),
                tail: Cell::new(ptr::null()),
                len: Cell::new(0),
            }
        }
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.len.get()
    }

    /// 1: false if it is linked already.
    #[inline(always)]
    pub(crate) fn push(&self, header: HeaderRef) -> bool {
        if header.is_queued() {
            return false;
        }
        header.queue_next.set(ptr::null());
        // SAFETY: by the type's invariant.
        match unsafe { Header::from_link(self.tail.get()) } {
            Some(tail) => tail.queue_next.set(header),
            None => self.head.set(header),
        }
        self.tail.set(header);
        self.len.set(self.len.get() + 1);
        true
    }

    /// 2
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<HeaderRef> {
        // SAFETY: by the type's invariant.
        let header = unsafe { Header::from_link(self.head.get()) }?;
        let next = header.queue_next.replace(UNLINKED);
        self.head.set(next);
        if next.is_null() {
            self.tail.set(next);
        }
        self.len.set(self.len.get() - 1);
        Some(header)
    }

    /// 3
    pub(crate) fn append(&self, batch: Batch) {
        if batch.len == 0 {
            return;
        }
        // SAFETY: by the type's invariant.
        match unsafe { Header::from_link(self.tail.get()) } {
            Some(tail) => tail.queue_next.set(batch.head),
            None => self.head.set(batch.head),
        }
        self.tail.set(batch.tail);
        self.len.set(self.len.get() + batch.len);
    }

    #[cfg(all(test, feature = "std", not(loom)))]
    pub(crate) fn assert_valid(&self) {
        let mut last = ptr::null();
        let mut len = 0;
        let mut link = self.head.get();
        // SAFETY: by the type's invariant.
        while let Some(header) = unsafe { Header::from_link(link) } {
            len += 1;
            assert!(
                len <= self.len.get(),
                "the queue is longer than its length, or a loop"
            );
            last = link;
            link = header.queue_next.get();
            assert!(
                !ptr::eq(link, UNLINKED),
                "a queued header must not look unlinked"
            );
        }
        assert!(
            ptr::eq(last, self.tail.get()),
            "the tail must be the last header"
        );
        assert_eq!(
            len,
            self.len.get(),
            "the length must be the number of headers"
        );
    }
}

/// Headers on their way from the remote queue, which gives the newest first, to the run queue.
///
/// # Invariants
/// As for [`RunQueue`]. What is in a batch looks queued, and is as soon as the batch is appended.
#[derive(Debug)]
pub(crate) struct Batch {
    head: Link,
    tail: Link,
    len: usize,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            head: ptr::null(),
            tail: ptr::null(),
            len: 0,
        }
    }

    /// Links a header before the others, unless it is queued already.
    #[inline]
    pub(crate) fn push_front(&mut self, header: HeaderRef) {
        if header.is_queued() {
            return;
        }
        header.queue_next.set(self.head);
        self.head = header;
        if self.tail.is_null() {
            self.tail = header;
        }
        self.len += 1;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = HeaderRef> {
        let mut link = self.head;
        core::iter::from_fn(move || {
            // SAFETY: by the type's invariant.
            let header = unsafe { Header::from_link(link) }?;
            link = header.queue_next.get();
            Some(header)
        })
    }
}
