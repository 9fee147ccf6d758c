//! The home thread's list of all live tasks, in the order in which they were spawned.
//!
//! ```text
//!            ┌──────────┐      ┌──────────┐
//!   head ──► │ A        │ ───► │ B        │ ───► null       owned_next
//!   null ◄── │          │ ◄─── │          │ ◄─── tail       owned_prev
//!            └──────────┘      └──────────┘
//! ```
//!
//! 1. `push_back` when a task starts; 2. `remove` when it is over, from anywhere in the list;
//! 3. shutdown takes `front` until there is none.

use core::ptr;

use super::header::{Header, HeaderRef, Link, UNLINKED};
use crate::loom::{Cell, const_fn};

/// See the [module](self).
///
/// # Invariants
/// Every link in it was made from a `HeaderRef`; only linked headers have links other than
/// `UNLINKED` in `owned_prev`.
#[derive(Debug)]
pub(crate) struct OwnedList {
    head: Cell<Link>,
    tail: Cell<Link>,
    len: Cell<usize>,
}

impl OwnedList {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self {
                head: Cell::new(ptr::null()),
                tail: Cell::new(ptr::null()),
                len: Cell::new(0),
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.get()
    }

    pub(crate) fn contains(header: HeaderRef) -> bool {
        !ptr::eq(header.owned_prev.get(), UNLINKED)
    }

    /// 1: the header is in no list.
    #[inline]
    pub(crate) fn push_back(&self, header: HeaderRef) {
        debug_assert!(!Self::contains(header));
        let tail = self.tail.replace(header);
        header.owned_prev.set(tail);
        header.owned_next.set(ptr::null());
        // SAFETY: by the type's invariant.
        match unsafe { Header::from_link(tail) } {
            Some(tail) => tail.owned_next.set(header),
            None => self.head.set(header),
        }
        self.len.set(self.len.get() + 1);
    }

    /// 2: the header is in this list.
    #[inline]
    pub(crate) fn remove(&self, header: HeaderRef) {
        debug_assert!(Self::contains(header));
        let prev = header.owned_prev.replace(UNLINKED);
        let next = header.owned_next.replace(UNLINKED);
        // SAFETY: by the type's invariant.
        match unsafe { Header::from_link(prev) } {
            Some(prev) => prev.owned_next.set(next),
            None => self.head.set(next),
        }
        // SAFETY: by the type's invariant.
        match unsafe { Header::from_link(next) } {
            Some(next) => next.owned_prev.set(prev),
            None => self.tail.set(prev),
        }
        self.len.set(self.len.get() - 1);
    }

    /// 3
    pub(crate) fn front(&self) -> Option<HeaderRef> {
        // SAFETY: by the type's invariant.
        unsafe { Header::from_link(self.head.get()) }
    }

    #[cfg(all(test, feature = "std", not(loom)))]
    pub(crate) fn assert_valid(&self) {
        let mut prev = ptr::null();
        let mut len = 0;
        let mut link = self.head.get();
        // SAFETY: by the type's invariant.
        while let Some(header) = unsafe { Header::from_link(link) } {
            len += 1;
            assert!(
                len <= self.len.get(),
                "the list is longer than its length, or a loop"
            );
            assert!(
                ptr::eq(header.owned_prev.get(), prev),
                "a header's previous link must be the header before it"
            );
            prev = link;
            link = header.owned_next.get();
            assert!(
                !ptr::eq(link, UNLINKED),
                "a listed header must not look unlinked"
            );
        }
        assert!(
            ptr::eq(prev, self.tail.get()),
            "the tail must be the last header"
        );
        assert_eq!(
            len,
            self.len.get(),
            "the length must be the number of headers"
        );
    }
}
