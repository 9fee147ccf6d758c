//! Children of a request that are submitted all at once: as [`ChildIos`](super::ChildIos), at less cost.
//!
//! What is known of the request is looked at once for all of them, and each takes the next entry of the request's
//! context. That pays for what each request of a mirror does: a child costs 45 instructions less than by `ChildIos`.

use std::cell::Cell;
use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, align_of};
use std::ptr::{self, NonNull};

use super::children::{
    Children, Parent, Part, Waiting, child_ended, child_failed, later, long, put, release, unsend,
};
use super::context::{CHILDREN, FAULTED, RequestContext};
use super::forward::child;
use super::request::{ReadRequest, WriteRequest};
use crate::bdev::{Below, Child, DescMode, IoChannel, PlainKey, Sent, Writable};
use crate::calls::{self, Call};
use crate::error::IoType;
use crate::inside;
use crate::thread::Bound;
use crate::units::{Blocks, Lba};

/// What waits for the children of a request, and submits them all at once: for [`fan_out`](WriteRequest::fan_out).
pub trait Submit<R: Parent>: Children<R> {
    /// Submits them to `ios`, which knows what waits. A panic in it fails the request once all children have ended.
    ///
    /// Marked `#[inline(always)]` it becomes a part of what sends the request, which saves 30 instructions.
    fn submit(ios: &FanOut<'_, R, Self>);
}

/// A request that gets its children, for as long as [`Submit::submit`] runs. The request goes on as soon as all have ended.
///
/// # Invariants
///
/// - The request waits, with an `R` and an `S` in its room, and a `Counted` for it.
/// - `known` is true of it. This does not leave the function that submits, since it is only lent to it.
pub struct FanOut<'a, R: Parent, S: Children<R>> {
    at: Bound<NonNull<RequestContext>>,
    known: Known,
    /// How many children have an entry.
    taken: Cell<usize>,
    _lent: PhantomData<&'a ()>,
    _waits: PhantomData<fn() -> (R, S)>,
}

/// What was seen of a request.
///
/// It is true of one, as long as the function runs that saw it, if: wherever the `inside` depth is `depth`, the request's
/// thread is current, which `key` has, with the size of its blocks; and its memory is in one piece, which begins at `base`
/// and is whole blocks, at least one. Code of another thread, or of none, that runs below that function, does so inside of
/// a call of SPDK's to us, which is one deeper.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) base: *mut u8,
    pub(super) key: PlainKey,
    /// `NEVER` if one of these is not so.
    pub(super) depth: u32,
}

/// No depth.
pub(super) const NEVER: u32 = u32::MAX;

impl Known {
    /// True of every request.
    const NOTHING: Self = Self {
        base: ptr::null_mut(),
        key: PlainKey::NONE,
        depth: NEVER,
    };

    /// What is true of the request with this context.
    #[inline(always)]
    fn of(context: &RequestContext) -> Self {
        let home = context.home();
        match context.only() {
            Some(base) if home.is_here() => Self {
                base,
                key: PlainKey::of(home, context.block_size),
                depth: inside::depth(),
            },
            _ => Self::NOTHING,
        }
    }
}

/// Counts in the request's `pending`. Dropped only when the function that submits its children panics; apart from the
/// [`FanOut`], so that the compiler keeps that in registers.
///
/// # Invariants
///
/// It counts, so an `R` and an `S` are in the context's room.
pub(super) struct Counted<R: Parent, S: Children<R>> {
    at: NonNull<RequestContext>,
    _waits: PhantomData<fn() -> (R, S)>,
}

/// What SPDK calls at the end of a child.
type Done = unsafe extern "C" fn(*mut spdk_sys::spdk_bdev_io, bool, *mut c_void);

/// Has `request` wait for the children that `waits` submits.
#[inline(always)]
pub(super) fn fan_out<R: Parent, S: Submit<R>>(request: R, waits: S) {
    let known = Known::of(request.handle().context());
    // SAFETY: it was looked at here.
    unsafe { fan_out_known(request, known, waits) };
}

/// The same, where more is known of the request.
///
/// # Safety
///
/// `known` is true of it, as long as this runs.
#[inline(always)]
pub(super) unsafe fn fan_out_known<R: Parent, S: Submit<R>>(request: R, known: Known, waits: S) {
    let at = put(request, waits);
    // SAFETY: the request is in its own context, and not completed before all its children have ended.
    unsafe { at.as_ref() }.pending.set(1);
    if inside::depth() != known.depth {
        // SAFETY: it counts.
        return unsafe { fan_out_slowly::<R, S>(at) };
    }
    // SAFETY: it counts; and by this function's contract.
    unsafe { submit::<R, S>(at, known) };
    // SAFETY: it counted, until now; and this depth is the known one, so its thread is current.
    unsafe { release::<R, S, false>(at) };
}

