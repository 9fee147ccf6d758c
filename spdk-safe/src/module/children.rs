//! Children of a request: I/Os below that it waits for, submitted and ended without an allocation.
//!
//! ```text
//!   request ──► room of its own context ──► children, counted ──► count 0 ──► request, and what waited
//! ```
//!
//! A child goes straight to SPDK with the address of the request's context, and in its low bits the number of an entry
//! there that says which channel it holds. What is not plain, or must wait for memory, takes a slot of its channel.

use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, align_of, size_of};
use std::ptr::NonNull;

use super::context::{CHILDREN, FAILED, FAULTED, Handle, ONLY, ROOM, RequestContext, Room};
use super::data::RequestData;
use super::fan_out::Submit;
use super::status::RequestStatus;
use crate::bdev::{Below, Child, Memory, NoMemory, failure};
use crate::calls::{self, Call};
use crate::error::IoError;
use crate::inside::{self, Inside};
use crate::panic::contain;
use crate::thread::{Bound, Home};
use crate::units::Blocks;

/// What waits for the children of a request of type `R`, with what it counts meanwhile.
///
/// It lives in the request's driver context: no more than a hundred bytes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't wait for the children of a `{R}`",
    label = "does not implement `Children<{R}>`",
    note = "implement `spdk_safe::module::Children<{R}>` for it: what each child's end does, and what the request's does"
)]
pub trait Children<R>: Sized + 'static {
    /// A child ended. `tag` is what it was submitted with, the number of a leg for example.
    ///
    /// Called on the request's thread, usually after the child was submitted, rarely inside of that, and perhaps while
    /// another child's end is told: keep what changes in a [`Cell`](std::cell::Cell). A panic in it fails the request
    /// once all children have ended.
    fn ended(&self, tag: u8, result: Result<(), IoError>);

    /// Whether the request has simply succeeded: asked when all ended that were submitted, and each of them well. Then what
    /// waits is dropped, the request is completed, and [`all_ended`](Self::all_ended) is not called. This is the shortest
    /// way to the end of a request.
    #[inline]
    fn has_succeeded(&self, _request: &R) -> bool {
        false
    }

    /// All ended that were submitted, and the request is back: complete it, or submit more for it.
    fn all_ended(self, request: R);
}

/// A request, whatever it asks.
pub trait Parent: Sized + 'static {
    /// Its handle.
    #[doc(hidden)]
    fn handle(&self) -> &Handle;
    /// Its handle, alone.
    #[doc(hidden)]
    fn into_handle(self) -> Handle;

    /// Ends it; as the request's own `complete`.
    #[inline]
    fn complete(self, status: impl Into<RequestStatus>) {
        self.into_handle().finish(status.into());
    }

    /// Has it wait for children; as the request's own `children`.
    #[inline]
    fn children<S: Children<Self>>(self, waits: S) -> ChildIos<Self, S> {
        ChildIos::new(self, waits)
    }

    /// Has it wait for the children that `waits` submits; as the request's own `fan_out`.
    #[inline(always)]
    fn fan_out<S: Submit<Self>>(self, waits: S) {
        super::fan_out::fan_out(self, waits);
    }

    /// The bytes of its driver context that are the device's: as many as [`BlockDevice::CONTEXT`](super::BlockDevice)
    /// says, aligned to 64. They hold whatever was left there, and are the device's until the request is completed.
    ///
    /// For whoever owns the request. In an `async` device its future lies there:
    ///
    /// ```compile_fail,E0596
    /// # use spdk_safe::module::{InTask, Parent, ReadRequest};
    /// fn submit(mut read: InTask<'_, ReadRequest>) {
    ///     let future = read.driver_context(); // cannot borrow data in dereference of `InTask` as mutable
    /// }
    /// ```
    fn driver_context(&mut self) -> NonNull<u8> {
        self.handle().extra()
    }
}

