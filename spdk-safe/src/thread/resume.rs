//! How a task goes on when what it waits for has ended: on the spot, if its executor can.

use std::sync::OnceLock;
use std::task::Waker;

/// Said by an executor that can tell its own wakers from others.
static RESUME: OnceLock<fn(Waker)> = OnceLock::new();

/// Has completions of I/O wake tasks with `resume` from now on, in the whole process; the first one stays.
///
/// It is called with a waker of any executor, where nothing is held and nothing follows: it may run a task of its own
/// there and then, and does with others what [`Waker::wake`] does.
#[doc(hidden)]
pub fn resume_with(resume: fn(Waker)) {
    // Whoever came first is there already.
    let _ = RESUME.set(resume);
}

/// Wakes a task from the end of a callback of SPDK's: nothing is held, and nothing follows.
#[inline]
pub(crate) fn resume(waker: Waker) {
    match RESUME.get() {
        Some(resume) => resume(waker),
        None => waker.wake(),
    }
}
