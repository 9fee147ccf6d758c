//! One operation: its slot, from submission to completion.
//!
//! ```text
//!         1         2 (0)                3                   4
//!   Idle ────► New ────────► Submitted ─────────────► Done ────────► Idle
//!               │ ▲ 2 (-ENOMEM)                         ▲
//!               │ └────────── Waiting ◄────┐            │
//!               │                │ resubmit             │
//!               └── 2 (other) ───┴──────────────────────┘
//!   1: Flight::new   2: submit, at the first poll   3: io_done_callback   4: Flight::finish, or at once if detached
//! ```
//!
//! A slot is a fixed place in memory: SPDK has pointers to it (the callback's argument, the iovec array), and it owns
//! what the I/O touches. Slots belong to their channel and are used again, so that nothing is allocated in steady
//! state. -ENOMEM is not an error: the slot waits in a queue (`wait`) and is submitted again (contract B-60, B-61).

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::task::Waker;

use super::buf::IoBuf;
use super::channel_core::ChannelCore;
use super::check::{check, check_plain};
use super::data::sealed::Data;
use super::data::{IoData, Laid, Then};
use super::payload::{Hold, Payload};
use super::wait::Turn;
use super::zcopy;
use crate::calls::{self, Call};
use crate::error::{Errno, IoError, IoStatus, IoType};
use crate::panic::contain;
use crate::units::{Blocks, Lba};

/// What is asked of a channel, beside the data.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) io: IoType,
    pub(super) lba: Lba,
    pub(super) blocks: Blocks,
    /// As many blocks as the data has.
    pub(super) is_data: bool,
    /// Of a copy, its source; of a zero-copy, whether to fill the memory; of an abort, its victim's generation.
    pub(super) other: u64,
    /// Of an abort, the slot of its victim.
    pub(super) victim: *mut c_void,
}

impl Ask {
    /// For an I/O as long as its data.
    #[inline]
    pub(super) fn data(io: IoType, lba: Lba) -> Self {
        Self {
            is_data: true,
            ..Self::range(io, lba, Blocks(0))
        }
    }

