//! A request that a future in its own driver context serves: what `spdk-exec` builds `async` block devices from.
//!
//! ```text
//!   RequestContext                                             │ memory for the future
//!   home, state ... │ children │ room: request, who waits for  │
//! ```
//!
//! The future gets the request as a borrow, so it can't complete it: what it returns does. Its children
//! ([`Forward`]) go to SPDK with the address of the context, like those of `children`; who waits for a child is a
//! [`Node`] inside the pinned future, to which the context has a pointer for as long as the future lives.

use std::cell::Cell;
use std::ffi::c_void;
use std::fmt;
use std::future::Future;
use std::marker::PhantomPinned;
use std::mem::{ManuallyDrop, MaybeUninit, align_of, size_of};
use std::ops::Deref;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll, Waker};

use super::bdev_module::has_room;
use super::children::{Failed, Parent, Part, ended, result_of};
use super::context::{CHILDREN, MAX_EXTRA, RequestContext, Room};
use super::data::{RequestData, let_go};
use super::forward::child;
use super::request::{
    OtherRequest, RangeRequest, ReadRequest, Request, ResetRequest, WriteRequest,
};
use super::special::{
    AbortRequest, CompareAndWriteRequest, CompareRequest, CopyRequest, SeekRequest,
    ZcopyEndRequest, ZcopyStartRequest,
};
use super::status::RequestStatus;
use crate::bdev::{Below, Child, DescMode, Io, IoChannel, Writable};
use crate::error::{IoError, IoType};
use crate::inside;
use crate::panic::{self, contain};
use crate::thread::{ThreadBound, resume};
use crate::units::{Blocks, Lba};

/// The most bytes that a future can have in each request: each `spdk_bdev_io` of the process grows by as many.
#[doc(hidden)]
pub const TASK_CAP: usize = MAX_EXTRA;

/// What is in the room of a request's context meanwhile.
struct TaskRoom {
    request: Request,
    /// Null where nobody waits any more; not initialised where `in_use` has no bit.
    nodes: [Cell<MaybeUninit<*const Node>>; CHILDREN],
}

const _: () = assert!(size_of::<TaskRoom>() <= size_of::<Room>());
const _: () = assert!(align_of::<TaskRoom>() <= align_of::<Room>());

/// The duty to end a request that lies in its own driver context, with memory for a future.
///
/// # Invariants
///
/// The request is in the context's room, with the nodes of its children.
#[doc(hidden)]
#[must_use = "a request that is dropped fails"]
pub struct TaskSlot {
    at: NonNull<RequestContext>,
    _bound: ThreadBound,
}

impl TaskSlot {
    /// Moves a request into its driver context, which must have `bytes` bytes for a future: those that a device asked for
    /// with [`BlockDevice::CONTEXT`](super::BlockDevice::CONTEXT). `None` if it has not: the request fails.
    #[inline]
    pub fn new(request: Request, bytes: usize) -> Option<Self> {
        if !has_room(bytes) {
            return None;
        }
        let at = request.handle().raw();
        let context = request.handle().context();
        let room = context.room.get().cast::<TaskRoom>();
        // SAFETY: the room is large and aligned enough, and nothing lives there: the request was not in it.
        let to = unsafe { &raw mut (*room).request };
        // SAFETY: as above. The nodes may be uninitialised.
        unsafe { to.write(request) };
        // INVARIANT: put there above.
        Some(Self {
            at,
            _bound: ThreadBound::new(),
        })
    }

    /// The memory, aligned to 64 bytes. It is nobody's until the request is completed, and may hold anything.
    #[inline]
    pub fn memory(&self) -> NonNull<u8> {
        // SAFETY: the driver context goes on behind what we keep there.
        unsafe { self.at.add(1) }.cast()
    }

    /// The request, for the future.
    ///
    /// # Safety
    ///
    /// `'r` ends before the slot is completed or dropped.
    #[inline]
    pub unsafe fn request<'r>(&self) -> TaskRequest<'r> {
        // SAFETY: by the type invariant it is there, and by this function's contract as long as `'r`.
        let room = unsafe { room(self.at) };
        TaskRequest::of(&room.request)
    }

