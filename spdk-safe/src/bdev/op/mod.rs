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

mod repeat;
mod submit;
mod then;

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::task::Waker;

use super::channel_core::ChannelCore;
use super::data::sealed::Data;
use super::data::{IoData, Laid};
use super::payload::{Hold, Payload};
use super::zcopy;
use crate::error::{IoError, IoType};
use crate::panic::contain;
use crate::units::{Blocks, Lba};

use submit::{DoneCallback, start_other, submit_plain, wake_done_callback};
pub(super) use submit::{resubmit, status_of};

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
    /// Of a loop: its step is running.
    Stepping,
    Done,
}

/// Tells the callback of a slot that is done; see `then` and `repeat`.
type CallThen = unsafe fn(NonNull<Op>);

/// Its fields lie in the order in which an I/O needs them: the first two lines of the cache are all that a plain read or
/// write touches. At large queue depths what it touches is not in the first-level cache any more, since the data was.
///
/// # Invariants
///
/// - While `phase` is `Submitted`, SPDK has a pointer to the slot, and `iovs` is not touched by us; while it is
///   `Waiting`, the slot is in one of the [`WaitQueues`](super::wait::WaitQueues) of its thread.
/// - `channel` is null while `phase` is `Idle`, and else the core that the slot belongs to, with a strong count of it.
#[repr(C, align(64))]
pub(super) struct Op {
    phase: Cell<Phase>,
    /// The future is gone: nobody wants the result.
    detached: Cell<bool>,
    /// A read or write, which the bdev takes.
    may_be_plain: Cell<bool>,
    /// There is an `error`.
    failed: Cell<bool>,
    io: Cell<IoType>,
    /// As many blocks as the data has.
    is_data: Cell<bool>,
    /// Somebody remembers this use of the slot.
    watched: Cell<bool>,
    channel: Cell<*const ChannelCore>,
    /// The memory, if it is in one piece and there is no metadata; else it is in `iovs`.
    only: Cell<*mut c_void>,
    lba: Cell<Lba>,
    /// From its start on those that it is about.
    blocks: Cell<Blocks>,
    waker: Cell<Option<Waker>>,
    /// The next idle slot of the channel.
    pub(super) next: Cell<Option<NonNull<Self>>>,

    /// Told of its end instead of a waker: the callback is in the payload.
    then: Cell<Option<CallThen>>,
    payload: Payload,

    /// Counts how often a use of the slot that was watched has ended.
    generation: Cell<u64>,
    /// See [`Ask`]; not set for reads and writes.
    other: Cell<u64>,
    /// As `other`.
    victim: Cell<*mut c_void>,
    error: Cell<Option<IoError>>,
    /// Where the second list of pieces begins.
    second: Cell<usize>,
    metadata: Cell<*mut c_void>,
    /// It waits, and is to be given up.
    aborted: Cell<bool>,
    /// What a seek found.
    found: Cell<u64>,
    /// Of a zero-copy that is done: its memory, which counts as outstanding.
    kept: Cell<Option<Rc<zcopy::RegionCore>>>,
    /// Ours alone, since some modules change it in place while the I/O runs (B-41). Keeps its capacity.
    iovs: UnsafeCell<Vec<libc::iovec>>,
}

// What is on the path of each I/O: flags and numbers in the first line, the data and its callback in the second.
const _: () = assert!(std::mem::offset_of!(Op, then) == 64);

impl Op {
    pub(super) fn new() -> Self {
        Self {
            phase: Cell::new(Phase::Idle),
            detached: Cell::new(false),
            may_be_plain: Cell::new(false),
            failed: Cell::new(false),
            io: Cell::new(IoType::Read),
            is_data: Cell::new(true),
            watched: Cell::new(false),
            channel: Cell::new(ptr::null()),
            only: Cell::new(ptr::null_mut()),
            lba: Cell::new(Lba(0)),
            blocks: Cell::new(Blocks(0)),
            waker: Cell::new(None),
            next: Cell::new(None),
            then: Cell::new(None),
            payload: Payload::new(),
            generation: Cell::new(0),
            other: Cell::new(0),
            victim: Cell::new(ptr::null_mut()),
            error: Cell::new(None),
            second: Cell::new(0),
            metadata: Cell::new(ptr::null_mut()),
            aborted: Cell::new(false),
            found: Cell::new(0),
            kept: Cell::new(None),
            iovs: UnsafeCell::new(Vec::new()),
        }
    }

