//! To SPDK and back: submission, -ENOMEM, completion.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use super::{Ask, Op, Phase, recycle};
use crate::bdev::channel_core::ChannelCore;
use crate::bdev::check::{check, check_plain};
use crate::bdev::data::Laid;
use crate::bdev::data::sealed::Data;
use crate::bdev::wait::Turn;
use crate::bdev::zcopy;
use crate::calls::{self, Call};
use crate::error::{Errno, IoError, IoStatus, IoType};
use crate::inside;
use crate::panic::contain;
use crate::thread::resume;
use crate::units::Lba;

/// Starts what is no plain read or write; refuses what has something wrong about it.
#[cold]
pub(super) fn start_other(
    slot: NonNull<Op>,
    channel: &ChannelCore,
    laid: &mut Laid<'_>,
) -> Result<(), IoError> {
    // SAFETY: the slot is new, so its channel keeps its memory.
    let op = unsafe { slot.as_ref() };
    let ask = op.ask();
    op.blocks.set(check(channel, &ask, laid)?);
    let only = match (ask.io, laid.metadata) {
        (IoType::Read | IoType::Write, None) => laid.pieces.only(),
        _ => ptr::null_mut(),
    };
    op.only.set(only);
    if only.is_null() {
        laid.pieces.spill();
        op.second.set(laid.second.map_or(0, |(count, _)| count));
        op.metadata
            .set(laid.metadata.map_or(ptr::null_mut(), |(base, _)| base));
    }
    channel.begin_io();
    submit(slot, Turn::First);
    Ok(())
}

/// What SPDK calls at the end of an I/O.
pub(super) type DoneCallback = unsafe extern "C" fn(*mut spdk_sys::spdk_bdev_io, bool, *mut c_void);

/// Gives a read or write of the one piece of memory `only` to SPDK, which calls `done` at its end. False if there is
/// more to it, or something wrong about it: then nothing was done.
#[inline(always)] // on the path of each I/O
pub(super) fn submit_plain(
    slot: NonNull<Op>,
    op: &Op,
    channel: &ChannelCore,
    only: Option<(*mut u8, usize)>,
    done: DoneCallback,
) -> bool {
    let (Some((base, len)), Some((raw, desc)), true) = (only, channel.raw(), op.may_be_plain.get())
    else {
        return false;
    };
    let lba = op.lba.get();
    let Some(blocks) = check_plain(channel, lba, base, len) else {
        return false;
    };
    let base = base.cast::<c_void>();
    op.only.set(base);
    op.blocks.set(blocks);
    channel.begin_io();
    // Set first: some errors complete inside the call (B-71).
    op.phase.set(Phase::Submitted);
    let done = Some(done);
    let arg = slot.as_ptr().cast::<c_void>();
    calls::count(Call::Submit);
    let rc = match op.io.get() {
        // SAFETY: descriptor and channel are open and of this thread, by the invariant of
        // `ChannelCore`; range, length and alignment were checked; memory and slot stay where they are until the
        // callback.
        IoType::Read => unsafe {
            spdk_sys::spdk_bdev_read_blocks(desc, raw, base, lba.0, blocks.0, done, arg)
        },
        // SAFETY: as above; the descriptor is writable, by its type.
        _ => unsafe {
            spdk_sys::spdk_bdev_write_blocks(desc, raw, base, lba.0, blocks.0, done, arg)
        },
    };
    if rc != 0 {
        submitted(slot, rc, Turn::First);
    }
    true
}

/// What became of [`submit_again`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// SPDK has it, and the slot may be anybody's by now.
    Started,
    /// There is more to it: nothing was done.
    Other,
    /// SPDK said so.
    Refused(i32),
}