    /// For an I/O on a range.
    #[inline]
    pub(super) fn range(io: IoType, lba: Lba, blocks: Blocks) -> Self {
        Self {
            io,
            lba,
            blocks,
            is_data: false,
            other: 0,
            victim: ptr::null_mut(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    New,
    Waiting,
    Submitted,
    Done,
}

/// Tells the callback of a slot that is done; see [`call_then`].
type CallThen = unsafe fn(NonNull<Op>);

/// # Invariants
///
/// - While `phase` is `Submitted`, SPDK has a pointer to the slot, and `iovs` is not touched by us; while it is
///   `Waiting`, the slot is in one of the [`WaitQueues`](super::wait::WaitQueues) of its thread.
/// - `channel` is null while `phase` is `Idle`, and else the core that the slot belongs to, with a strong count of it.
pub(super) struct Op {
    phase: Cell<Phase>,
    /// The future is gone: nobody wants the result.
    detached: Cell<bool>,
    /// It waits, and is to be given up.
    aborted: Cell<bool>,
    channel: Cell<*const ChannelCore>,
    ask: Cell<Ask>,
    /// How many it is about, from its start on.
    blocks: Cell<Blocks>,
    /// The memory, if it is in one piece and there is no metadata; else it is in `iovs`.
    only: Cell<*mut c_void>,
    waker: Cell<Option<Waker>>,
    /// Told of its end instead of a waker: the callback is in the payload.
    then: Cell<Option<CallThen>>,
    payload: Payload,
    error: Cell<Option<IoError>>,
    /// Counts how often the slot was used.
    generation: Cell<u64>,
    /// Where the second list of pieces begins.
    second: Cell<usize>,
    metadata: Cell<*mut c_void>,
    /// What a seek found.
    found: Cell<u64>,
    /// Of a zero-copy that is done: its `spdk_bdev_io`, which is not freed yet.
    kept: Cell<*mut spdk_sys::spdk_bdev_io>,
    /// Ours alone, since some modules change it in place while the I/O runs (B-41). Keeps its capacity.
    iovs: UnsafeCell<Vec<libc::iovec>>,
    /// The next idle slot of the channel.
    pub(super) next: Cell<Option<NonNull<Self>>>,
}

impl Op {
    pub(super) fn new() -> Self {
        Self {
            phase: Cell::new(Phase::Idle),
            detached: Cell::new(false),
            aborted: Cell::new(false),
            channel: Cell::new(ptr::null()),
            ask: Cell::new(Ask::data(IoType::Read, Lba(0))),
            blocks: Cell::new(Blocks(0)),
            only: Cell::new(ptr::null_mut()),
            waker: Cell::new(None),
            then: Cell::new(None),
            payload: Payload::new(),
            error: Cell::new(None),
            generation: Cell::new(0),
            second: Cell::new(0),
            metadata: Cell::new(ptr::null_mut()),
            found: Cell::new(0),
            kept: Cell::new(ptr::null_mut()),
            iovs: UnsafeCell::new(Vec::new()),
            next: Cell::new(None),
        }
    }

    #[cold]
    fn fail(&self, make: impl FnOnce(IoType, Lba) -> IoError) -> IoError {
        let ask = self.ask.get();
        make(ask.io, ask.lba)
    }

    /// It ended well: a read has filled its memory.
    #[inline]
    fn payload_filled(&self) {
        if self.ask.get().io == IoType::Read && self.payload.wants_filled() {
            contain("what an I/O owns", || {
                // SAFETY: SPDK has let go of the memory, and the future has not looked yet.
                unsafe { self.payload.filled() };
            });
        }
    }

    /// Ends it before it was started.
    #[cold]
    fn refuse(&self, error: IoError) {
        self.error.set(Some(error));
        self.phase.set(Phase::Done);
    }

    /// The channel, with a count of its own. The slot must not be idle.
    pub(super) fn channel(&self) -> Rc<ChannelCore> {
        let channel = self.channel.get();
        // SAFETY: by the type invariant it is not null, and the slot has a count of it.
        unsafe { Rc::increment_strong_count(channel) };
        // SAFETY: the count just added is handed to this `Rc`.
        unsafe { Rc::from_raw(channel) }
    }

    pub(super) fn lba(&self) -> Lba {
        self.ask.get().lba
    }

    pub(super) fn blocks(&self) -> Blocks {
        self.blocks.get()
    }

    pub(super) fn found(&self) -> u64 {
        self.found.get()
    }

    /// Of a zero-copy that is done: who takes it has to end it.
    pub(super) fn take_kept(&self) -> *mut spdk_sys::spdk_bdev_io {
        self.kept.replace(ptr::null_mut())
    }

    /// How often the slot was used; tells the operation that uses it now from others.
    pub(super) fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Whether nothing was started yet.
    pub(super) fn is_new(&self) -> bool {
        self.phase.get() == Phase::New
    }

    /// Whether it was started and is not done.
    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.phase.get(), Phase::Submitted | Phase::Waiting)
    }

    /// Whether SPDK has it.
    pub(super) fn is_submitted(&self) -> bool {
        self.phase.get() == Phase::Submitted
    }

    /// Marks an operation that waits as given up; false if it does not wait.
    pub(super) fn give_up(&self) -> bool {
        let waits = self.phase.get() == Phase::Waiting;
        if waits {
            self.aborted.set(true);
        }
        waits
    }

    /// Whether it waits and was given up.
    pub(super) fn is_given_up(&self) -> bool {
        self.aborted.get()
    }
}

/// Lets a payload be any data.
impl<C: Data> Hold for C {
    const WANTS_FILLED: bool = <C as Data>::WANTS_FILLED;

    #[inline]
    fn filled(&mut self) {
        Data::filled(self);
    }
}

/// A slot in use, with data of type `C`: what a future holds. Dropping it detaches the operation.
///
/// # Invariants
///
/// The slot is not idle, and a `C` was put into its payload.
pub(super) struct Flight<C> {
    slot: NonNull<Op>,
    _data: PhantomData<C>,
}

impl<C: IoData> Flight<C> {
    /// Takes a slot of `channel` for what is asked. Nothing is started.
    #[inline]
    pub(super) fn new(channel: &Rc<ChannelCore>, ask: Ask, data: C) -> Self {
        let slot = channel.take_op();
        // SAFETY: slots live as long as their channel.
        let op = unsafe { slot.as_ref() };
        op.payload.put(data);
        op.ask.set(ask);
        op.generation.set(op.generation.get() + 1);
        // INVARIANT: the slot has a count of its own.
        op.channel.set(Rc::into_raw(Rc::clone(channel)));
        op.phase.set(Phase::New);
        // INVARIANT: not idle, with a `C` inside.
        Self {
            slot,
            _data: PhantomData,
        }
    }