/// Has the children submitted.
///
/// # Safety
///
/// One counts in the `pending` of the request at `at`, which waits; and `known` is true of it, as long as this runs.
#[inline(always)]
unsafe fn submit<R: Parent, S: Submit<R>>(at: NonNull<RequestContext>, known: Known) {
    // SAFETY: by this function's contract.
    let counted = unsafe { Counted::<R, S>::new(at) };
    // INVARIANT: by this function's contract.
    let fan_out = FanOut {
        at: Bound::new(at),
        known,
        taken: Cell::new(0),
        _lent: PhantomData,
        _waits: PhantomData,
    };
    S::submit(&fan_out);
    std::mem::forget(counted);
}

/// As [`fan_out`], where not all is plain.
///
/// # Safety
///
/// One counts in the `pending` of the request at `at`, which waits.
#[cold]
#[inline(never)]
unsafe fn fan_out_slowly<R: Parent, S: Submit<R>>(at: NonNull<RequestContext>) {
    // SAFETY: by this function's contract.
    unsafe { submit::<R, S>(at, Known::NOTHING) };
    // SAFETY: it counted, until now.
    unsafe { release_anywhere::<R, S>(at) };
}

/// # Safety
///
/// As for [`release`], on whichever thread.
#[cold]
pub(super) unsafe fn release_anywhere<R: Parent, S: Children<R>>(at: NonNull<RequestContext>) {
    // SAFETY: by this function's contract the request is in its context.
    let home = unsafe { at.as_ref() }.home();
    // SAFETY: by this function's contract; on the request's thread.
    let release = move || unsafe { release::<R, S, false>(at) };
    match home.is_here() {
        true => release(),
        false => later(home, Box::new(release)),
    }
}

impl RequestContext {
    /// Where the memory begins, if there is some, in one piece, and there is no metadata.
    #[inline(always)]
    fn only(&self) -> Option<*mut u8> {
        if self.iovcnt != 1 || self.len == 0 || self.has_metadata() {
            return None;
        }
        // SAFETY: the request is not completed, and its array has one entry.
        let iov = unsafe { &*self.iovs };
        Some(iov.iov_base.cast())
    }
}