/// A request with children; see [`Children`]. As long as it lives more can be submitted. Drop it, or
/// [`submit`](Self::submit), and the request goes on as soon as all have ended.
///
/// # Invariants
///
/// It counts in the context's `pending`, so an `R` and an `S` are in the context's room.
#[must_use = "the request waits for it: `submit()`"]
pub struct ChildIos<R: Parent, S: Children<R>> {
    at: Bound<NonNull<RequestContext>>,
    _waits: PhantomData<fn() -> (R, S)>,
}

/// Which memory of the request a child has.
#[derive(Clone, Copy)]
pub(super) enum Part {
    None,
    /// Bytes of it.
    Of {
        from: u64,
        len: u64,
    },
}

impl RequestContext {
    pub(super) fn whole(&self) -> Part {
        Part::Of {
            from: 0,
            len: self.len,
        }
    }

    /// `blocks` blocks from block `from` on, if there are as many.
    pub(super) fn part(&self, from: Blocks, blocks: Blocks) -> Option<Part> {
        let from = from.bytes(self.block_size)?.0;
        let len = blocks.bytes(self.block_size)?.0;
        let end = from.checked_add(len)?;
        (end <= self.len).then_some(Part::Of { from, len })
    }

    /// The memory of a part, if the straight path takes it; `alone` if no other I/O is to use the array of pieces.
    #[inline]
    pub(super) fn memory(&self, part: Part, alone: bool) -> Option<Memory> {
        let Part::Of { from, len } = part else {
            return Some(Memory::None);
        };
        if self.has_metadata() {
            return None;
        }
        if self.iovcnt == 1 {
            // SAFETY: the request is not completed, and its array has one entry.
            let iov = unsafe { &*self.iovs };
            let base = iov.iov_base.cast::<u8>().wrapping_add(from as usize);
            return Some(Memory::One(base, len));
        }
        // Some modules change the array while the I/O runs (B-41).
        let lend = alone && len == self.len && !self.shares.are_there();
        lend.then_some(Memory::Many(self.iovs, self.iovcnt, len))
    }
}

/// What is in the room.
pub(super) type Waiting<R, S> = (R, S);

/// That it fits.
struct Fits<R, S>(PhantomData<(R, S)>);

impl<R, S> Fits<R, S> {
    const CHECK: () = {
        assert!(
            size_of::<Waiting<R, S>>() <= ROOM,
            "what waits for the children of a request is too large for its driver context, of which every request of \
             the process has one: keep it in the channel, or in a `Box`"
        );
        assert!(align_of::<Waiting<R, S>>() <= align_of::<Room>());
    };
}

/// Moves a request into its own context, together with what waits.
#[inline(always)]
pub(super) fn put<R: Parent, S>(request: R, waits: S) -> NonNull<RequestContext> {
    const { Fits::<R, S>::CHECK };
    let at = request.handle().raw();
    let room = request.handle().context().room.get();
    // SAFETY: the room is large and aligned enough, and nothing lives there: the request was not in it.
    unsafe { room.cast::<Waiting<R, S>>().write((request, waits)) };
    at
}

/// Takes both out again.
///
/// # Safety
///
/// They were put there, and not taken since.
#[inline(always)]
unsafe fn take<R, S>(at: NonNull<RequestContext>) -> Waiting<R, S> {
    // SAFETY: by this function's contract the request is not completed.
    let room = unsafe { at.as_ref() }.room.get();
    // SAFETY: by this function's contract.
    unsafe { room.cast::<Waiting<R, S>>().read() }
}

/// Runs `job` on the request's thread, after what runs now.
#[cold]
pub(super) fn later(home: Home, job: Box<dyn FnOnce()>) {
    match home.check() {
        Ok(()) => home.send(job),
        // SAFETY: SPDK keeps a channel, and its thread with it, while a request of it is outstanding.
        Err(_) => unsafe { home.run(job) },
    }
}