    #[cold]
    fn fail(&self, make: impl FnOnce(IoType, Lba) -> IoError) -> IoError {
        make(self.io.get(), self.lba.get())
    }

    /// What is asked, as it was at first.
    fn ask(&self) -> Ask {
        Ask {
            io: self.io.get(),
            lba: self.lba.get(),
            blocks: self.blocks.get(),
            is_data: self.is_data.get(),
            other: self.other.get(),
            victim: self.victim.get(),
        }
    }

    /// Whether it is done, and did not end well.
    #[inline]
    pub(super) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    fn set_error(&self, error: IoError) {
        self.error.set(Some(error));
        self.failed.set(true);
    }

    #[inline]
    fn take_error(&self) -> Option<IoError> {
        match self.failed.get() {
            false => None,
            true => self.take_error_slowly(),
        }
    }

    #[cold]
    fn take_error_slowly(&self) -> Option<IoError> {
        self.failed.set(false);
        self.error.take()
    }

    /// It ended well: a read of a `C` has filled its memory.
    ///
    /// # Safety
    ///
    /// A `C` is in the payload; SPDK has let go of its memory, and nobody else uses it.
    #[inline(always)] // nothing, for most types
    unsafe fn filled<C: Data>(&self) {
        if C::WANTS_FILLED && self.io.get() == IoType::Read {
            // SAFETY: by this function's contract.
            let data = unsafe { self.payload.get::<C>() };
            contain("what an I/O owns", || Hold::filled(data));
        }
    }

    /// The same, whatever it is.
    #[inline]
    fn payload_filled(&self) {
        if self.io.get() == IoType::Read && self.payload.wants_filled() {
            contain("what an I/O owns", || {
                // SAFETY: SPDK has let go of the memory, and the future has not looked yet.
                unsafe { self.payload.filled() };
            });
        }
    }

    /// Ends it before it was started.
    #[cold]
    fn refuse(&self, error: IoError) {
        self.set_error(error);
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
        self.lba.get()
    }

    pub(super) fn blocks(&self) -> Blocks {
        self.blocks.get()
    }

    pub(super) fn found(&self) -> u64 {
        self.found.get()
    }

    /// Of a zero-copy that is done.
    pub(super) fn take_kept(&self) -> Option<Rc<zcopy::RegionCore>> {
        self.kept.take()
    }

    /// Tells the operation that uses the slot from others, if it is watched.
    pub(super) fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// The same, for who will compare it later: from now on it is watched.
    pub(super) fn watch(&self) -> u64 {
        self.watched.set(true);
        self.generation.get()
    }

    /// A use of the slot ends that somebody remembers.
    #[cold]
    fn end_watch(&self) {
        self.watched.set(false);
        self.generation.set(self.generation.get() + 1);
    }

    /// Whether nothing was started yet.
    pub(super) fn is_new(&self) -> bool {
        self.phase.get() == Phase::New
    }

    /// Whether it was started and is not done.
    pub(super) fn is_in_flight(&self) -> bool {
        matches!(
            self.phase.get(),
            Phase::Submitted | Phase::Waiting | Phase::Stepping
        )
    }

    /// Whether it is a loop that was not let go of: those alone have both a future and something to go on with.
    pub(super) fn is_loop(&self) -> bool {
        self.then.get().is_some() && !self.detached.get()
    }

    /// Whether SPDK has it.
    pub(super) fn is_submitted(&self) -> bool {
        self.phase.get() == Phase::Submitted
    }

    /// Whether the future is gone, or the channel is to be put.
    #[inline]
    fn is_let_go(&self, channel: &ChannelCore) -> bool {
        self.detached.get() || channel.is_revoked()
    }

    /// Marks an operation that waits as given up; false if it does not wait.
    pub(super) fn give_up(&self) -> bool {
        let waits = self.phase.get() == Phase::Waiting;
        if waits {
            self.aborted.set(true);
        }
        waits
    }