/// Gives the next I/O of a loop to SPDK, which counts as outstanding already, if nothing but its place differs from the
/// last one. The place is SPDK's to check, which it does first of all, in all versions (`bdev_io_valid_blocks`): what is
/// out of range is refused as EINVAL.
///
/// # Safety
///
/// We are on the channel's thread. The last I/O of the slot was a plain read, or write, as `READ` says, and given to
/// SPDK by [`submit_plain`] or this; it has ended. `only` is memory that stays where it is until the callback.
#[inline(always)] // on the path of each I/O
pub(super) unsafe fn submit_again<const READ: bool>(
    slot: NonNull<Op>,
    op: &Op,
    channel: &ChannelCore,
    only: Option<(*mut u8, usize)>,
    lba: Lba,
    done: DoneCallback,
) -> Again {
    let Some((base, len)) = only else {
        return Again::Other;
    };
    let (base, blocks) = (base.cast::<c_void>(), op.blocks.get().0);
    // The same memory as before, so it has the right alignment and length. While the channel is to be put, the size of
    // a block is 0 here, which only memory without length has; so it is for a bdev that only reads.
    let is_same = base == op.only.get()
        && len != 0
        && blocks.wrapping_mul(u64::from(channel.plain_size())) == len as u64;
    if op.detached.get() || !is_same {
        return Again::Other;
    }
    let (raw, desc) = channel.raw_unless_revoked();
    op.lba.set(lba);
    // Set first: some errors complete inside the call (B-71).
    op.phase.set(Phase::Submitted);
    let (done, arg) = (Some(done), slot.as_ptr().cast::<c_void>());
    calls::count(Call::Submit);
    let rc = if READ {
        // SAFETY: descriptor and channel are open and of this thread, by the invariant of `ChannelCore`; length and
        // alignment were checked for the last I/O, and SPDK checks the range; memory and slot stay where they are until
        // the callback.
        unsafe { spdk_sys::spdk_bdev_read_blocks(desc, raw, base, lba.0, blocks, done, arg) }
    } else {
        // SAFETY: as above; the descriptor is writable, by its type.
        unsafe { spdk_sys::spdk_bdev_write_blocks(desc, raw, base, lba.0, blocks, done, arg) }
    };
    match rc {
        0 => Again::Started,
        rc => Again::Refused(rc),
    }
}