impl<R: Parent, S: Children<R>> FanOut<'_, R, S> {
    #[inline(always)]
    fn context(&self) -> &RequestContext {
        // SAFETY: by the type invariant the request is not completed.
        unsafe { self.at.as_ref() }
    }

    #[inline(always)]
    fn waiting(&self) -> &Waiting<R, S> {
        // SAFETY: by the type invariant an `R` and an `S` are there, and nobody makes a `&mut` of them.
        unsafe { &*self.context().room.get().cast::<Waiting<R, S>>() }
    }

    /// The request.
    #[must_use]
    #[inline(always)]
    pub fn request(&self) -> &R {
        &self.waiting().0
    }

    /// What waits.
    #[must_use]
    #[inline(always)]
    pub fn state(&self) -> &S {
        &self.waiting().1
    }

    /// The entry of the next child, if there is one.
    #[inline(always)]
    fn entry(&self) -> Option<usize> {
        (CHILDREN - 1).checked_sub(self.taken.get())
    }

    /// Takes the entry `index` for a child, which is `sent`.
    #[inline(always)]
    fn begin(&self, index: usize, tag: u8, sent: Sent) -> *mut c_void {
        let context = self.context();
        // Not given back before the fan-out ends.
        self.taken.set(self.taken.get() + 1);
        context.pending.set(context.pending.get() + 1);
        context.tags[index].set(MaybeUninit::new(tag));
        context.children[index].set(MaybeUninit::new(sent));
        // In the low bits, which are free.
        self.at.as_ptr().wrapping_byte_add(index).cast()
    }

    /// Submits a child that reads or writes all of the request, which is `blocks` blocks.
    #[inline(always)]
    fn add_whole<const IS_READ: bool>(&self, below: Below<'_>, lba: Lba, blocks: Blocks, tag: u8) {
        let (at, Known { base, key, depth }) = (*self.at, self.known);
        if let (true, Some(index), true) = (
            inside::depth() == depth,
            self.entry(),
            below.takes_whole(base, key),
        ) {
            // Set first: some errors complete inside the call (B-71).
            let arg = self.begin(index, tag, below.begin());
            let done: Done = fan_out_done_callback::<R, S, IS_READ>;
            // SAFETY: by the type invariant the channel's thread is current, and the memory is as long as the request,
            // which is not completed before `done` was called. That the descriptor is writable is in the types of the
            // callers.
            if unsafe { below.send_whole::<IS_READ>(base, lba, blocks, done, arg) } {
                return;
            }
            // SAFETY: SPDK did not take it.
            unsafe { take_back(at, index) };
        }
        // SAFETY: by the type invariant something else counts.
        unsafe { add_long::<R, S>(at, below, whole::<IS_READ>(lba), None, tag) };
    }

    /// Submits a child of any kind.
    #[inline(never)]
    fn add(&self, below: Below<'_>, child: Child, part: Part, tag: u8) {
        let at = *self.at;
        if let (true, Some(index), Some(memory)) = (
            below.is_here(self.context().home()),
            self.entry(),
            self.context().memory(part, false),
        ) {
            // Set first: some errors complete inside the call (B-71).
            let arg = self.begin(index, tag, below.begin());
            let done: Done = fan_out_done_callback::<R, S, false>;
            // SAFETY: on the channel's thread, begun. The memory belongs to the request, which is not completed before
            // `done` was called. That the descriptor is writable is in the types of the callers.
            if unsafe { below.send(&child, memory, done, arg) } {
                return;
            }
            // SAFETY: SPDK did not take it.
            unsafe { take_back(at, index) };
        }
        // SAFETY: by the type invariant something else counts.
        unsafe { add_long::<R, S>(at, below, child, Some(part), tag) };
    }

    fn add_part(
        &self,
        below: Below<'_>,
        child: Child,
        (from, blocks): (Blocks, Blocks),
        tag: u8,
    ) -> bool {
        let part = self.context().part(from, blocks);
        if let Some(part) = part {
            self.add(below, child, part, tag);
        }
        part.is_some()
    }

    /// Has `channel` unmap `blocks` blocks from `lba` on.
    pub fn unmap<M: Writable>(&self, channel: &IoChannel<M>, lba: Lba, blocks: Blocks, tag: u8) {
        let child = child(IoType::Unmap, lba, blocks);
        self.add(Below::of(channel), child, Part::None, tag);
    }

    /// Has `channel` make `blocks` blocks from `lba` on read as zeroes.
    pub fn write_zeroes<M: Writable>(
        &self,
        channel: &IoChannel<M>,
        lba: Lba,
        blocks: Blocks,
        tag: u8,
    ) {
        let child = child(IoType::WriteZeroes, lba, blocks);
        self.add(Below::of(channel), child, Part::None, tag);
    }

    /// Has `channel` flush `blocks` blocks from `lba` on.
    pub fn flush<M: Writable>(&self, channel: &IoChannel<M>, lba: Lba, blocks: Blocks, tag: u8) {
        let child = child(IoType::Flush, lba, blocks);
        self.add(Below::of(channel), child, Part::None, tag);
    }

    /// Resets the bdev of `channel`.
    pub fn reset<M: Writable>(&self, channel: &IoChannel<M>, tag: u8) {
        let child = child(IoType::Reset, Lba(0), Blocks(0));
        self.add(Below::of(channel), child, Part::None, tag);
    }
}

/// A child for all of the request.
pub(super) fn whole<const IS_READ: bool>(lba: Lba) -> Child {
    let io = match IS_READ {
        true => IoType::Read,
        false => IoType::Write,
    };
    child(io, lba, Blocks(0))
}

/// Takes a child back.
///
/// # Safety
///
/// It was begun with the entry `index` of the request at `at`, and SPDK did not take it.
#[cold]
#[inline(never)]
unsafe fn take_back(at: NonNull<RequestContext>, index: usize) {
    // SAFETY: by this function's contract the request is in its context.
    let context = unsafe { at.as_ref() };
    // SAFETY: by this function's contract.
    unsafe { unsend(context, index) };
    context.pending.set(context.pending.get() - 1);
}

/// The long way of a child; without a part, for all of the request.
///
/// # Safety
///
/// Something else counts in the `pending` of the request at `at`, which waits with an `S`.
#[cold]
#[inline(never)]
pub(super) unsafe fn add_long<R: Parent, S: Children<R>>(
    at: NonNull<RequestContext>,
    below: Below<'_>,
    child: Child,
    part: Option<Part>,
    tag: u8,
) {
    // SAFETY: by this function's contract the request is in its context.
    let context = unsafe { at.as_ref() };
    context.pending.set(context.pending.get() + 1);
    let part = part.unwrap_or_else(|| context.whole());
    long(at, below, child, part, move |result| {
        // SAFETY: the child counts in `pending` and has ended, once.
        unsafe { child_ended::<R, S, false>(at, tag, result.err().map(Box::new)) };
    });
}