    /// Whether it waits for nothing: it was given up, or nobody wants it, or its channel goes.
    pub(super) fn is_given_up(&self) -> bool {
        // SAFETY: by the type invariant; what waits is not idle.
        let channel = unsafe { &*self.channel.get() };
        self.aborted.get() || self.detached.get() || channel.is_revoked()
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
        op.io.set(ask.io);
        op.lba.set(ask.lba);
        op.blocks.set(ask.blocks);
        op.is_data.set(ask.is_data);
        let is_plain = matches!(ask.io, IoType::Read | IoType::Write);
        op.may_be_plain.set(is_plain && channel.supports(ask.io));
        if !is_plain {
            op.other.set(ask.other);
            op.victim.set(ask.victim);
        }
        op.then.set(None);
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
            self.start(wake_done_callback::<C>);
        }
        if op.phase.get() == Phase::Done {
            return true;
        }
        let old = op.waker.take();
        match old {
            Some(same) if same.will_wake(waker) => op.waker.set(Some(same)),
            old => {
                op.waker.set(Some(waker.clone()));
                // Somebody's code, as the clone was; nothing of ours is half-done, but it may be done by now.
                drop(old);
                return op.phase.get() == Phase::Done;
            }
        }
        false
    }

    /// Checks what is asked and submits it; SPDK calls `done` at the end of what is plain. What fails is done at once.
    #[inline(always)] // on the path of each I/O
    fn start(&self, done: DoneCallback) {
        let op = self.op();
        // SAFETY: by the type invariant the slot has a count of it.
        let channel = unsafe { &*op.channel.get() };
        if let Err(error) = channel.check() {
            return op.refuse(error.into());
        }
        op.detached.set(false);
        // SAFETY: by the type invariant a `C` is there; SPDK does not have its memory yet, and nobody else uses it.
        let only = unsafe { op.payload.get::<C>() }.only(op.io.get());
        if !submit_plain(self.slot, op, channel, only, done) {
            self.start_long(channel);
        }
    }

    /// The same, for what is no plain read or write.
    #[cold]
    fn start_long(&self, channel: &ChannelCore) {
        let op = self.op();
        // SAFETY: the slot is new, so SPDK has no pointer to the array.
        let iovs = unsafe { &mut *op.iovs.get() };
        let mut laid = Laid::new(iovs);
        // Not borrowed any longer: the operation may end below, and the step of a loop has it.
        // SAFETY: as in `start`.
        unsafe { op.payload.get::<C>() }.lay_out(op.io.get(), &mut laid);
        if let Err(error) = start_other(self.slot, channel, &mut laid) {
            op.refuse(error);
        }
    }

    /// The result and the data of an operation that is done.
    pub(super) fn finish<R: Outcome>(self) -> (Result<R, IoError>, C) {
        match self.op().take_error() {
            None => {
                let (found, data) = self.finish_well();
                (Ok(found), data)
            }
            Some(error) => (Err(error), self.take()),
        }
    }

    /// What an operation that has ended well found, and its data.
    #[inline]
    pub(super) fn finish_well<R: Outcome>(self) -> (R, C) {
        debug_assert!(!self.op().has_failed());
        (R::of(Ended(self.op())), self.take())
    }

    /// The data of an operation that is done; its slot is free again.
    #[inline]
    fn take(self) -> C {
        // SAFETY: by the type invariant a `C` is there, and SPDK has let go of its memory.
        let data = unsafe { self.op().payload.take::<C>() };
        let slot = self.slot;
        std::mem::forget(self);
        release(slot);
        data
    }
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

/// Brings a slot that is done, and whose future is gone, back to its channel. What it held is to be dropped by the
/// caller, where that may run somebody's code.
fn recycle(slot: NonNull<Op>) -> Payload {
    // SAFETY: the slot is not idle.
    let op = unsafe { slot.as_ref() };
    op.take_error();
    // Ends it, on its thread.
    drop(op.take_kept());
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
    if op.watched.get() {
        op.end_watch();
    }
    // SAFETY: by the type invariant the slot has a count, which is handed to this `Rc`.
    let channel = unsafe { Rc::from_raw(op.channel.replace(ptr::null())) };
    channel.give_op(slot);
    // The channel may go here, and the slot with it.
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Op")
            .field("phase", &self.phase.get())
            .field("ask", &self.ask())
            .finish_non_exhaustive()
    }
}
