//! Operations that go on: one slot, one buffer, one I/O after the other.
//!
//! ```text
//!           1                   2 (done)                3 (next)
//!   New ────────► Submitted ────────────► Stepping ────────────► Submitted ─ ...
//!                                            │ 4 (end, error)
//!                                            └───────────────► Done
//!   1: Flight::start   2: submit::finish   3, 4: step
//! ```
//!
//! Between two I/Os nothing is taken, given back, moved or woken, which is what makes it as fast as a loop in C.

use std::ffi::c_void;
use std::ptr::NonNull;

use super::submit::complete;
use super::{Flight, Op, Phase, recycle, start_other, submit_plain};
use crate::bdev::buf::IoBuf;
use crate::bdev::data::sealed::Data;
use crate::bdev::data::{Laid, Repeat};
use crate::error::IoError;
use crate::panic::contain;
use crate::units::Lba;

/// What a loop does after each I/O.
pub(in crate::bdev) trait Step<B>:
    FnMut(Result<(), IoError>, &mut B) -> Option<Lba>
{
}
impl<B, F: FnMut(Result<(), IoError>, &mut B) -> Option<Lba>> Step<B> for F {}

impl<B: IoBuf, F: Step<B> + 'static> Flight<Repeat<B, F>> {
    /// Has the step called after each I/O. Before the first poll.
    #[inline]
    pub(in crate::bdev) fn repeat(self) -> Self {
        self.op().then.set(Some(done::<B, F>));
        self
    }
}

/// As `io_done_callback`, for a loop whose step it knows.
///
/// # Safety
///
/// As `io_done_callback`, for a slot with a `Repeat<B, F>` in its payload.
unsafe extern "C" fn loop_done_callback<B: IoBuf, F: Step<B> + 'static>(
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    success: bool,
    arg: *mut c_void,
) {
    // If SPDK completed it within the call (B-71), who launched it goes on. A loop always has something to go on with;
    // the look at it brings the slot's second line into the cache while SPDK frees its part.
    let is_usual = |op: &Op| !op.launching.get() && op.then.get().is_some();
    // SAFETY: by this function's contract; nobody uses it in flight.
    let filled = |op: &Op| unsafe { op.filled::<Repeat<B, F>>() };
    let then = |slot, op: &Op| {
        op.phase.set(Phase::Stepping);
        // SAFETY: by this function's contract; it was not let go of.
        unsafe { step_now::<B, F>(slot, op) };
    };
    // SAFETY: by this function's contract.
    unsafe { complete(bdev_io, success, arg, is_usual, filled, then) };
}

/// An I/O of the loop is over, which took the long way.
///
/// # Safety
///
/// The slot is done, has a `Repeat<B, F>` in its payload, and was not detached before it was submitted.
unsafe fn done<B: IoBuf, F: Step<B> + 'static>(slot: NonNull<Op>) {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
    // Kept for the next one: `finish` takes it out.
    op.then.set(Some(done::<B, F>));
    if op.launching.get() {
        // SPDK completed it within the call (B-71). Who launched it sees that.
        return;
    }
    // SAFETY: by this function's contract.
    unsafe { step::<B, F>(slot) };
}

/// Calls the step, and does what it says.
///
/// # Safety
///
/// As [`done`].
unsafe fn step<B: IoBuf, F: Step<B> + 'static>(slot: NonNull<Op>) {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
    // Its future may go while the step runs, and leaves the slot alone then.
    op.phase.set(Phase::Stepping);
    if op.detached.get() {
        return let_go(slot);
    }
    // SAFETY: by this function's contract.
    unsafe { step_now::<B, F>(slot, op) };
}

