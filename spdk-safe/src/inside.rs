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
use std::marker::PhantomData;

thread_local! {
    // No destructor, and no lazy start: entering is an increment.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// As long as it lives, SPDK is below us on the stack.
#[must_use]
pub(crate) struct Inside(PhantomData<*const ()>);

/// SPDK has called us.
#[inline]
pub(crate) fn enter() -> Inside {
    DEPTH.set(DEPTH.get() + 1);
    Inside(PhantomData)
}

/// Whether it has.
pub(crate) fn is_inside() -> bool {
    DEPTH.get() != 0
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}