/// Gives the operation to SPDK, for the first time or again. On the channel's thread. False if it has to wait.
fn submit(slot: NonNull<Op>, turn: Turn) -> bool {
    // SAFETY: the slot is not idle, so its channel keeps its memory.
    let op = unsafe { slot.as_ref() };
    // SAFETY: by the type invariant; the slot keeps its count until it is released, which nothing below does before
    // the last use.
    let channel = unsafe { &*op.channel.get() };
    let Some((raw, desc)) = channel.raw() else {
        finish(slot, Some(op.fail(|io, lba| IoError::Removed { io, lba })));
        return true;
    };
    let ask = op.ask();
    if ask.io == IoType::Abort && !is_victim(&ask) {
        // It ended while the abort waited for memory, and its slot may be another I/O's by now.
        finish(slot, Some(op.fail(|io, lba| IoError::Aborted { io, lba })));
        return true;
    }
    // Set first: some errors complete inside the call (B-71).
    op.phase.set(Phase::Submitted);
    let (lba, blocks) = (ask.lba.0, op.blocks().0);
    let done = Some(io_done_callback as unsafe extern "C" fn(_, _, _));
    let arg = slot.as_ptr().cast::<c_void>();
    let only = op.only.get();
    // SAFETY: SPDK did not have the array until now, so nobody changes it.
    let iovs = unsafe { &mut *op.iovs.get() };
    let (iov, count) = (iovs.as_mut_ptr(), iovs.len() as i32);
    let md = op.metadata.get();
    calls::count(Call::Submit);
    let rc = match ask.io {
        // SAFETY: descriptor and channel are open and of this thread, by the invariant of
        // `ChannelCore`; range, length and alignment were checked; the memory, the array that names it and the slot
        // stay where they are until the callback. (The same holds for all that follow.)
        IoType::Read if !only.is_null() => unsafe {
            spdk_sys::spdk_bdev_read_blocks(desc, raw, only, lba, blocks, done, arg)
        },
        // SAFETY: as above; the descriptor is writable, by its type.
        IoType::Write if !only.is_null() => unsafe {
            spdk_sys::spdk_bdev_write_blocks(desc, raw, only, lba, blocks, done, arg)
        },
        // SAFETY: as above.
        IoType::Read if md.is_null() => unsafe {
            spdk_sys::spdk_bdev_readv_blocks(desc, raw, iov, count, lba, blocks, done, arg)
        },
        // SAFETY: as above.
        IoType::Write if md.is_null() => unsafe {
            spdk_sys::spdk_bdev_writev_blocks(desc, raw, iov, count, lba, blocks, done, arg)
        },
        // SAFETY: as above; the metadata has the length that belongs to the blocks.
        IoType::Read => unsafe {
            spdk_sys::spdk_bdev_readv_blocks_with_md(
                desc, raw, iov, count, md, lba, blocks, done, arg,
            )
        },
        // SAFETY: as above.
        IoType::Write => unsafe {
            spdk_sys::spdk_bdev_writev_blocks_with_md(
                desc, raw, iov, count, md, lba, blocks, done, arg,
            )
        },
        // SAFETY: as above.
        IoType::Compare if md.is_null() => unsafe {
            spdk_sys::spdk_bdev_comparev_blocks(desc, raw, iov, count, lba, blocks, done, arg)
        },
        // SAFETY: as above.
        IoType::Compare => unsafe {
            spdk_sys::spdk_bdev_comparev_blocks_with_md(
                desc, raw, iov, count, md, lba, blocks, done, arg,
            )
        },
        IoType::CompareAndWrite => {
            let second = op.second.get();
            // SPDK does it with locked blocks, if the device does not do it.
            channel.desc.locks();
            // SAFETY: the first list has `second` entries, the other one the rest.
            let write = unsafe { iov.add(second) };
            let (first, rest) = (second as i32, count - second as i32);
            // SAFETY: as above; both lists have the length that belongs to the blocks.
            unsafe {
                spdk_sys::spdk_bdev_comparev_and_writev_blocks(
                    desc, raw, iov, first, write, rest, lba, blocks, done, arg,
                )
            }
        }
        // SAFETY: as above.
        IoType::Unmap => unsafe {
            spdk_sys::spdk_bdev_unmap_blocks(desc, raw, lba, blocks, done, arg)
        },
        // SAFETY: as above.
        IoType::WriteZeroes => unsafe {
            spdk_sys::spdk_bdev_write_zeroes_blocks(desc, raw, lba, blocks, done, arg)
        },
        // SAFETY: as above.
        IoType::Flush => unsafe {
            spdk_sys::spdk_bdev_flush_blocks(desc, raw, lba, blocks, done, arg)
        },
        // SAFETY: as above.
        IoType::Reset => unsafe { spdk_sys::spdk_shim_bdev_reset(desc, raw, done, arg) },
        // SAFETY: as above; both ranges were checked.
        IoType::Copy => unsafe {
            spdk_sys::spdk_shim_bdev_copy(desc, raw, lba, ask.other, blocks, done, arg)
        },
        // SAFETY: as above.
        IoType::SeekData | IoType::SeekHole => unsafe {
            let hole = ask.io == IoType::SeekHole;
            spdk_sys::spdk_shim_bdev_seek(desc, raw, lba, hole, done, arg)
        },
        // SAFETY: as above.
        IoType::ZeroCopy => unsafe {
            let populate = ask.other != 0;
            spdk_sys::spdk_shim_bdev_zcopy_start(desc, raw, lba, blocks, populate, done, arg)
        },
        // SAFETY: as above; SPDK compares the victim's address, and follows it nowhere.
        IoType::Abort => unsafe { spdk_sys::spdk_bdev_abort(desc, raw, ask.victim, done, arg) },
    };
    rc == 0 || submitted(slot, rc, turn)
}

/// What SPDK said to a submission. False if it has to wait.
#[cold]
pub(super) fn submitted(slot: NonNull<Op>, rc: i32, turn: Turn) -> bool {
    // SAFETY: SPDK did not take the operation, so it is not idle.
    let op = unsafe { slot.as_ref() };
    match Errno::check(rc) {
        Ok(()) => true,
        Err(errno) if errno.code() == libc::ENOMEM => {
            op.phase.set(Phase::Waiting);
            op.aborted.set(false);
            let channel = op.channel();
            channel.waits.push(slot, &channel, turn);
            false
        }
        Err(errno) => {
            let error = match errno.code() {
                libc::ENOTSUP => op.fail(|io, _| IoError::Unsupported { io }),
                _ => op.fail(|io, lba| IoError::Submit { io, lba, errno }),
            };
            finish(slot, Some(error));
            true
        }
    }
}

/// Whether the victim of an abort is still what it was. Its slot is one of the same channel.
fn is_victim(ask: &Ask) -> bool {
    // SAFETY: the abort has a count of the channel, which keeps the slot.
    let victim = unsafe { &*ask.victim.cast::<Op>() };
    victim.generation() == ask.other && victim.is_submitted()
}

