//! All of a request that has just come, sent to one channel: as a fan-out with one child, without counting.
//!
//! That is what each read of a mirror does: it costs 15 instructions less.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::children::{Children, Parent, Waiting, child_failed, only_child_ended, put, unsend};
use super::context::{ONLY, RequestContext};
use super::fan_out::{Counted, Known, add_long, release_anywhere, whole};
use crate::bdev::{Below, DescMode, IoChannel};
use crate::calls::{self, Call};
use crate::inside;
use crate::units::{Blocks, Lba};

/// What waits for a request that goes to one channel, all of it: for [`Arrived::route`](super::Arrived::route).
pub trait Route<R: Parent>: Children<R> {
    /// How the channel's descriptor is open.
    type Mode: DescMode;

    /// Where it goes: a channel, which lives in this or is kept by it, and the first block there. Its end is told with the
    /// tag 0. A panic fails the request.
    ///
    /// Marked `#[inline(always)]` it becomes a part of what sends the request.
    fn to(&self, request: &R) -> (&IoChannel<Self::Mode>, Lba);
}

/// Sends `request`, `blocks` blocks of it, where `waits` says.
///
/// # Safety
///
/// `known` is true of it, as long as this runs. `IS_READ` says what it is; if that is a write, the descriptor is writable.
#[inline(always)]
pub(super) unsafe fn route<R: Parent, S: Route<R>, const IS_READ: bool>(
    request: R,
    known: Known,
    blocks: Blocks,
    waits: S,
) {
    let at = put(request, waits);
    // SAFETY: the request is in its own context, and not completed before its child has ended.
    let context = unsafe { at.as_ref() };
    let lost = Lost::<R, S>(at, PhantomData);
    // SAFETY: both were put there, and nobody makes a `&mut` of them before the child has ended.
    let (request, waits) = unsafe { &*context.room.get().cast::<Waiting<R, S>>() };
    let (channel, lba) = waits.to(request);
    std::mem::forget(lost);
    let below = Below::of(channel);
    let Known { base, key, depth } = known;
    if inside::depth() == depth && below.takes_whole(base, key) {
        // Set first: some errors complete inside the call (B-71).
        context.children[ONLY].set(MaybeUninit::new(below.begin()));
        // SAFETY: `known` is true, so the channel's thread is current, and the memory is as long as the request, which is
        // not completed before the callback was called. Of the descriptor by this function's contract.
        let is_sent = unsafe {
            below.send_whole::<IS_READ>(
                base,
                lba,
                blocks,
                route_done_callback::<R, S, IS_READ>,
                at.as_ptr().cast(),
            )
        };
        if is_sent {
            // It may have ended, and the request with it.
            return;
        }
        // SAFETY: set above, and SPDK did not take it.
        unsafe { unsend(context, ONLY) };
    }
    // SAFETY: both are there.
    unsafe { route_slowly::<R, S, IS_READ>(at, below, lba) };
}

/// The same, where not all is plain.
///
/// # Safety
///
/// An `R` and an `S` are in the room of the request at `at`, and it has no child.
#[cold]
#[inline(never)]
unsafe fn route_slowly<R: Parent, S: Route<R>, const IS_READ: bool>(
    at: NonNull<RequestContext>,
    below: Below<'_>,
    lba: Lba,
) {
    // SAFETY: by this function's contract the request is in its context.
    unsafe { at.as_ref() }.pending.set(1);
    // SAFETY: something else counts.
    unsafe { add_long::<R, S>(at, below, whole::<IS_READ>(lba), None, 0) };
    // SAFETY: it counted, until now.
    unsafe { release_anywhere::<R, S>(at) };
}

/// Dropped when [`Route::to`] panics: the request fails.
struct Lost<R: Parent, S: Children<R>>(NonNull<RequestContext>, PhantomData<(R, S)>);

impl<R: Parent, S: Children<R>> Drop for Lost<R, S> {
    #[cold]
    fn drop(&mut self) {
        // SAFETY: `route` makes it, with both in the room and no child.
        unsafe { self.0.as_ref() }.pending.set(1);
        // SAFETY: it counts.
        drop(unsafe { Counted::<R, S>::new(self.0) });
    }
}

/// # Safety
///
/// SPDK calls this exactly once for a child that [`route`] sent, on its thread; `arg` is the context of its request.
unsafe extern "C" fn route_done_callback<R: Parent, S: Children<R>, const IS_READ: bool>(
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    success: bool,
    arg: *mut c_void,
) {
    let inside = inside::enter();
    // SAFETY: by this function's contract.
    let at = unsafe { NonNull::new_unchecked(arg.cast::<RequestContext>()) };
    // SAFETY: the request is not completed: it is in its context.
    let context = unsafe { at.as_ref() };
    if !success || !context.home().is_os_thread(inside.os_thread()) {
        context.pending.set(1);
        context.tags[ONLY].set(MaybeUninit::new(0));
        // SAFETY: as this function; it counts, and its tag is there.
        return unsafe { child_failed::<R, S>(bdev_io, success, at, ONLY, &inside) };
    }
    let sent = context.children[ONLY].replace(MaybeUninit::uninit());
    calls::count(Call::Free);
    // SAFETY: completed, once, on the submitting thread (B-63). This may run callbacks of other waiters (B-62): nothing is
    // borrowed here but Cells.
    unsafe { spdk_sys::spdk_bdev_free_io(bdev_io) };
    // SAFETY: put there when it was sent.
    unsafe { sent.assume_init() }.ended();
    if IS_READ {
        context.filled.set(true);
    }
    // SAFETY: its only child has ended, well.
    unsafe { only_child_ended::<R, S>(at) };
}
