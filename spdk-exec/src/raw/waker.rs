//! The waker: a header's address with the generation's low bits; nothing to count, nothing to free.
//!
//! ```text
//!   wake ──► state: complete, or another generation? ── yes ──► nothing
//!              │ no
//!              ▼
//!            on the home thread? ── yes ──► run queue, if not there yet    (plain cells)
//!              │ no
//!              ▼
//!            set REMOTE ── was set ──► nothing: coalesced
//!              │ was not
//!              ▼
//!            remote queue ── was empty ──► tell the host
//! ```

use core::mem::ManuallyDrop;
use core::task::{RawWaker, RawWakerVTable, Waker};

use super::header::{Header, HeaderRef};
use super::state::{RemoteWake, Snapshot};

static VTABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake, drop);

/// A waker for the header's present life; `ManuallyDrop`, because dropping one does nothing.
#[inline(always)]
pub(crate) fn waker(header: HeaderRef, now: Snapshot) -> ManuallyDrop<Waker> {
    // SAFETY: the functions of `VTABLE` uphold `RawWaker`'s contract: they are thread-safe, and
    // the data word stays valid for ever, whatever is cloned or dropped.
    ManuallyDrop::new(unsafe { Waker::new(header.tagged(now), &VTABLE) })
}

/// The header and the tag of a waker that this crate made.
pub(crate) fn header_of(waker: &Waker) -> Option<(HeaderRef, usize)> {
    if !core::ptr::eq(waker.vtable(), &VTABLE) {
        return None;
    }
    // SAFETY: only `waker` and `clone` make wakers with this table, from a tagged header.
    Some(unsafe { Header::from_tagged(waker.data()) })
}

unsafe fn clone(data: *const ()) -> RawWaker {
    RawWaker::new(data, &VTABLE)
}

unsafe fn drop(_: *const ()) {}

unsafe fn wake(data: *const ()) {
    // SAFETY: only `waker` and `clone` make wakers with this table, from a tagged header.
    let (header, tag) = unsafe { Header::from_tagged(data) };
    wake_header(header, tag);
}

/// Gives the task its next turn, unless it is over.
#[inline(always)]
pub(crate) fn wake_header(header: HeaderRef, tag: usize) {
    let seen = header.state.load();
    if !seen.is_live(tag) {
        return;
    }
    let Some(engine) = header.engine() else {
        return;
    };
    if engine.takes_wakes_here() {
        // The life that was seen is on `engine`, and lives: a header comes to an engine only by that
        // engine's home thread, which is this one, or as a slot that never leaves it; and ends its
        // life only there.
        engine.schedule(header);
    } else {
        wake_remote(header, tag);
    }
}

#[inline(never)]
fn wake_remote(header: HeaderRef, tag: usize) {
    if header.state.wake_remote(tag) == RemoteWake::Push {
        push(header);
    }
}

/// Pushes a header whose REMOTE the caller has set: until the home thread takes it off the queue,
/// its life does not end and its executor does not close.
pub(crate) fn push(header: HeaderRef) {
    if let Some(engine) = header.engine() {
        engine.push_remote(header);
    }
}