/// The same, for a loop that is stepping and not detached.
///
/// # Safety
///
/// As [`done`].
#[inline(always)] // on the path of each I/O
unsafe fn step_now<B: IoBuf, F: Step<B> + 'static>(slot: NonNull<Op>, op: &Op) {
    // SAFETY: by this function's contract; SPDK has let go of the memory.
    let repeat = unsafe { op.payload.get::<Repeat<B, F>>() };
    let (data, next) = (&mut repeat.data, &mut repeat.step);
    let next = contain("the step of an I/O loop", || {
        next(op.take_error().map_or(Ok(()), Err), data)
    });
    if op.detached.get() {
        return let_go(slot);
    }
    match next {
        // SAFETY: by this function's contract.
        Some(Some(lba)) => unsafe { go_on::<B, F>(slot, op, lba) },
        Some(None) => end(slot, None),
        None => panicked(slot),
    }
}

/// Submits the next I/O, at `lba`. We are on the channel's thread: in a completion of it, or in a message to it.
///
/// # Safety
///
/// As [`done`].
#[inline(always)] // on the path of each I/O
unsafe fn go_on<B: IoBuf, F: Step<B> + 'static>(slot: NonNull<Op>, op: &Op, lba: Lba) {
    // SAFETY: by the type invariant the slot has a count of it.
    let channel = unsafe { &*op.channel.get() };
    op.lba.set(lba);
    op.launching.set(true);
    // SAFETY: by this function's contract.
    let repeat = unsafe { op.payload.get::<Repeat<B, F>>() };
    let only = repeat.only(op.io.get());
    let is_plain = submit_plain(slot, op, channel, only, loop_done_callback::<B, F>);
    if !is_plain {
        // SAFETY: by this function's contract.
        return unsafe { go_on_long::<B, F>(slot) };
    }
    op.launching.set(false);
    if op.phase.get() == Phase::Done {
        later::<B, F>(slot);
    }
}

/// The same, for what is no plain read or write.
///
/// # Safety
///
/// As [`done`].
#[cold]
unsafe fn go_on_long<B: IoBuf, F: Step<B> + 'static>(slot: NonNull<Op>) {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
    // SAFETY: by the type invariant the slot has a count of it.
    let channel = unsafe { &*op.channel.get() };
    if channel.raw().is_none() {
        op.launching.set(false);
        return end(slot, Some(op.fail(|io, lba| IoError::Removed { io, lba })));
    }
    // SAFETY: by this function's contract.
    let repeat = unsafe { op.payload.get::<Repeat<B, F>>() };
    // SAFETY: SPDK has no pointer to the array.
    let iovs = unsafe { &mut *op.iovs.get() };
    let mut laid = Laid::new(iovs);
    repeat.lay_out(op.io.get(), &mut laid);
    let started = start_other(slot, channel, &mut laid);
    op.launching.set(false);
    match started {
        Err(error) => end(slot, Some(error)),
        Ok(()) if op.phase.get() == Phase::Done => later::<B, F>(slot),
        Ok(()) => {}
    }
}

/// SPDK completed the I/O within the submission. The step is called by a message: in here, a loop of such I/Os would
/// have no end of stack.
#[cold]
fn later<B: IoBuf, F: Step<B> + 'static>(slot: NonNull<Op>) {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
    // As in flight: the future leaves it alone.
    op.phase.set(Phase::Stepping);
    let channel = op.channel();
    // So that neither the channel nor its thread goes.
    channel.begin_io();
    let home = channel.home;
    home.send(Box::new(move || {
        channel.end_io();
        // SAFETY: the I/O is done, and nobody touches the slot of a loop but its next step.
        unsafe { step::<B, F>(slot) };
    }));
}

/// The future is gone.
#[cold]
fn let_go(slot: NonNull<Op>) {
    // SAFETY: the slot is not idle.
    unsafe { slot.as_ref() }.phase.set(Phase::Done);
    let unused = recycle(slot);
    contain("what an I/O owned", || drop(unused));
}

/// The step has panicked.
#[cold]
fn panicked(slot: NonNull<Op>) {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
    end(slot, Some(op.fail(|io, lba| IoError::Panic { io, lba })));
}

/// The loop is over.
#[cold]
fn end(slot: NonNull<Op>, error: Option<IoError>) {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
    op.then.set(None);
    if let Some(error) = error {
        op.set_error(error);
    }
    op.phase.set(Phase::Done);
    if let Some(waker) = op.waker.take() {
        contain("a waker", || waker.wake());
    }
}
