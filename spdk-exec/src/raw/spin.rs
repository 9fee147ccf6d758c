//! A spin lock for the few instructions of a cold path, where there may be no operating system.

use crate::loom::atomic::{AtomicBool, Ordering::*};
use crate::loom::{UnsafeCell, const_fn, spin};

/// A value that one thread at a time works on.
#[derive(Debug)]
pub(crate) struct SpinLock<T> {
    locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `with` gives the link to one thread at a time, and what it links to may be shared.
unsafe impl<T: Sync + 'static> Sync for SpinLock<*const T> {}
// SAFETY: as above.
unsafe impl<T: Sync + 'static> Send for SpinLock<*const T> {}

impl<T> SpinLock<T> {
    const_fn! {
        pub(crate) fn new(value: T) -> Self {
            Self { locked: AtomicBool::new(false), value: UnsafeCell::new(value) }
        }
    }

    /// Runs `f`, which neither panics nor takes this lock again, with the lock held.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // Acquire: what the last holder did is visible.
        while self
            .locked
            .compare_exchange_weak(false, true, Acquire, Relaxed)
            .is_err()
        {
            spin();
        }
        let result = self.value.with_mut(|value| {
            // SAFETY: the lock is held, so no other reference exists.
            f(unsafe { &mut *value })
        });
        // Release: pairs with the next holder's Acquire.
        self.locked.store(false, Release);
        result
    }
}