/// Submits a waiting operation whose turn it is, unless its future is gone: then nobody wants it done. False if it
/// waits again.
pub(in crate::bdev) fn resubmit(slot: NonNull<Op>) -> bool {
    // SAFETY: the slot waits, so it is not idle.
    let op = unsafe { slot.as_ref() };
    if op.detached.get() || op.aborted.get() {
        finish(slot, Some(op.fail(|io, lba| IoError::Aborted { io, lba })));
        return true;
    }
    submit(slot, Turn::Again)
}

/// The operation is over. On the channel's thread; SPDK has no pointer to the slot any more. Somebody's code runs in
/// here, contained, and last.
#[cold]
pub(super) fn finish(slot: NonNull<Op>, error: Option<IoError>) {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
    match error {
        None => op.payload_filled(),
        Some(error) => op.set_error(error),
    }
    if op.io.get() == IoType::Reset {
        // SPDK looks at the bdev when it comes back from the end of a reset. Without descriptors, and to be removed, it
        // would be unregistered there once more (26.05).
        op.channel().stay_for_now();
    }
    op.phase.set(Phase::Done);
    // SAFETY: by the type invariant.
    let channel = unsafe { &*op.channel.get() };
    if op.is_let_go(channel) {
        return finish_rarely(slot);
    }
    channel.end_io();
    if let Some(then) = op.then.take() {
        // SAFETY: done, and nobody's: it belongs to the callback, whose payload this is.
        unsafe { then(slot) };
    } else {
        wake(op);
    }
}

/// Tells the future of an operation that is done. The slot may be gone afterwards.
#[inline]
fn wake(op: &Op) {
    if let Some(waker) = op.waker.take() {
        // It may run the task on the spot, which may start the next operation.
        contain("a waker", || resume(waker));
    }
}

/// The same when the future is gone, or the channel is to be put.
#[cold]
fn finish_rarely(slot: NonNull<Op>) {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
    let (channel, is_detached) = (op.channel(), op.detached.get());
    // What a future let go of is nobody's to go on with.
    if let Some(then) = op.then.take().filter(|_| !is_detached) {
        // The channel may go here, and somebody's code run that polls or drops the future of a loop: as long as it steps,
        // that leaves the slot alone. A loop keeps its waker for its end.
        op.phase.set(Phase::Stepping);
        channel.end_io();
        op.phase.set(Phase::Done);
        // SAFETY: as in `finish`; what lets go of a loop is that itself.
        return unsafe { then(slot) };
    }
    let waker = op.waker.take();
    let unused = is_detached.then(|| recycle(slot));
    // The channel may go here, and somebody's code run that drops the future and the last handle.
    channel.end_io();
    contain("what an I/O owned", || drop(unused));
    if let Some(waker) = waker {
        contain("a waker", || waker.wake());
    }
}

/// # Safety
///
/// SPDK calls this exactly once for each submission that returned 0, on the channel's thread (B-70), with the slot
/// that it was submitted with.
unsafe extern "C" fn io_done_callback(
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    success: bool,
    arg: *mut c_void,
) {
    let is_usual = |op: &Op| !op.only.get().is_null() && op.then.get().is_none();
    let woken = |_: NonNull<Op>, op: &Op| wake(op);
    // SAFETY: by this function's contract.
    unsafe { complete(bdev_io, success, arg, is_usual, Op::payload_filled, woken) };
}

/// As [`io_done_callback`], for a future whose data it knows.
///
/// # Safety
///
/// As [`io_done_callback`], for a slot with a `C` in its payload.
pub(super) unsafe extern "C" fn wake_done_callback<C: Data>(
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    success: bool,
    arg: *mut c_void,
) {
    // A loop may begin as a future.
    let is_usual = |op: &Op| op.then.get().is_none();
    // SAFETY: by this function's contract; nobody uses it in flight.
    let filled = |op: &Op| unsafe { op.filled::<C>() };
    let woken = |_: NonNull<Op>, op: &Op| wake(op);
    // SAFETY: by this function's contract.
    unsafe { complete(bdev_io, success, arg, is_usual, filled, woken) };
}