    /// Ends the request.
    #[inline]
    pub fn complete(self, status: impl Into<RequestStatus>) {
        let status = status.into();
        self.take().complete(status);
    }

    /// Fails the request, whose future was dropped before it was ready.
    #[cold]
    pub fn dropped(self) {
        crate::log::error("the task of a request was dropped: the request fails");
        self.take().complete(RequestStatus::Failed);
    }

    /// Fails the request, whose future panicked.
    #[cold]
    pub fn panicked(self, text: &str) {
        panic::count("AsyncBlockDevice::submit", text);
        self.take().complete(RequestStatus::Failed);
    }

    #[inline]
    fn take(self) -> Request {
        let this = ManuallyDrop::new(self);
        // SAFETY: by the type invariant it is there, and nobody takes it again.
        unsafe { take(this.at) }
    }
}

impl Drop for TaskSlot {
    fn drop(&mut self) {
        // SAFETY: by the type invariant it is there, and nobody takes it again. Dropping it fails it.
        drop(unsafe { take(self.at) });
    }
}

/// # Safety
///
/// The request is in the room, and not taken from it for `'r`.
#[inline]
unsafe fn room<'r>(at: NonNull<RequestContext>) -> &'r TaskRoom {
    // SAFETY: by this function's contract the request is not completed.
    let room = unsafe { at.as_ref() }.room.get().cast::<TaskRoom>();
    // SAFETY: by this function's contract. What changes in it is in Cells.
    unsafe { &*room }
}

/// # Safety
///
/// The request is in the room, nobody has a reference to it, and it is taken once.
#[inline]
unsafe fn take(at: NonNull<RequestContext>) -> Request {
    // SAFETY: by this function's contract.
    let from = unsafe { &raw const room(at).request };
    // SAFETY: as above.
    unsafe { from.read() }
}