    /// Starts it if it is new, and says whether it is done; else `waker` will be woken.
    #[inline]
    pub(super) fn poll(&self, waker: &Waker) -> bool {
        let op = self.op();
        if op.phase.get() == Phase::New {
            self.start();
        }
        if op.phase.get() == Phase::Done {
            return true;
        }
        let old = op.waker.take();
        match old {
            Some(same) if same.will_wake(waker) => op.waker.set(Some(same)),
            old => {
                op.waker.set(Some(waker.clone()));
                // Somebody's code; nothing of ours is half-done.
                drop(old);
            }
        }
        false
    }

    /// Checks what is asked and submits it. What fails is done at once.
    #[inline]
    fn start(&self) {
        let op = self.op();
        // SAFETY: by the type invariant the slot has a count of it.
        let channel = unsafe { &*op.channel.get() };
        let ask = op.ask.get();
        if let Err(error) = channel.check() {
            return op.refuse(error.into());
        }
        // SAFETY: the slot is new, so SPDK has no pointer to the array.
        let iovs = unsafe { &mut *op.iovs.get() };
        let mut laid = Laid::new(iovs);
        // SAFETY: by the type invariant a `C` is there; SPDK does not have its memory yet, and nobody else uses it.
        let data = unsafe { op.payload.get::<C>() };
        data.lay_out(ask.io, &mut laid);
        op.detached.set(false);
        op.aborted.set(false);
        match check_plain(channel, &ask, &laid) {
            Some(blocks) => {
                op.blocks.set(blocks);
                op.only.set(laid.pieces.only());
                channel.begin_io();
                submit_plain(self.slot, op, channel);
            }
            None => start_other(self.slot, channel, &mut laid),
        }
    }

    /// The result and the data of an operation that is done.
    #[inline]
    pub(super) fn finish<R: Outcome>(self) -> (Result<R, IoError>, C) {
        let op = self.op();
        let result = match op.error.take() {
            None => Ok(R::of(Ended(op))),
            Some(error) => Err(error),
        };
        // SAFETY: by the type invariant a `C` is there, and SPDK has let go of its memory.
        let data = unsafe { op.payload.take::<C>() };
        let slot = self.slot;
        std::mem::forget(self);
        release(slot);
        (result, data)
    }
}

impl<B: IoBuf, F: FnOnce(Result<(), IoError>, B) + 'static> Flight<Then<B, F>> {
    /// Starts it; the callback is told of its end.
    ///
    /// # Errors
    ///
    /// What was found before SPDK had it, or while SPDK took it: the callback is not called.
    #[inline]
    pub(super) fn start_then(self) -> Result<(), (IoError, B)> {
        self.start();
        let op = self.op();
        if op.phase.get() == Phase::Done {
            return self.done_at_once();
        }
        op.then.set(Some(call_then::<B, F>));
        std::mem::forget(self);
        Ok(())
    }

    #[cold]
    fn done_at_once(self) -> Result<(), (IoError, B)> {
        let (slot, channel) = (self.slot, self.op().channel());
        if let Some(error) = self.op().error.take() {
            let (_, then) = self.finish::<()>();
            return Err((error, then.data));
        }
        // Not in here: a callback that starts the next one would have no end of stack.
        std::mem::forget(self);
        channel.home.send(Box::new(move || {
            // SAFETY: the operation is done, and the slot is nobody else's.
            unsafe { call_then::<B, F>(slot) };
        }));
        Ok(())
    }
}

/// Tells the callback of an operation that is done.
///
/// # Safety
///
/// The slot is done and nobody's, with a `Then<B, F>` in its payload.
unsafe fn call_then<B: IoBuf, F: FnOnce(Result<(), IoError>, B) + 'static>(slot: NonNull<Op>) {
    let flight = Flight::<Then<B, F>> {
        slot,
        _data: PhantomData,
    };
    let (result, then) = flight.finish::<()>();
    let Then { data, done } = then;
    contain("the callback of an I/O", || done(result, data));
}