/// The completion of an I/O. If it is a plain read or write that ended well, and `is_usual` says so, its data is told by
/// `filled`, and `then` goes on with it; the long way is [`finish`]'s.
///
/// # Safety
///
/// As [`io_done_callback`].
#[inline(always)] // on the path of each I/O
pub(super) unsafe fn complete(
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    success: bool,
    arg: *mut c_void,
    is_usual: impl FnOnce(&Op) -> bool,
    filled: impl FnOnce(&Op),
    then: impl FnOnce(NonNull<Op>, &Op),
) {
    let inside = inside::enter();
    // SAFETY: by this function's contract.
    let slot = unsafe { NonNull::new_unchecked(arg.cast::<Op>()) };
    // SAFETY: the slot was submitted, so it is not idle.
    let op = unsafe { slot.as_ref() };
    // SAFETY: so it has a count of its channel.
    let channel = unsafe { &*op.channel.get() };
    // The home never changes, so it may be looked at on any OS thread; the rest only on its own.
    if !success || !channel.home.is_os_thread(inside.os_thread()) || !is_usual(op) {
        // SAFETY: by this function's contract.
        return unsafe { done_otherwise(bdev_io, success, slot) };
    }
    calls::count(Call::Free);
    // SAFETY: completed, once, on the submitting thread (B-63). This may run callbacks of other waiters (B-62): nothing
    // is borrowed here.
    unsafe { spdk_sys::spdk_bdev_free_io(bdev_io) };
    // In flight as yet: its future leaves it alone.
    filled(op);
    op.phase.set(Phase::Done);
    if op.is_let_go(channel) {
        return finish_rarely(slot);
    }
    channel.end_io();
    then(slot, op);
}

/// The completion of what failed, is no plain read or write, or ends on the wrong OS thread.
///
/// # Safety
///
/// As [`io_done_callback`].
#[cold]
pub(super) unsafe fn done_otherwise(
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    success: bool,
    slot: NonNull<Op>,
) {
    // SAFETY: the slot was submitted, so it is not idle.
    let op = unsafe { slot.as_ref() };
    // SAFETY: so it has a count of its channel, whose home never changes.
    if !unsafe { &*op.channel.get() }.home.is_this_os_thread() {
        // SAFETY: by this function's contract.
        return unsafe { done_elsewhere(bdev_io) };
    }
    let mut error = None;
    if !success {
        // SAFETY: the I/O is completed and not freed yet.
        let status = unsafe { status_of(bdev_io) };
        let blocks = op.blocks();
        error = Some(op.fail(|io, lba| IoError::Failed {
            io,
            lba,
            blocks,
            status,
        }));
    }
    match op.io.get() {
        IoType::ZeroCopy if success => {
            let region = zcopy::RegionCore::new(op.channel(), bdev_io, op.lba(), op.blocks());
            op.kept.set(Some(region));
        }
        io => {
            if matches!(io, IoType::SeekData | IoType::SeekHole) {
                // SAFETY: a seek that is completed and not freed yet.
                op.found
                    .set(unsafe { spdk_sys::spdk_shim_bdev_io_seek_offset(bdev_io) });
            }
            calls::count(Call::Free);
            // SAFETY: as in `io_done_callback`.
            unsafe { spdk_sys::spdk_bdev_free_io(bdev_io) };
        }
    }
    finish(slot, error);
}

/// SPDK's scheduler has moved the thread; the slot belongs to another OS thread (design rule 2), and leaks.
///
/// # Safety
///
/// `bdev_io` is completed and not freed.
#[cold]
unsafe fn done_elsewhere(bdev_io: *mut spdk_sys::spdk_bdev_io) {
    // SAFETY: by this function's contract.
    unsafe { spdk_sys::spdk_bdev_free_io(bdev_io) };
    crate::log::error(
        "an I/O ended where its future can't be reached: its SPDK thread was moved to another OS thread",
    );
}

/// # Safety
///
/// `bdev_io` is completed and not freed.
#[cold]
pub(in crate::bdev) unsafe fn status_of(bdev_io: *const spdk_sys::spdk_bdev_io) -> IoStatus {
    // SAFETY: a struct of integers, for which zeroes are valid.
    let mut raw: spdk_sys::spdk_shim_io_status = unsafe { std::mem::zeroed() };
    // SAFETY: by this function's contract; the shim only reads.
    unsafe { spdk_sys::spdk_shim_bdev_io_status(bdev_io, &raw mut raw) };
    IoStatus::of(&raw)
}