/// What SPDK asks of an `async` block device, by type. What the future returns completes it.
///
/// It is [`Request`], borrowed: everything of each type is there but what completes it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
#[expect(missing_docs, reason = "as in `Request`")]
pub enum TaskRequest<'r> {
    Read(InTask<'r, ReadRequest>),
    Write(InTask<'r, WriteRequest>),
    Unmap(InTask<'r, RangeRequest>),
    WriteZeroes(InTask<'r, RangeRequest>),
    Flush(InTask<'r, RangeRequest>),
    Reset(InTask<'r, ResetRequest>),
    Compare(InTask<'r, CompareRequest>),
    CompareAndWrite(InTask<'r, CompareAndWriteRequest>),
    Copy(InTask<'r, CopyRequest>),
    Abort(InTask<'r, AbortRequest>),
    ZcopyStart(InTask<'r, ZcopyStartRequest>),
    ZcopyEnd(InTask<'r, ZcopyEndRequest>),
    SeekData(InTask<'r, SeekRequest>),
    SeekHole(InTask<'r, SeekRequest>),
    Other(InTask<'r, OtherRequest>),
}

/// A request that its own future serves. It dereferences to the request, whose range, data and views it gives.
///
/// # Invariants
///
/// The request is in the room of its own context, as [`TaskSlot`] put it there.
pub struct InTask<'r, R> {
    request: &'r R,
}

impl<R> Clone for InTask<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for InTask<'_, R> {}

impl<R> Deref for InTask<'_, R> {
    type Target = R;

    #[inline]
    fn deref(&self) -> &R {
        self.request
    }
}

impl<R: fmt::Debug> fmt::Debug for InTask<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.request.fmt(f)
    }
}

impl<'r> TaskRequest<'r> {
    #[inline]
    fn of(request: &'r Request) -> Self {
        // INVARIANT: it is in its room, by the contract of `TaskSlot::request`.
        match request {
            Request::Read(request) => Self::Read(InTask { request }),
            Request::Write(request) => Self::Write(InTask { request }),
            Request::Unmap(request) => Self::Unmap(InTask { request }),
            Request::WriteZeroes(request) => Self::WriteZeroes(InTask { request }),
            Request::Flush(request) => Self::Flush(InTask { request }),
            Request::Reset(request) => Self::Reset(InTask { request }),
            Request::Compare(request) => Self::Compare(InTask { request }),
            Request::CompareAndWrite(request) => Self::CompareAndWrite(InTask { request }),
            Request::Copy(request) => Self::Copy(InTask { request }),
            Request::Abort(request) => Self::Abort(InTask { request }),
            Request::ZcopyStart(request) => Self::ZcopyStart(InTask { request }),
            Request::ZcopyEnd(request) => Self::ZcopyEnd(InTask { request }),
            Request::SeekData(request) => Self::SeekData(InTask { request }),
            Request::SeekHole(request) => Self::SeekHole(InTask { request }),
            Request::Other(request) => Self::Other(InTask { request }),
        }
    }

    /// Has `channel` do the same, at the same blocks.
    ///
    /// Not for what has nothing below it that does the same: a seek, an abort and a compare-and-write are
    /// [`IoError::Unsupported`].
    #[inline]
    pub fn forward<'a, M: Writable>(self, channel: &'a IoChannel<M>) -> Forward<'a>
    where
        'r: 'a,
    {
        match self {
            Self::Read(request) => request.forward(channel, request.lba()),
            Self::Write(request) => request.forward(channel, request.lba()),
            other => other.forward_rarely(channel),
        }
    }

    #[cold]
    fn forward_rarely<'a, M: Writable>(self, channel: &'a IoChannel<M>) -> Forward<'a>
    where
        'r: 'a,
    {
        match self {
            Self::Read(r) => r.forward(channel, r.lba()),
            Self::Write(r) => r.forward(channel, r.lba()),
            Self::Unmap(r) | Self::WriteZeroes(r) | Self::Flush(r) => r.forward(channel, r.lba()),
            Self::Reset(r) => r.forward(channel),
            Self::Compare(r) => r.forward(channel, r.lba()),
            Self::Copy(r) => r.forward(channel, r.lba(), r.from()),
            Self::ZcopyStart(r) if r.populate() => r.forward(channel, r.lba()),
            Self::ZcopyEnd(r) if r.commit() => r.forward(channel, r.lba()),
            // There is nothing to be done.
            Self::ZcopyStart(r) => Forward::over(r.request, channel, Ok(())),
            Self::ZcopyEnd(r) => Forward::over(r.request, channel, Ok(())),
            Self::CompareAndWrite(r) => {
                Forward::unsupported(r.request, channel, IoType::CompareAndWrite)
            }
            Self::Abort(r) => Forward::unsupported(r.request, channel, IoType::Abort),
            Self::SeekData(r) => Forward::unsupported(r.request, channel, IoType::SeekData),
            Self::SeekHole(r) => Forward::unsupported(r.request, channel, IoType::SeekHole),
            Self::Other(r) => Forward::unsupported(r.request, channel, IoType::CompareAndWrite),
        }
    }
}

macro_rules! forwards_data {
    ($(#[$doc:meta])* $request:ty, $mode:ident, $io:ident) => {
        impl<'r> InTask<'r, $request> {
            $(#[$doc])*
            #[inline]
            pub fn forward<'a, M: $mode>(&self, channel: &'a IoChannel<M>, lba: Lba) -> Forward<'a>
            where
                'r: 'a,
            {
                let part = self.request.handle().context().whole();
                Forward::new(self.request, channel, child(IoType::$io, lba, Blocks(0)), part)
            }

            /// As [`forward`](Self::forward), for a part of it: `blocks` blocks from its block `from` on. `None` if it
            /// has not as many.
            #[inline]
            pub fn forward_part<'a, M: $mode>(
                &self,
                channel: &'a IoChannel<M>,
                lba: Lba,
                from: Blocks,
                blocks: Blocks,
            ) -> Option<Forward<'a>>
            where
                'r: 'a,
            {
                let part = self.request.handle().context().part(from, blocks)?;
                Some(Forward::new(self.request, channel, child(IoType::$io, lba, Blocks(0)), part))
            }
        }
    };
}

forwards_data!(
    /// Has `channel` read all of it, from `lba` on.
    ///
    /// Nothing is allocated, and no slot of the channel is used, if all is well and the memory is in one piece. Several
    /// may be under way at once. Dropped in flight, it lets the I/O go on, for which the request waits.
    ReadRequest, DescMode, Read
);
forwards_data!(
    /// Has `channel` write all of it, from `lba` on; otherwise as [`forward`](InTask::<ReadRequest>::forward) of a read.
    WriteRequest, Writable, Write
);
forwards_data!(
    /// Has `channel` compare all of it, from `lba` on.
    CompareRequest, DescMode, Compare
);
forwards_data!(
    /// Has `channel` read into the memory, from `lba` on.
    ZcopyStartRequest, DescMode, Read
);
forwards_data!(
    /// Has `channel` write the memory, from `lba` on.
    ZcopyEndRequest, Writable, Write
);

impl<'r> InTask<'r, RangeRequest> {
    /// Has `channel` do the same from `lba` on.
    #[inline]
    pub fn forward<'a, M: Writable>(&self, channel: &'a IoChannel<M>, lba: Lba) -> Forward<'a>
    where
        'r: 'a,
    {
        let child = child(self.request.io, lba, self.request.blocks);
        Forward::new(self.request, channel, child, Part::None)
    }
}

impl<'r> InTask<'r, ResetRequest> {
    /// Resets the bdev of `channel`.
    pub fn forward<'a, M: Writable>(&self, channel: &'a IoChannel<M>) -> Forward<'a>
    where
        'r: 'a,
    {
        let child = child(IoType::Reset, Lba(0), Blocks(0));
        Forward::new(self.request, channel, child, Part::None)
    }
}

impl<'r> InTask<'r, CopyRequest> {
    /// Has `channel` copy as many blocks from `from` to `lba`.
    pub fn forward<'a, M: Writable>(
        &self,
        channel: &'a IoChannel<M>,
        lba: Lba,
        from: Lba,
    ) -> Forward<'a>
    where
        'r: 'a,
    {
        let child = Child {
            other: from.0,
            ..child(IoType::Copy, lba, self.request.blocks)
        };
        Forward::new(self.request, channel, child, Part::None)
    }
}

impl InTask<'_, SeekRequest> {
    /// What was found, which is how it ends well: the first such block at or after [`lba`](SeekRequest::lba), or `None`
    /// if there is none.
    #[must_use = "return it"]
    pub fn found(&self, found: Option<Lba>) -> RequestStatus {
        self.request.set_found(found);
        RequestStatus::Success
    }
}

/// How far a [`Forward`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    /// SPDK has it, and its context the address of the node.
    Sent,
    /// An I/O of its channel has it: `long`.
    Long,
    /// There is a result, without an error if `error` has none.
    Done,
    Over,
}

/// Who waits for a child.
struct Node {
    phase: Cell<Phase>,
    /// In a box, so that a future of one that ends well is small.
    error: Cell<Failed>,
    waker: Cell<Option<Waker>>,
}

/// What takes a slot of its channel.
enum Long {
    Data(Io<RequestData>),
    Plain(Io),
}

/// An I/O below a request that a future serves; resolves to its result.
///
/// Nothing happens before the first poll. -ENOMEM is waited out.
///
/// # Invariants
///
/// While the phase is `Sent`, the node is in the context, under `index`; it is pinned.
#[must_use = "an I/O does nothing until it is awaited"]
pub struct Forward<'a> {
    at: NonNull<RequestContext>,
    below: Below<'a>,
    child: Child,
    part: Part,
    index: Cell<u8>,
    node: Node,
    long: Cell<Option<Long>>,
    _pinned: PhantomPinned,
    _bound: ThreadBound,
}

impl<'a> Forward<'a> {
    #[inline]
    fn new<R: Parent, M: DescMode>(
        request: &R,
        channel: &'a IoChannel<M>,
        child: Child,
        part: Part,
    ) -> Self {
        Self {
            at: request.handle().raw(),
            below: Below::of(channel),
            child,
            part,
            index: Cell::new(0),
            node: Node {
                phase: Cell::new(Phase::New),
                error: Cell::new(None),
                waker: Cell::new(None),
            },
            long: Cell::new(None),
            _pinned: PhantomPinned,
            _bound: ThreadBound::new(),
        }
    }

    fn over<R: Parent, M: DescMode>(
        request: &R,
        channel: &'a IoChannel<M>,
        result: Result<(), IoError>,
    ) -> Self {
        let this = Self::new(
            request,
            channel,
            child(IoType::Flush, Lba(0), Blocks(0)),
            Part::None,
        );
        this.node.end(result.err().map(Box::new));
        this
    }

    fn unsupported<R: Parent, M: DescMode>(
        request: &R,
        channel: &'a IoChannel<M>,
        io: IoType,
    ) -> Self {
        Self::over(request, channel, Err(IoError::Unsupported { io }))
    }

    #[inline]
    fn context(&self) -> &RequestContext {
        // SAFETY: the request is borrowed for `'a`, so it is not completed.
        unsafe { self.at.as_ref() }
    }

    /// Submits it, on the straight path if that takes it.
    #[inline]
    fn start(&self) {
        let context = self.context();
        let index = context.in_use.get().trailing_ones() as usize;
        let (Ok(()), Some(memory), true) = (
            self.below.check(context.home()),
            context.memory(self.part, false),
            index < CHILDREN,
        ) else {
            return self.start_long();
        };
        let bit = 1 << index;
        // Set first: some errors complete inside the call (B-71).
        context.in_use.set(context.in_use.get() | bit);
        let whole =
            matches!(self.part, Part::Of { len, .. } if context.fills && len == context.len);
        let others = context.whole.get() & !bit;
        context.whole.set(others | if whole { bit } else { 0 });
        context.shares.add();
        context.children[index].set(MaybeUninit::new(self.below.begin()));
        // SAFETY: the request is in its room, by the invariant of `InTask`.
        let room = unsafe { room(self.at) };
        room.nodes[index].set(MaybeUninit::new(&raw const self.node));
        self.index.set(index as u8);
        // INVARIANT: put there above; the caller is pinned.
        self.node.phase.set(Phase::Sent);
        let arg = self.at.as_ptr().map_addr(|at| at | index).cast::<c_void>();
        // SAFETY: on the channel's thread, begun. The memory belongs to the request, which is not completed before the
        // callback gave back the share. That the descriptor is writable is in the types of the callers.
        if unsafe {
            self.below
                .send(&self.child, memory, task_child_done_callback, arg)
        } {
            return;
        }
        let sent = context.children[index].replace(MaybeUninit::uninit());
        context.in_use.set(context.in_use.get() & !bit);
        context.shares.remove();
        self.node.phase.set(Phase::New);
        // SAFETY: put there above, and SPDK did not take it.
        unsafe { sent.assume_init() }.ended();
        self.start_long();
    }

    #[cold]
    fn start_long(&self) {
        if let Err(error) = self.below.check(self.context().home()) {
            return self.node.end(Some(Box::new(error.into())));
        }
        let long = match self.part {
            Part::None => Long::Plain(self.below.io(&self.child, ())),
            Part::Of { from, len } => {
                // SAFETY: the request is not completed; the part lies within.
                let data = unsafe { RequestData::of(self.at, from, len) };
                Long::Data(self.below.io(&self.child, data))
            }
        };
        self.node.phase.set(Phase::Long);
        self.long.set(Some(long));
    }

    #[cold]
    fn poll_long(&self, cx: &mut Context<'_>) -> Poll<Result<(), IoError>> {
        let Some(mut long) = self.long.take() else {
            return Poll::Pending;
        };
        let polled = match &mut long {
            Long::Data(io) => Pin::new(io).poll(cx).map(|(result, _data)| result),
            Long::Plain(io) => Pin::new(io).poll(cx),
        };
        match polled {
            Poll::Pending => self.long.set(Some(long)),
            Poll::Ready(_) => self.node.phase.set(Phase::Over),
        }
        polled
    }
}

impl Future for Forward<'_> {
    type Output = Result<(), IoError>;

    /// # Panics
    ///
    /// When polled again after it was ready.
    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Only shared from here on: the context may have the address of the node.
        let this = self.into_ref().get_ref();
        let node = &this.node;
        if node.phase.get() == Phase::New {
            this.start();
        }
        match node.phase.get() {
            Phase::Sent => match node.waker.take() {
                Some(same) if same.will_wake(cx.waker()) => node.waker.set(Some(same)),
                old => {
                    node.waker.set(Some(cx.waker().clone()));
                    // Somebody's code, as the clone was; it may be done by now.
                    drop(old);
                    if node.phase.get() == Phase::Done {
                        return Poll::Ready(node.take());
                    }
                }
            },
            Phase::Long => return this.poll_long(cx),
            Phase::Done => return Poll::Ready(node.take()),
            Phase::New | Phase::Over => panic!("an I/O was polled after it had finished"),
        }
        Poll::Pending
    }
}