impl<C> Flight<C> {
    #[inline]
    pub(super) fn op(&self) -> &Op {
        // SAFETY: the slot is not idle, so it has a count of its channel, which keeps its memory.
        unsafe { self.slot.as_ref() }
    }

    pub(super) fn slot(&self) -> NonNull<Op> {
        self.slot
    }
}

impl<C> Drop for Flight<C> {
    fn drop(&mut self) {
        let op = self.op();
        let waker = op.waker.take();
        // SPDK does not have what is new or waits, so its data can go now; a request above may be waiting for that.
        let unused = match op.phase.get() {
            Phase::New | Phase::Done => Some(recycle(self.slot)),
            Phase::Waiting => {
                op.detached.set(true);
                Some(op.payload.detach())
            }
            _ => {
                op.detached.set(true);
                None
            }
        };
        // Last, since both run code that is not ours.
        drop((unused, waker));
    }
}

/// What an I/O finds out, beside its data.
pub trait Outcome: Found {}
impl<T: Found> Outcome for T {}

pub(super) use found::{Ended, Found};

mod found {
    /// An operation that ended well, before its slot is released.
    #[derive(Debug)]
    pub struct Ended<'a>(pub(in crate::bdev) &'a super::Op);

    /// See [`Outcome`](super::Outcome).
    pub trait Found: Sized + 'static {
        /// What it found out.
        fn of(ended: Ended<'_>) -> Self;
    }
}