/// One child for the whole of a request, and `done` for its end.
#[inline(always)]
pub(super) fn forward<R: Parent, F>(request: R, below: Below<'_>, child: Child, part: Part, done: F)
where
    F: FnOnce(R, Result<(), IoError>) + 'static,
{
    let at = put(request, done);
    // SAFETY: both were put there, and nothing is sent yet.
    unsafe { forward_put::<R, F>(at, below, child, part) };
}

/// The same, with both in the request's context.
///
/// # Safety
///
/// An `R` and an `F` are in the room of the request at `at`, and it has no child. That the descriptor is writable is in the
/// types of the callers.
#[inline(always)]
pub(super) unsafe fn forward_put<R: Parent, F>(
    at: NonNull<RequestContext>,
    below: Below<'_>,
    child: Child,
    part: Part,
) where
    F: FnOnce(R, Result<(), IoError>) + 'static,
{
    // SAFETY: by this function's contract the request is in its own context, and not completed before its end is told.
    let context = unsafe { at.as_ref() };
    let sent = below.is_here(context.home())
        && match context.memory(part, true) {
            // Apart, so that nothing of the others is in its way.
            Some(memory @ Memory::One(..)) => send_only::<R, F>(at, below, &child, memory),
            Some(memory) => send_only_other::<R, F>(at, below, child, memory),
            None => false,
        };
    if !sent {
        forward_long::<R, F>(at, below, child, part);
    }
}

/// Sends the one child of a request on the straight path; false if that does not take it. On the request's thread.
#[inline(always)]
fn send_only<R: Parent, F>(
    at: NonNull<RequestContext>,
    below: Below<'_>,
    child: &Child,
    memory: Memory,
) -> bool
where
    F: FnOnce(R, Result<(), IoError>) + 'static,
{
    // SAFETY: the request is in its own context, and not completed before its end is told.
    let context = unsafe { at.as_ref() };
    // Set first: some errors complete inside the call (B-71).
    context.children[ONLY].set(MaybeUninit::new(below.begin()));
    let done = forward_done_callback::<R, F>;
    // SAFETY: on the channel's thread, begun. The memory belongs to the request, which is not completed before `done`
    // was called. That the descriptor is writable is in the types of the callers.
    let is_sent = unsafe { below.send(child, memory, done, at.as_ptr().cast()) };
    if !is_sent {
        // SAFETY: put there above, and SPDK did not take it.
        unsafe { unsend(context, ONLY) };
    }
    is_sent
}

#[inline(never)]
fn send_only_other<R: Parent, F>(
    at: NonNull<RequestContext>,
    below: Below<'_>,
    child: Child,
    memory: Memory,
) -> bool
where
    F: FnOnce(R, Result<(), IoError>) + 'static,
{
    send_only::<R, F>(at, below, &child, memory)
}

/// Takes back the child that was put under `index`.
///
/// # Safety
///
/// It was, and SPDK did not take it.
#[cold]
pub(super) unsafe fn unsend(context: &RequestContext, index: usize) {
    let sent = context.children[index].replace(MaybeUninit::uninit());
    // SAFETY: by this function's contract.
    unsafe { sent.assume_init() }.ended();
}

/// Aborts the child of the request whose context is at `victim`, if it was forwarded to the same channel without a slot.
#[cold]
pub(super) fn forward_abort<R: Parent, F>(request: R, below: Below<'_>, victim: usize, done: F)
where
    F: FnOnce(R, Result<(), IoError>) + 'static,
{
    let at = put(request, done);
    // SAFETY: the request is in its own context, and not completed before its end is told.
    let context = unsafe { at.as_ref() };
    let home = context.home();
    let started = below.check(home).map_err(IoError::from).and_then(|()| {
        // Set first: it may be told inside of the call.
        context.children[ONLY].set(MaybeUninit::new(below.begin()));
        let done = forward_done_callback::<R, F>;
        // SAFETY: on the channel's thread, begun; there is no memory, and an abort writes nothing.
        let sent = unsafe { below.send_abort(victim, done, at.as_ptr().cast()) };
        if sent.is_err() {
            // SAFETY: put there above, and SPDK did not take it.
            unsafe { unsend(context, ONLY) };
        }
        sent
    });
    if let Err(error) = started {
        later(
            home,
            Box::new(move || {
                // SAFETY: nothing was sent, so nobody else tells of its end.
                unsafe { forwarded::<R, F>(at, || Err(error)) };
            }),
        );
    }
}

#[cold]
fn forward_long<R: Parent, F>(
    at: NonNull<RequestContext>,
    below: Below<'_>,
    child: Child,
    part: Part,
) where
    F: FnOnce(R, Result<(), IoError>) + 'static,
{
    let done = move |result| {
        // SAFETY: the one child of the request has ended, once.
        unsafe { forwarded::<R, F>(at, || result) };
    };
    long(at, below, child, part, done);
}

/// The long way of a child; `done` is told of its end, later.
#[cold]
pub(super) fn long(
    at: NonNull<RequestContext>,
    below: Below<'_>,
    child: Child,
    part: Part,
    done: impl FnOnce(Result<(), IoError>) + Copy + 'static,
) {
    // SAFETY: the request is not completed before the child has ended.
    let context = unsafe { at.as_ref() };
    let home = context.home();
    let started = match (below.check(home), part) {
        (Err(error), _) => Err(error.into()),
        (Ok(()), Part::None) => below.start(&child, NoMemory, move |result, _| done(result)),
        (Ok(()), Part::Of { from, len }) => {
            // SAFETY: as above; the part lies within the request.
            let data = unsafe { RequestData::of(at, from, len) };
            below.start(&child, data, move |result, data| {
                drop(data);
                done(result);
            })
        }
    };
    if let Err(error) = started {
        // Not in here: what goes on with the next leg would have no end of stack.
        later(home, Box::new(move || done(Err(error))));
    }
}

/// # Safety
///
/// SPDK calls this exactly once for a child that `forward` sent, on its thread; `arg` is the context of its request.
pub(super) unsafe extern "C" fn forward_done_callback<R: Parent, F>(
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    success: bool,
    arg: *mut c_void,
) where
    F: FnOnce(R, Result<(), IoError>) + 'static,
{
    let inside = inside::enter();
    // SAFETY: by this function's contract.
    let at = unsafe { NonNull::new_unchecked(arg.cast::<RequestContext>()) };
    // SAFETY: the request is not completed: it is in its context.
    let context = unsafe { at.as_ref() };
    if !success {
        // SAFETY: as this function.
        return unsafe { forward_failed::<R, F>(bdev_io, at, &inside) };
    }
    // SAFETY: by this function's contract.
    if unsafe { ended(bdev_io, true, context, ONLY, &inside) }.is_some() {
        context.filled.set(true);
        // SAFETY: its one child has ended.
        unsafe { forwarded::<R, F>(at, || Ok(())) };
    }
}

/// # Safety
///
/// As [`forward_done_callback`].
#[cold]
unsafe fn forward_failed<R: Parent, F>(
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    at: NonNull<RequestContext>,
    inside: &Inside,
) where
    F: FnOnce(R, Result<(), IoError>) + 'static,
{
    // SAFETY: the request is not completed: it is in its context.
    let context = unsafe { at.as_ref() };
    // SAFETY: by this function's contract.
    if let Some(error) = unsafe { ended(bdev_io, false, context, ONLY, inside) } {
        // SAFETY: its one child has ended.
        unsafe { forwarded::<R, F>(at, || result_of(error)) };
    }
}

/// Why a child failed, if it did: in a box, which is small.
pub(super) type Failed = Option<Box<IoError>>;

/// What a child is told to have ended with.
#[inline(always)]
pub(super) fn result_of(error: Failed) -> Result<(), IoError> {
    match error {
        None => Ok(()),
        Some(error) => unboxed(error),
    }
}

fn boxed(result: Result<(), IoError>) -> Failed {
    result.err().map(Box::new)
}

#[cold]
#[expect(clippy::boxed_local, reason = "out of the way")]
fn unboxed(error: Box<IoError>) -> Result<(), IoError> {
    Err(*error)
}

/// Takes a child that SPDK had back, with what was wrong. `None` on a thread that was moved: all that is leaked.
///
/// # Safety
///
/// SPDK has called back for the child whose entry is `index`.
#[inline(always)]
pub(super) unsafe fn ended(
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    success: bool,
    context: &RequestContext,
    index: usize,
    inside: &Inside,
) -> Option<Failed> {
    if !context.home().is_os_thread(inside.os_thread()) {
        // SAFETY: by this function's contract.
        unsafe { moved(bdev_io) };
        return None;
    }
    let error = match success {
        true => None,
        // SAFETY: completed and not freed.
        false => Some(unsafe { failure(bdev_io) }),
    };
    let sent = context.children[index].replace(MaybeUninit::uninit());
    calls::count(Call::Free);
    // SAFETY: completed, once, on the submitting thread (B-63). This may run callbacks of other waiters (B-62): nothing
    // is borrowed here but Cells.
    unsafe { spdk_sys::spdk_bdev_free_io(bdev_io) };
    // SAFETY: put there when it was sent.
    unsafe { sent.assume_init() }.ended();
    Some(error)
}

/// SPDK's scheduler has moved the thread: what belongs to the other OS thread must not be touched (design rule 2).
///
/// # Safety
///
/// `bdev_io` is completed and not freed.
#[cold]
unsafe fn moved(bdev_io: *mut spdk_sys::spdk_bdev_io) {
    // SAFETY: by this function's contract.
    unsafe { spdk_sys::spdk_bdev_free_io(bdev_io) };
    crate::log::error(
        "an I/O ended where its request can't be reached: its SPDK thread was moved to another OS thread",
    );
}

/// The one child has ended, with `result`.
///
/// # Safety
///
/// `R` and `F` are in the context, and nobody else takes them.
#[inline(always)]
unsafe fn forwarded<R: Parent, F>(
    at: NonNull<RequestContext>,
    result: impl FnOnce() -> Result<(), IoError>,
) where
    F: FnOnce(R, Result<(), IoError>) + 'static,
{
    // A panic drops the request, which fails it.
    contain("what waited for the I/O below a request", || {
        // SAFETY: by this function's contract. In here, so that nothing is moved on its way.
        let (request, done) = unsafe { take::<R, F>(at) };
        done(request, result());
    });
}

impl<R: Parent, S: Children<R>> ChildIos<R, S> {
    #[inline]
    pub(super) fn new(request: R, waits: S) -> Self {
        let at = put(request, waits);
        // SAFETY: the request is in its own context, and not completed before all its children have ended.
        let context = unsafe { at.as_ref() };
        context.pending.set(1);
        context.in_use.set(0);
        context.whole.set(0);
        // INVARIANT: counted.
        Self {
            at: Bound::new(at),
            _waits: PhantomData,
        }
    }

    #[inline]
    pub(super) fn context(&self) -> &RequestContext {
        // SAFETY: by the type invariant the request is not completed.
        unsafe { self.at.as_ref() }
    }

    /// What waits.
    #[must_use]
    pub fn state(&self) -> &S {
        // SAFETY: by the type invariant an `R` and an `S` are there, and nobody makes a `&mut` of them.
        let waiting = unsafe { &*self.context().room.get().cast::<Waiting<R, S>>() };
        &waiting.1
    }

    /// Nothing more comes: the request goes on as soon as all children have ended, here and now if they have.
    pub fn submit(self) {}

    /// Submits a child.
    #[inline]
    pub(super) fn add(&self, below: Below<'_>, child: Child, part: Part, tag: u8) {
        let context = self.context();
        let is_sent = below.is_here(context.home())
            && context.memory(part, false).is_some_and(|memory| {
                let whole = matches!(part, Part::Of { len, .. } if len == context.len);
                let fills = context.fills.then_some(whole);
                // SAFETY: the thread was compared.
                unsafe { self.add_plain(below, &child, memory, fills, tag) }
            });
        if !is_sent {
            self.add_long(below, child, part, tag);
        }
    }

    /// Sends a child on the straight path; false if that does not take it. `fills`: the request is a READ, and the child
    /// reads all of it, or not.
    ///
    /// # Safety
    ///
    /// The request's thread is current, and that of `below`.
    #[inline(always)]
    unsafe fn add_plain(
        &self,
        below: Below<'_>,
        child: &Child,
        memory: Memory,
        fills: Option<bool>,
        tag: u8,
    ) -> bool {
        let context = self.context();
        let index = context.in_use.get().trailing_ones() as usize;
        if index >= CHILDREN {
            return false;
        }
        let bit = 1 << index;
        // Set first: some errors complete inside the call (B-71).
        context.pending.set(context.pending.get() + 1);
        context.in_use.set(context.in_use.get() | bit);
        if let Some(whole) = fills {
            let others = context.whole.get() & !bit;
            context.whole.set(others | if whole { bit } else { 0 });
        }
        context.tags[index].set(MaybeUninit::new(tag));
        context.children[index].set(MaybeUninit::new(below.begin()));
        let done = child_done_callback::<R, S>;
        let arg = self.at.as_ptr().map_addr(|at| at | index).cast::<c_void>();
        // SAFETY: on the channel's thread, begun. The memory belongs to the request, which is not completed before
        // `done` was called. That the descriptor is writable is in the types of the callers.
        let is_sent = unsafe { below.send(child, memory, done, arg) };
        if !is_sent {
            context.pending.set(context.pending.get() - 1);
            context.in_use.set(context.in_use.get() & !bit);
            // SAFETY: put there above, and SPDK did not take it.
            unsafe { unsend(context, index) };
        }
        is_sent
    }

    /// Submits a child by the long way.
    #[cold]
    fn add_long(&self, below: Below<'_>, child: Child, part: Part, tag: u8) {
        let context = self.context();
        context.pending.set(context.pending.get() + 1);
        let at = *self.at;
        long(at, below, child, part, move |result| {
            // SAFETY: the child counts in `pending` and has ended, once.
            unsafe { child_ended::<R, S, false>(at, tag, boxed(result)) };
        });
    }
}

impl<R: Parent, S: Children<R>> Drop for ChildIos<R, S> {
    #[inline]
    fn drop(&mut self) {
        let (at, home) = (*self.at, self.context().home());
        if home.is_here() {
            // SAFETY: by the type invariant it counts, until now.
            return unsafe { release::<R, S, false>(at) };
        }
        // SAFETY: as above, on the request's thread.
        later(
            home,
            Box::new(move || unsafe { release::<R, S, false>(at) }),
        );
    }
}

/// # Safety
///
/// SPDK calls this exactly once for a child that `ChildIos::add` sent, on its thread; `arg` is the context of its
/// request, with the child's number in its low bits.
unsafe extern "C" fn child_done_callback<R: Parent, S: Children<R>>(
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    success: bool,
    arg: *mut c_void,
) {
    const MASK: usize = align_of::<RequestContext>() - 1;
    let inside = inside::enter();
    let index = arg.addr() & MASK;
    let context = arg.map_addr(|at| at & !MASK).cast::<RequestContext>();
    // SAFETY: by this function's contract.
    let at = unsafe { NonNull::new_unchecked(context) };
    // SAFETY: the request is not completed: it is in its context.
    let context = unsafe { at.as_ref() };
    if !success {
        // SAFETY: as this function.
        return unsafe { child_failed::<R, S>(bdev_io, success, at, index, &inside) };
    }
    // SAFETY: by this function's contract.
    if unsafe { ended(bdev_io, true, context, index, &inside) }.is_none() {
        return;
    }
    let bit = 1 << index;
    context.in_use.set(context.in_use.get() & !bit);
    if context.whole.get() & bit != 0 {
        context.filled.set(true);
    }
    // SAFETY: written when it was sent.
    let tag = unsafe { context.tags[index].get().assume_init() };
    // SAFETY: the child counts in `pending` and has ended.
    unsafe { child_ended::<R, S, false>(at, tag, None) };
}

/// # Safety
///
/// As [`child_done_callback`]: the child of the request at `at` with number `index`.
#[cold]
pub(super) unsafe fn child_failed<R: Parent, S: Children<R>>(
    bdev_io: *mut spdk_sys::spdk_bdev_io,
    success: bool,
    at: NonNull<RequestContext>,
    index: usize,
    inside: &Inside,
) {
    // SAFETY: the request is not completed: it is in its context.
    let context = unsafe { at.as_ref() };
    // SAFETY: by this function's contract.
    let Some(error) = (unsafe { ended(bdev_io, success, context, index, inside) }) else {
        return;
    };
    context.in_use.set(context.in_use.get() & !(1 << index));
    // SAFETY: written when it was sent.
    let tag = unsafe { context.tags[index].get().assume_init() };
    // SAFETY: the child counts in `pending` and has ended.
    unsafe { child_ended::<R, S, false>(at, tag, error) };
}

/// A child has ended.
///
/// # Safety
///
/// The child counts in `pending`, and this is called once for it, on the request's thread.
#[inline(always)]
pub(super) unsafe fn child_ended<R: Parent, S: Children<R>, const IN_CALLBACK: bool>(
    at: NonNull<RequestContext>,
    tag: u8,
    error: Failed,
) {
    // SAFETY: the child counts, so the request is in its context.
    let context = unsafe { at.as_ref() };
    if context.pending.get() & FAULTED != 0 {
        // SAFETY: by this function's contract.
        return unsafe { release::<R, S, false>(at) };
    }
    if error.is_some() {
        context.pending.set(context.pending.get() | FAILED);
    }
    let told = {
        // SAFETY: by the invariant of `ChildIos`; only shared references are ever made.
        let waiting = unsafe { &*context.room.get().cast::<Waiting<R, S>>() };
        contain("Children::ended", || waiting.1.ended(tag, result_of(error)))
    };
    if told.is_none() {
        context.pending.set(context.pending.get() | FAULTED);
    }
    // SAFETY: by this function's contract.
    unsafe { release::<R, S, IN_CALLBACK>(at) };
}

/// The only child has ended, and well; nobody has counted.
///
/// # Safety
///
/// An `R` and an `S` are in the room of the request at `at`; this is the request's thread.
#[inline(always)]
pub(super) unsafe fn only_child_ended<R: Parent, S: Children<R>>(at: NonNull<RequestContext>) {
    // SAFETY: by this function's contract the request is in its context.
    let context = unsafe { at.as_ref() };
    let told = {
        // SAFETY: by this function's contract; only shared references are ever made.
        let waiting = unsafe { &*context.room.get().cast::<Waiting<R, S>>() };
        contain("Children::ended", || waiting.1.ended(0, Ok(())))
    };
    if told.is_none() {
        context.pending.set(1 | FAULTED);
        // SAFETY: that counts.
        return unsafe { release::<R, S, false>(at) };
    }
    // SAFETY: by this function's contract; nobody counts.
    unsafe { all_ended::<R, S, true>(at) };
}

/// Takes one off the count; the last one brings the request back. `IN_CALLBACK` makes a function of its own of what the
/// callback of a child of a [`FanOut`](super::FanOut) does, which the compiler puts there: 15 instructions less.
///
/// # Safety
///
/// The caller counts in `pending`, and from now on does not; this is the request's thread.
#[inline(always)]
pub(super) unsafe fn release<R: Parent, S: Children<R>, const IN_CALLBACK: bool>(
    at: NonNull<RequestContext>,
) {
    // SAFETY: by this function's contract the request is in its context.
    let context = unsafe { at.as_ref() };
    let left = context.pending.get() - 1;
    context.pending.set(left);
    if left == 0 {
        // SAFETY: nobody counts any more.
        unsafe { all_ended::<R, S, IN_CALLBACK>(at) };
    } else if left & (FAULTED | FAILED) != 0 {
        // SAFETY: the request is in its context.
        unsafe { ended_badly::<R, S>(at) };
    }
}

/// All children have ended, and each of them well: what waits is asked.
///
/// # Safety
///
/// By the invariant of [`ChildIos`] an `R` and an `S` are there, and nobody counts any more; this is the request's thread.
#[inline(always)]
unsafe fn all_ended<R: Parent, S: Children<R>, const IN_CALLBACK: bool>(
    at: NonNull<RequestContext>,
) {
    contain("Children::all_ended", || {
        let has_succeeded = {
            // SAFETY: by this function's contract.
            let context = unsafe { at.as_ref() };
            // SAFETY: as above.
            let waiting = unsafe { &*context.room.get().cast::<Waiting<R, S>>() };
            // A panic leaves both there, in which case they are dropped: the request fails.
            let both = Both::<R, S>(at, PhantomData);
            let has_succeeded = waiting.1.has_succeeded(&waiting.0);
            std::mem::forget(both);
            has_succeeded
        };
        if has_succeeded {
            // SAFETY: by this function's contract. Where it lies, so that nothing is moved.
            let room = unsafe { at.as_ref() }.room.get().cast::<Waiting<R, S>>();
            // SAFETY: as above.
            let request = unsafe { &raw const (*room).0 };
            // SAFETY: as above.
            let state = unsafe { &raw mut (*room).1 };
            // SAFETY: as above.
            let handle = unsafe { request.read() }.into_handle();
            // SAFETY: as above; nobody uses it any more. A panic drops the handle, which fails the request.
            unsafe { state.drop_in_place() };
            handle.succeed_here();
        } else {
            // SAFETY: by this function's contract.
            unsafe { go_on::<R, S>(at) };
        }
    });
}

/// What is in the room, to be dropped.
struct Both<R: Parent, S>(NonNull<RequestContext>, PhantomData<(R, S)>);

impl<R: Parent, S> Drop for Both<R, S> {
    #[cold]
    fn drop(&mut self) {
        // SAFETY: by the contract of `all_ended`, which makes it.
        drop(unsafe { take::<R, S>(self.0) });
    }
}

/// Gives the request back. A panic drops it, which fails it.
///
/// # Safety
///
/// As [`all_ended`].
#[inline(never)] // so that on the short way nothing is moved
unsafe fn go_on<R: Parent, S: Children<R>>(at: NonNull<RequestContext>) {
    // SAFETY: by this function's contract.
    let (request, state) = unsafe { take::<R, S>(at) };
    state.all_ended(request);
}

/// A child has failed, or somebody's code has panicked: if that was the last, what waits has the request back, or it fails.
///
/// # Safety
///
/// The request is in its context, and what waits; this is its thread.
#[cold]
unsafe fn ended_badly<R: Parent, S: Children<R>>(at: NonNull<RequestContext>) {
    // SAFETY: by this function's contract.
    let pending = unsafe { at.as_ref() }.pending.get();
    if pending & !(FAULTED | FAILED) != 0 {
        return;
    }
    if pending & FAULTED == 0 {
        // SAFETY: nobody counts any more.
        contain("Children::all_ended", || unsafe { go_on::<R, S>(at) });
        return;
    }
    // SAFETY: nobody counts any more.
    let (request, state) = unsafe { take::<R, S>(at) };
    contain(
        "the destructor of what waited for the I/O below a request",
        || drop(state),
    );
    request.into_handle().finish(RequestStatus::Failed);
}

impl<R: Parent, S: Children<R>> fmt::Debug for ChildIos<R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildIos")
            .field(
                "pending",
                &((self.context().pending.get() & !(FAULTED | FAILED)) - 1),
            )
            .finish_non_exhaustive()
    }
}