impl<S: Children<ReadRequest>> FanOut<'_, ReadRequest, S> {
    /// Has `channel` read all of the request, from `lba` on.
    #[inline(always)] // on the path of each I/O
    pub fn read<M: DescMode>(&self, channel: &IoChannel<M>, lba: Lba, tag: u8) {
        let blocks = self.request().blocks;
        self.add_whole::<true>(Below::of(channel), lba, blocks, tag);
    }

    /// Has `channel` read a part of the request, `blocks` blocks from its block `from` on, from `lba` on. False if the
    /// request has not as many: nothing was submitted.
    #[must_use = "false: there is no such part"]
    pub fn read_part<M: DescMode>(
        &self,
        channel: &IoChannel<M>,
        lba: Lba,
        from: Blocks,
        blocks: Blocks,
        tag: u8,
    ) -> bool {
        let child = child(IoType::Read, lba, Blocks(0));
        self.add_part(Below::of(channel), child, (from, blocks), tag)
    }
}

impl<S: Children<WriteRequest>> FanOut<'_, WriteRequest, S> {
    /// Has `channel` write all of the request, from `lba` on.
    #[inline(always)] // on the path of each I/O
    pub fn write<M: Writable>(&self, channel: &IoChannel<M>, lba: Lba, tag: u8) {
        let blocks = self.request().blocks;
        self.add_whole::<false>(Below::of(channel), lba, blocks, tag);
    }

    /// Has `channel` write a part of the request, `blocks` blocks from its block `from` on, from `lba` on. False if the
    /// request has not as many: nothing was submitted.
    #[must_use = "false: there is no such part"]
    pub fn write_part<M: Writable>(
        &self,
        channel: &IoChannel<M>,
        lba: Lba,
        from: Blocks,
        blocks: Blocks,
        tag: u8,
    ) -> bool {
        let child = child(IoType::Write, lba, Blocks(0));
        self.add_part(Below::of(channel), child, (from, blocks), tag)
    }
}

impl<R: Parent, S: Children<R>> Counted<R, S> {
    /// # Safety
    ///
    /// One counts in the `pending` of the request at `at`, which has an `R` and an `S` in its room.
    #[inline(always)]
    pub(super) unsafe fn new(at: NonNull<RequestContext>) -> Self {
        // INVARIANT: by this function's contract.
        Self {
            at,
            _waits: PhantomData,
        }
    }
}

/// Some children may be missing: the request fails when those that there are have ended.
impl<R: Parent, S: Children<R>> Drop for Counted<R, S> {
    #[cold]
    fn drop(&mut self) {
        let at = self.at;
        // SAFETY: by the type invariant the request is in its context.
        let home = unsafe { at.as_ref() }.home();
        let fail = move || {
            // SAFETY: as above, which holds until now.
            let pending = unsafe { &at.as_ref().pending };
            pending.set(pending.get() | FAULTED);
            // SAFETY: by the type invariant it counts, until now; on the request's thread.
            unsafe { release::<R, S, false>(at) };
        };
        match home.is_here() {
            true => fail(),
            false => later(home, Box::new(fail)),
        }
    }
}

/// # Safety
///
/// SPDK calls this exactly once for a child that a [`FanOut`] sent, on its thread; `arg` is the context of its request,
/// with the child's entry in its low bits. `FILLS`: it has read all of the request.
unsafe extern "C" fn fan_out_done_callback<R: Parent, S: Children<R>, const FILLS: bool>(
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
    if !success || !context.home().is_os_thread(inside.os_thread()) {
        // SAFETY: as this function.
        return unsafe { child_failed::<R, S>(bdev_io, success, at, index, &inside) };
    }
    // SAFETY: by this function's contract it is one of the entries.
    let entry = unsafe { context.children.get_unchecked(index) };
    let sent = entry.replace(MaybeUninit::uninit());
    calls::count(Call::Free);
    // SAFETY: completed, once, on the submitting thread (B-63). This may run callbacks of other waiters (B-62): nothing
    // is borrowed here but Cells.
    unsafe { spdk_sys::spdk_bdev_free_io(bdev_io) };
    // SAFETY: put there when it was sent.
    unsafe { sent.assume_init() }.ended();
    if FILLS {
        context.filled.set(true);
    }
    // SAFETY: by this function's contract it is one of the entries.
    let tag = unsafe { context.tags.get_unchecked(index) };
    // SAFETY: written when it was sent.
    let tag = unsafe { tag.get().assume_init() };
    // SAFETY: the child counts in `pending` and has ended.
    unsafe { child_ended::<R, S, true>(at, tag, None) };
}

impl<R: Parent, S: Children<R>> fmt::Debug for FanOut<'_, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanOut")
            .field("children", &self.taken.get())
            .finish_non_exhaustive()
    }
}