impl Found for () {
    #[inline]
    fn of(_: Ended<'_>) {}
}

/// How much was read or written.
impl Found for Blocks {
    fn of(ended: Ended<'_>) -> Self {
        ended.0.blocks()
    }
}

/// What a seek found; `None` if there is none.
impl Found for Option<Lba> {
    fn of(ended: Ended<'_>) -> Self {
        Some(ended.0.found()).filter(|at| *at != u64::MAX).map(Lba)
    }
}

/// Starts what is no plain read or write, or has something wrong about it.
#[cold]
fn start_other(slot: NonNull<Op>, channel: &ChannelCore, laid: &mut Laid<'_>) {
    // SAFETY: the slot is new, so its channel keeps its memory.
    let op = unsafe { slot.as_ref() };
    let ask = op.ask.get();
    match check(channel, &ask, laid) {
        Ok(blocks) => op.blocks.set(blocks),
        Err(error) => return op.refuse(error),
    }
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
}

/// Gives a plain read or write to SPDK.
#[inline]
fn submit_plain(slot: NonNull<Op>, op: &Op, channel: &ChannelCore) {
    let Some((raw, desc)) = channel.raw() else {
        submit(slot, Turn::First);
        return;
    };
    // Set first: some errors complete inside the call (B-71).
    op.phase.set(Phase::Submitted);
    let (only, lba, blocks) = (op.only.get(), op.lba().0, op.blocks().0);
    let done = Some(io_done_callback as unsafe extern "C" fn(_, _, _));
    let arg = slot.as_ptr().cast::<c_void>();
    calls::count(Call::Submit);
    let rc = match op.ask.get().io {
        // SAFETY: descriptor and channel are open and of this thread, by the invariant of
        // `ChannelCore`; range, length and alignment were checked; memory and slot stay where they are until the
        // callback.
        IoType::Read => unsafe {
            spdk_sys::spdk_bdev_read_blocks(desc, raw, only, lba, blocks, done, arg)
        },
        // SAFETY: as above; the descriptor is writable, by its type.
        _ => unsafe { spdk_sys::spdk_bdev_write_blocks(desc, raw, only, lba, blocks, done, arg) },
    };
    if rc != 0 {
        submitted(slot, rc, Turn::First);
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
    let ask = op.ask.get();
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
fn submitted(slot: NonNull<Op>, rc: i32, turn: Turn) -> bool {
    // SAFETY: SPDK did not take the operation, so it is not idle.
    let op = unsafe { slot.as_ref() };
    match Errno::check(rc) {
        Ok(()) => true,
        Err(errno) if errno.code() == libc::ENOMEM => {
            op.phase.set(Phase::Waiting);
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
pub(super) fn resubmit(slot: NonNull<Op>) -> bool {
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
#[inline]
fn finish(slot: NonNull<Op>, error: Option<IoError>) {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
    match error {
        None => op.payload_filled(),
        Some(error) => op.error.set(Some(error)),
    }
    op.phase.set(Phase::Done);
    // SAFETY: by the type invariant.
    let channel = unsafe { &*op.channel.get() };
    if op.detached.get() || channel.is_revoked() {
        return finish_rarely(slot);
    }
    channel.end_io();
    if let Some(then) = op.then.take() {
        // SAFETY: done, and nobody's: it belongs to the callback, whose payload this is.
        unsafe { then(slot) };
    } else if let Some(waker) = op.waker.take() {
        // It may run the task on the spot, which may start the next operation.
        contain("a waker", || waker.wake());
    }
}

/// The same when the future is gone, or the channel is to be put.
#[cold]
fn finish_rarely(slot: NonNull<Op>) {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
    let (channel, waker, then) = (op.channel(), op.waker.take(), op.then.take());
    let unused = op.detached.get().then(|| recycle(slot));
    // The channel may go here, and somebody's code run that drops the future and the last handle.
    channel.end_io();
    contain("what an I/O owned", || drop(unused));
    if let Some(then) = then {
        // SAFETY: as in `finish`; an operation with a callback has no future, and is never detached.
        unsafe { then(slot) };
    } else if let Some(waker) = waker {
        contain("a waker", || waker.wake());
    }
}

/// Brings a slot that is done, and whose future is gone, back to its channel. What it held is to be dropped by the
/// caller, where that may run somebody's code.
fn recycle(slot: NonNull<Op>) -> Payload {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
    op.error.set(None);
    let kept = op.take_kept();
    if !kept.is_null() {
        zcopy::discard(op.channel(), kept);
    }
    let payload = op.payload.detach();
    release(slot);
    payload
}

/// Gives a slot with nothing in it back to its channel.
#[inline]
fn release(slot: NonNull<Op>) {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
    op.phase.set(Phase::Idle);
    // SAFETY: by the type invariant the slot has a count, which is handed to this `Rc`.
    let channel = unsafe { Rc::from_raw(op.channel.replace(ptr::null())) };
    channel.give_op(slot);
    // The channel may go here, and the slot with it.
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
    // SAFETY: by this function's contract.
    let slot = unsafe { NonNull::new_unchecked(arg.cast::<Op>()) };
    // SAFETY: the slot was submitted, so it is not idle.
    let op = unsafe { slot.as_ref() };
    // SAFETY: so it has a count of its channel, whose home never changes.
    if !unsafe { &*op.channel.get() }.home.is_this_os_thread() {
        // SAFETY: by this function's contract.
        return unsafe { done_elsewhere(bdev_io) };
    }
    if !success || op.only.get().is_null() {
        // SAFETY: by this function's contract.
        return unsafe { done_otherwise(bdev_io, success, slot) };
    }
    calls::count(Call::Free);
    // SAFETY: completed, once, on the submitting thread (B-63). This may run callbacks of other waiters (B-62): nothing
    // is borrowed here.
    unsafe { spdk_sys::spdk_bdev_free_io(bdev_io) };
    finish(slot, None);
}

/// The completion of what failed, or is no plain read or write.
///
/// # Safety
///
/// As [`io_done_callback`].
#[cold]
unsafe fn done_otherwise(bdev_io: *mut spdk_sys::spdk_bdev_io, success: bool, slot: NonNull<Op>) {
    // SAFETY: the slot was submitted, so it is not idle.
    let op = unsafe { slot.as_ref() };
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
    match op.ask.get().io {
        IoType::ZeroCopy if success => op.kept.set(bdev_io),
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
pub(super) unsafe fn status_of(bdev_io: *const spdk_sys::spdk_bdev_io) -> IoStatus {
    // SAFETY: a struct of integers, for which zeroes are valid.
    let mut raw: spdk_sys::spdk_shim_io_status = unsafe { std::mem::zeroed() };
    // SAFETY: by this function's contract; the shim only reads.
    unsafe { spdk_sys::spdk_shim_bdev_io_status(bdev_io, &raw mut raw) };
    IoStatus::of(&raw)
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Op")
            .field("phase", &self.phase.get())
            .field("ask", &self.ask.get())
            .finish_non_exhaustive()
    }
}