impl Drop for Forward<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.node.phase.get() == Phase::Sent {
            // SAFETY: the request is in its room, by the invariant of `InTask`.
            let room = unsafe { room(self.at) };
            room.nodes[usize::from(self.index.get())].set(MaybeUninit::new(ptr::null()));
        }
    }
}

impl Node {
    #[inline]
    fn end(&self, error: Failed) {
        if error.is_some() {
            self.error.set(error);
        }
        self.phase.set(Phase::Done);
    }

    #[inline]
    fn take(&self) -> Result<(), IoError> {
        self.phase.set(Phase::Over);
        result_of(self.error.take())
    }
}

/// # Safety
///
/// SPDK calls this exactly once for a child that [`Forward::start`] sent, on its thread; `arg` is the context of its
/// request, with the child's number in its low bits.
unsafe extern "C" fn task_child_done_callback(
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
    // SAFETY: the request is not completed: the child has a share of it.
    let context = unsafe { at.as_ref() };
    // SAFETY: by this function's contract.
    let Some(error) = (unsafe { ended(bdev_io, success, context, index, &inside) }) else {
        return;
    };
    let bit = 1 << index;
    context.in_use.set(context.in_use.get() & !bit);
    if success && context.whole.get() & bit != 0 {
        context.filled.set(true);
    }
    // SAFETY: not the request, which may be taken already: its room stays as long as it is not completed.
    let nodes = unsafe { &raw const (*context.room.get().cast::<TaskRoom>()).nodes };
    // SAFETY: as above; nobody makes a `&mut` of them.
    let node = unsafe { &*nodes }[index].get();
    // SAFETY: written when the child was sent.
    let node = unsafe { node.assume_init() };
    // SAFETY: the future that the node is part of is pinned, and had it taken out if it were dropped.
    let waker = unsafe { node.as_ref() }.and_then(|node| {
        node.end(error);
        node.waker.take()
    });
    // SAFETY: the child has a share, until now.
    unsafe { let_go(at) };
    if let Some(waker) = waker {
        contain("a waker", || resume(waker));
    }
}

impl fmt::Debug for TaskSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSlot").finish_non_exhaustive()
    }
}

impl fmt::Debug for Forward<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward")
            .field("io", &self.child.io)
            .field("lba", &self.child.lba)
            .field("phase", &self.node.phase.get())
            .finish_non_exhaustive()
    }
}
