//! Whether SPDK is half-way through something on this OS thread: it has called us, and we have not returned.
//!
//! An [`OwnLoop`](crate::app::OwnLoop) must not move then: SPDK may hold a lock, or a pointer to what the loop would
//! free. What a thread's poll calls (messages, pollers) needs no mark, since the loop is borrowed meanwhile. Marked is
//! all that SPDK may call from inside of a call that the program made directly, and what runs the user's code:
//!
//! - lines of the log;
//! - a block device's functions: `supports`, `create_channel`, `submit`, and its destructors;
//! - the creation of a device's channel, which is half-made meanwhile;
//! - completions of I/O, and of what waited for memory;
//! - events of bdevs, reports of slow I/O, and answers to calls about bdevs.

use std::cell::Cell;
use std::ptr::NonNull;

/// More than a tower of devices has; each level may take some KiB of stack.
const DEEP: u32 = 48;

thread_local! {
    // No destructor, and no lazy start: entering is an increment.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// As long as it lives, SPDK is below us on the stack.
///
/// # Invariants
///
/// It points to the `DEPTH` of this OS thread, which it can't leave; thread-locals without a destructor stay until the
/// thread ends.
#[must_use]
pub(crate) struct Inside(NonNull<Cell<u32>>);

/// SPDK has called us.
#[inline]
pub(crate) fn enter() -> Inside {
    DEPTH.with(|depth| {
        depth.set(depth.get() + 1);
        // INVARIANT: it is this OS thread's.
        Inside(NonNull::from(depth))
    })
}

/// A name for this OS thread, which no other has as long as this one lives.
#[inline]
pub(crate) fn os_thread() -> usize {
    DEPTH.with(|depth| std::ptr::from_ref(depth).addr())
}

/// How often SPDK has called us from below ourselves.
#[inline(always)]
pub(crate) fn depth() -> u32 {
    DEPTH.get()
}

impl Inside {
    /// Whether SPDK has called us from below ourselves so often that the next call better comes later: there are places
    /// where it starts the next I/O before it returns from the end of the last one, for as many as wait.
    #[inline]
    pub(crate) fn is_deep(&self) -> bool {
        // SAFETY: by the type invariant it is there, and of this OS thread.
        let depth = unsafe { self.0.as_ref() };
        depth.get() > DEEP
    }

    /// The same as [`depth`], as long as whoever was called since has returned.
    #[inline]
    pub(crate) fn depth(&self) -> u32 {
        // SAFETY: by the type invariant it is there, and of this OS thread.
        unsafe { self.0.as_ref() }.get()
    }

    /// The same as [`os_thread`], which is known by now.
    #[inline]
    pub(crate) fn os_thread(&self) -> usize {
        self.0.addr().get()
    }
}

/// The same as [`Inside::is_deep`].
pub(crate) fn is_deep() -> bool {
    DEPTH.get() > DEEP
}

/// Whether it has.
pub(crate) fn is_inside() -> bool {
    DEPTH.get() != 0
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: by the type invariant it is there, and of this OS thread.
        let depth = unsafe { self.0.as_ref() };
        depth.set(depth.get() - 1);
    }
}
