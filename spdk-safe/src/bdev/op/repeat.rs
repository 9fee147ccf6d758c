//! Operations that go on: one slot, one buffer, one I/O after the other.
//!
//! ```text
//!           1                   2 (done)                3 (next)
//!   New ────────► Submitted ────────────► Stepping ────────────► Submitted ─ ...
//!                                            │ 4 (end, error)
//!                                            └───────────────► Done
//!   1: Flight::start   2: loop_done_callback, or submit::finish   3, 4: loop_done_callback, or stepped
//! ```
//!
//! Between two I/Os nothing is taken, given back, moved, counted or woken, which is what makes it as fast as a loop in C.

use std::ffi::c_void;
use std::ptr::NonNull;

use super::submit::{Again, done_otherwise, finish, submit_again, submitted};
use super::{DoneCallback, Flight, Op, Phase, recycle, start_other, submit_plain};
use crate::bdev::buf::IoBuf;
use crate::bdev::data::sealed::Data;
use crate::bdev::data::{Laid, Repeat};
use crate::bdev::wait::Turn;
use crate::calls::{self, Call};
use crate::error::{IoError, IoType};
use crate::inside;
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

/// As `io_done_callback`, for a loop whose step it knows. If nothing is unusual, the I/O counts as outstanding until the
/// next one is, and what was checked of the last one is not checked again.
///
/// # Safety
///
/// As `io_done_callback`, for a slot with a `Repeat<B, F>` in its payload, whose I/O, a plain read or write as `READ`
/// says, was checked.
unsafe extern "C" fn loop_done_callback<B: IoBuf, F: Step<B> + 'static, const READ: bool>(
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    success: bool,
    arg: *mut c_void,
) {
    let inside = inside::enter();
    // SAFETY: by this function's contract.
    let slot = unsafe { NonNull::new_unchecked(arg.cast::<Op>()) };
    // SAFETY: the slot was submitted, so it is not idle.
    let op = unsafe { slot.as_ref() };
    // SAFETY: so it has a count of its channel.
    let channel = unsafe { &*op.channel.get() };
    // The home never changes, so it may be looked at on any OS thread; the rest only on its own.
    if !success || !channel.home.is_os_thread(inside.os_thread()) {
        // SAFETY: by this function's contract.
        return unsafe { done_otherwise(bdev_io, success, slot) };
    }
    calls::count(Call::Free);
    // SAFETY: completed, once, on the submitting thread (B-63). This may run callbacks of other waiters (B-62): nothing
    // is borrowed here.
    unsafe { spdk_sys::spdk_bdev_free_io(bdev_io) };
    if op.detached.get() {
        return finish(slot, None);
    }
    // SAFETY: by this function's contract; nobody uses it in flight.
    unsafe { op.filled::<Repeat<B, F>>() };
    debug_assert!(!op.has_failed());
    op.phase.set(Phase::Stepping);
    // SAFETY: by this function's contract; SPDK has let go of the memory.
    let repeat = unsafe { op.payload.get::<Repeat<B, F>>() };
    let (data, step) = (&mut repeat.data, &mut repeat.step);
    let next = contain("the step of an I/O loop", || step(Ok(()), data));
    let Some(Some(lba)) = next else {
        // SAFETY: by this function's contract; it is counted.
        return unsafe { stepped_counted::<B, F>(slot, next) };
    };
    let io = if READ { IoType::Read } else { IoType::Write };
    let (only, done) = (repeat.only(io), loop_done_callback::<B, F, READ>);
    // SAFETY: we are in a completion on the channel's thread; the last I/O was checked, and has ended.
    let again = unsafe { submit_again::<READ>(slot, op, channel, only, lba, done) };
    if again != Again::Started {
        // SAFETY: by this function's contract; if it still steps, it is counted.
        unsafe { again_otherwise::<B, F>(slot, lba, again) };
    }
}

/// The next I/O of a loop was not started as the last one was.
///
/// # Safety
///
/// As [`stepped_counted`], if it was not refused by SPDK.
#[cold]
unsafe fn again_otherwise<B: IoBuf, F: Step<B> + 'static>(
    slot: NonNull<Op>,
    lba: Lba,
    again: Again,
) {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
    if let Again::Refused(rc) = again {
        if rc != -libc::EINVAL {
            submitted(slot, rc, Turn::First);
            return;
        }
        // Out of range, most likely: that is for the checks to say.
        op.phase.set(Phase::Stepping);
    }
    // SAFETY: by this function's contract.
    unsafe { stepped_counted::<B, F>(slot, Some(Some(lba))) };
}

/// As [`stepped`], for a loop whose last I/O still counts as outstanding.
///
/// # Safety
///
/// As [`stepped`].
#[cold]
unsafe fn stepped_counted<B: IoBuf, F: Step<B> + 'static>(
    slot: NonNull<Op>,
    next: Option<Option<Lba>>,
) {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
    // The channel may go here, and somebody's code run that polls or drops the loop's future: as long as it steps, that
    // leaves the slot alone.
    op.channel().end_io();
    // SAFETY: by this function's contract.
    unsafe { stepped::<B, F>(slot, next) };
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
    // SAFETY: by the type invariant the slot has a count of it.
    let channel = unsafe { &*op.channel.get() };
    // On a channel that is to be put, there is no next I/O.
    if inside::is_deep() && !channel.is_revoked() {
        return later::<B, F>(slot);
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
    // SAFETY: by this function's contract; SPDK has let go of the memory.
    let repeat = unsafe { op.payload.get::<Repeat<B, F>>() };
    let (data, next) = (&mut repeat.data, &mut repeat.step);
    let next = contain("the step of an I/O loop", || {
        next(op.take_error().map_or(Ok(()), Err), data)
    });
    // SAFETY: by this function's contract.
    unsafe { stepped::<B, F>(slot, next) };
}

/// Does what the step said; `None` if it panicked.
///
/// # Safety
///
/// As [`done`], of a loop that is stepping. We are on the channel's thread: in a completion of it, or in a message to it.
unsafe fn stepped<B: IoBuf, F: Step<B> + 'static>(slot: NonNull<Op>, next: Option<Option<Lba>>) {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
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

/// Submits the next I/O, at `lba`, which is checked. SPDK may complete it within that, if it fails (B-71): the slot is
/// not looked at afterwards.
///
/// # Safety
///
/// As [`stepped`].
unsafe fn go_on<B: IoBuf, F: Step<B> + 'static>(slot: NonNull<Op>, op: &Op, lba: Lba) {
    // SAFETY: by the type invariant the slot has a count of it.
    let channel = unsafe { &*op.channel.get() };
    op.lba.set(lba);
    if channel.is_revoked() {
        return end(slot, Some(op.fail(|io, lba| IoError::Removed { io, lba })));
    }
    // SAFETY: by this function's contract.
    let repeat = unsafe { op.payload.get::<Repeat<B, F>>() };
    let io = op.io.get();
    let done: DoneCallback = match io {
        IoType::Read => loop_done_callback::<B, F, true>,
        _ => loop_done_callback::<B, F, false>,
    };
    if submit_plain(slot, op, channel, repeat.only(io), done) {
        return;
    }
    // SAFETY: SPDK has no pointer to the array.
    let iovs = unsafe { &mut *op.iovs.get() };
    let mut laid = Laid::new(iovs);
    repeat.lay_out(io, &mut laid);
    if let Err(error) = start_other(slot, channel, &mut laid) {
        end(slot, Some(error));
    }
}

/// SPDK completes I/Os from below their submissions. The step is called by a message: in here, a loop of such I/Os would
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
