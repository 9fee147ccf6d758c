//! Requests: what SPDK asks of a block device of ours.
//!
//! ```text
//!                 1                 2                           3
//!  submit_request ──► Request ──► complete(status), or drop ──► spdk_bdev_io_complete
//!                        │                                         ▲
//!                        └── data() ──► RequestData, clones ───────┘ 4: when the last one is gone
//!  1: vtable   2: Handle::finish   3: Handle::finish, if nobody has data   4: RequestData::drop
//! ```
//!
//! A request is completed exactly once, on its thread, whatever the device does (design rule 4): completing consumes
//! it, dropping it fails it, and a completion on another SPDK thread travels home. Its data can be handed to I/O
//! below, which then keeps it alive: SPDK is told of the completion only when the last such I/O has let go.

use std::cell::Cell;
use std::ffi::c_void;
use std::fmt;
use std::mem::{align_of, size_of};
use std::ptr::{self, NonNull};

use crate::error::IoType;
use crate::log;
use crate::thread::{Home, ThreadBound};
use crate::units::{Blocks, Lba};

/// What SPDK asks, by type, each with exactly what it has.
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
#[non_exhaustive]
pub enum Request {
    /// Fill memory from blocks.
    Read(DataRequest),
    /// Write memory to blocks.
    Write(DataRequest),
    /// The contents of a range are not needed.
    Unmap(RangeRequest),
    /// Make a range read as zeroes.
    WriteZeroes(RangeRequest),
    /// Make completed writes of a range durable.
    Flush(RangeRequest),
    /// Abort what is outstanding.
    Reset(ResetRequest),
    /// Anything else. SPDK sends only what the device said that it supports, so none comes today.
    Other(OtherRequest),
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestStatus {
    /// It is done.
    Success,
    /// It failed.
    Failed,
    /// It was aborted, by a reset for example.
    Aborted,
}

impl From<Result<(), crate::error::IoError>> for RequestStatus {
    fn from(result: Result<(), crate::error::IoError>) -> Self {
        match result {
            Ok(()) => Self::Success,
            Err(_) => Self::Failed,
        }
    }
}

impl RequestStatus {
    fn raw(self) -> spdk_sys::spdk_bdev_io_status {
        match self {
            Self::Success => spdk_sys::spdk_bdev_io_status::SPDK_BDEV_IO_STATUS_SUCCESS,
            Self::Failed => spdk_sys::spdk_bdev_io_status::SPDK_BDEV_IO_STATUS_FAILED,
            Self::Aborted => spdk_sys::spdk_bdev_io_status::SPDK_BDEV_IO_STATUS_ABORTED,
        }
    }
}

macro_rules! completes {
    ($($request:ty),*) => {$(
        impl $request {
            /// Ends the request. SPDK hears of it when nobody has its data any more.
            pub fn complete(self, status: impl Into<RequestStatus>) {
                self.handle.finish(status.into());
            }
        }
    )*};
}

/// A READ or WRITE.
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct DataRequest {
    handle: Handle,
    lba: Lba,
    blocks: Blocks,
}

impl DataRequest {
    /// The first block.
    #[must_use]
    pub fn lba(&self) -> Lba {
        self.lba
    }

    /// How many blocks.
    #[must_use]
    pub fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// The memory, for an I/O below: clone it for several. The request is not completed before all are dropped.
    pub fn data(&self) -> RequestData {
        RequestData::new(&self.handle)
    }
}

/// A request about a range of blocks, without data.
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct RangeRequest {
    handle: Handle,
    lba: Lba,
    blocks: Blocks,
}

impl RangeRequest {
    /// The first block.
    #[must_use]
    pub fn lba(&self) -> Lba {
        self.lba
    }

    /// How many blocks.
    #[must_use]
    pub fn blocks(&self) -> Blocks {
        self.blocks
    }
}

/// A RESET: it has neither range nor data.
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct ResetRequest {
    handle: Handle,
}

/// A request of a type that this crate has no name for.
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct OtherRequest {
    handle: Handle,
}

completes!(DataRequest, RangeRequest, ResetRequest, OtherRequest);

impl Request {
    /// Ends the request, whatever it is.
    pub fn complete(self, status: impl Into<RequestStatus>) {
        let handle = match self {
            Self::Read(request) | Self::Write(request) => request.handle,
            Self::Unmap(request) | Self::WriteZeroes(request) | Self::Flush(request) => {
                request.handle
            }
            Self::Reset(request) => request.handle,
            Self::Other(request) => request.handle,
        };
        handle.finish(status.into());
    }

    /// Takes a request over from SPDK.
    ///
    /// # Safety
    ///
    /// SPDK has just given `bdev_io` to `submit_request` of a bdev whose module is ours, on its channel's thread, and
    /// nobody else has taken it over. `raw` is what `spdk_shim_request_read` says of it. For a READ its memory is
    /// there.
    pub(super) unsafe fn take(
        bdev_io: NonNull<spdk_sys::spdk_bdev_io>,
        raw: &spdk_sys::spdk_shim_request,
        home: Home,
    ) -> Self {
        // SAFETY: by this function's contract.
        let handle =
            unsafe { Handle::new(bdev_io, home, io_type(raw.type_) == Some(IoType::Read)) };
        let (lba, blocks) = (Lba(raw.offset_blocks), Blocks(raw.num_blocks));
        let data = |handle| DataRequest {
            handle,
            lba,
            blocks,
        };
        let range = |handle| RangeRequest {
            handle,
            lba,
            blocks,
        };
        match io_type(raw.type_) {
            Some(IoType::Read) => Self::Read(data(handle)),
            Some(IoType::Write) => Self::Write(data(handle)),
            Some(IoType::Unmap) => Self::Unmap(range(handle)),
            Some(IoType::WriteZeroes) => Self::WriteZeroes(range(handle)),
            Some(IoType::Flush) => Self::Flush(range(handle)),
            Some(IoType::Reset) => Self::Reset(ResetRequest { handle }),
            _ => Self::Other(OtherRequest { handle }),
        }
    }
}

/// SPDK's number of an I/O type; `None` for those that this crate has no name for.
pub(super) fn io_type(raw: i32) -> Option<IoType> {
    use spdk_sys::spdk_bdev_io_type as ty;
    match ty(raw as _) {
        ty::SPDK_BDEV_IO_TYPE_READ => Some(IoType::Read),
        ty::SPDK_BDEV_IO_TYPE_WRITE => Some(IoType::Write),
        ty::SPDK_BDEV_IO_TYPE_UNMAP => Some(IoType::Unmap),
        ty::SPDK_BDEV_IO_TYPE_WRITE_ZEROES => Some(IoType::WriteZeroes),
        ty::SPDK_BDEV_IO_TYPE_FLUSH => Some(IoType::Flush),
        ty::SPDK_BDEV_IO_TYPE_RESET => Some(IoType::Reset),
        _ => None,
    }
}

/// What we keep of a request in its driver context, which is ours until the request is completed.
struct RequestContext {
    home: Home,
    /// How many [`RequestData`] there are.
    shares: Cell<usize>,
    /// The request fills its memory: a READ.
    fills: bool,
    /// The memory has contents: always of a WRITE, of a READ once a read below has filled it.
    filled: Cell<bool>,
    /// Set when the device has ended the request.
    ended: Cell<Option<RequestStatus>>,
}

/// Bytes of driver context to ask SPDK for: old versions align it to 8 bytes only, so there is room to align by hand.
pub(super) const fn context_size() -> usize {
    size_of::<RequestContext>() + align_of::<RequestContext>()
}

/// The duty to end a request.
///
/// # Invariants
///
/// There is one handle to a request that is not ended, and none to one that is. `io` is not completed while there
/// is a handle, or a `RequestData` of it, and `context` is in its driver context, initialised.
struct Handle {
    io: NonNull<spdk_sys::spdk_bdev_io>,
    context: NonNull<RequestContext>,
    _bound: ThreadBound,
}

impl Handle {
    /// # Safety
    ///
    /// As [`Request::take`].
    unsafe fn new(io: NonNull<spdk_sys::spdk_bdev_io>, home: Home, fills: bool) -> Self {
        // SAFETY: the request is ours. Its context has `context_size()` bytes.
        let raw = unsafe { spdk_sys::spdk_shim_request_ctx(io.as_ptr()) }.cast::<u8>();
        let pad = raw.align_offset(align_of::<RequestContext>());
        // SAFETY: `pad` is less than the alignment, for which `context_size` left room.
        let context = unsafe { raw.add(pad) }.cast::<RequestContext>();
        // SAFETY: aligned, within the context, and nothing that lives is overwritten: the bytes are left over from
        // other requests, and a `RequestContext` needs no drop.
        unsafe {
            context.write(RequestContext {
                home,
                shares: Cell::new(0),
                fills,
                filled: Cell::new(!fills),
                ended: Cell::new(None),
            });
        }
        // SAFETY: not null, since it points into `io`.
        let context = unsafe { NonNull::new_unchecked(context) };
        // INVARIANT: by this function's contract this is the only handle.
        Self {
            io,
            context,
            _bound: ThreadBound::new(),
        }
    }

    fn context(&self) -> &RequestContext {
        // SAFETY: by the type invariant.
        unsafe { self.context.as_ref() }
    }

    fn finish(self, status: RequestStatus) {
        // SAFETY: by the type invariant the request is not ended.
        unsafe { end(self.io, self.context, status) };
        std::mem::forget(self);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        log::error("a block device dropped a request without completing it: the request fails");
        // SAFETY: by the type invariant the request is not ended.
        unsafe { end(self.io, self.context, RequestStatus::Failed) };
    }
}

/// Ends a request: tells SPDK, or leaves that to whoever drops the last data.
///
/// # Safety
///
/// The request is not ended, and `context` is its context.
unsafe fn end(
    io: NonNull<spdk_sys::spdk_bdev_io>,
    context: NonNull<RequestContext>,
    status: RequestStatus,
) {
    // No reference to the context is left when SPDK is told, which may use its bytes for the next request at once.
    let (home, shares) = {
        // SAFETY: by this function's contract.
        let context = unsafe { context.as_ref() };
        context.ended.set(Some(status));
        (context.home, context.shares.get())
    };
    if shares == 0 {
        tell(io, home, status);
    }
}

/// Tells SPDK, on the request's thread. The request and its context are SPDK's from now on.
fn tell(io: NonNull<spdk_sys::spdk_bdev_io>, home: Home, status: RequestStatus) {
    let complete = move || {
        // SAFETY: the request was taken over once and ended once, nobody has its data, and this is its thread.
        unsafe { spdk_sys::spdk_bdev_io_complete(io.as_ptr(), status.raw()) };
    };
    if home.is_current() {
        return complete();
    }
    // SAFETY: SPDK keeps a channel, and its thread with it, while a request of it is outstanding. The closure touches
    // the request alone, which belongs to the SPDK thread.
    unsafe { home.run_anywhere(Box::new(complete)) };
}

/// The memory of a READ or WRITE request, for an I/O to own.
///
/// It keeps the request alive. Its contents can't be looked at: whoever sent the request may write them at any time.
#[must_use = "the request is not completed before its data is dropped"]
pub struct RequestData {
    io: NonNull<spdk_sys::spdk_bdev_io>,
    context: NonNull<RequestContext>,
    iovs: *const libc::iovec,
    count: usize,
    _bound: ThreadBound,
}

impl RequestData {
    fn new(handle: &Handle) -> Self {
        // SAFETY: by the handle's invariant the request is not completed.
        let raw = unsafe { read(handle.io.as_ptr()) };
        let shares = &handle.context().shares;
        shares.set(shares.get() + 1);
        Self {
            io: handle.io,
            context: handle.context,
            iovs: raw.iovs,
            count: usize::try_from(raw.iovcnt).unwrap_or(0),
            _bound: ThreadBound::new(),
        }
    }

    /// Calls `each` with the address and length of every piece of memory, in order.
    pub(crate) fn for_each(&self, each: &mut dyn FnMut(*mut c_void, usize)) {
        // SAFETY: the request is not completed while `self` lives, and until then its iovec array stays; it has
        // `count` entries.
        let iovs = unsafe { pieces(self.iovs, self.count) };
        iovs.iter().for_each(|iov| each(iov.iov_base, iov.iov_len));
    }

    /// Whether a read below may fill the memory: that of a READ.
    pub(crate) fn fills(&self) -> bool {
        self.context().fills
    }

    /// Whether there is something in it: always in that of a WRITE.
    pub(crate) fn is_filled(&self) -> bool {
        self.context().filled.get()
    }

    /// A read has filled the memory.
    pub(crate) fn set_filled(&self) {
        self.context().filled.set(true);
    }

    fn context(&self) -> &RequestContext {
        // SAFETY: the request is not completed while `self` lives, and until then its context is ours.
        unsafe { self.context.as_ref() }
    }
}

impl Clone for RequestData {
    fn clone(&self) -> Self {
        let shares = &self.context().shares;
        shares.set(shares.get() + 1);
        Self {
            io: self.io,
            context: self.context,
            iovs: self.iovs,
            count: self.count,
            _bound: ThreadBound::new(),
        }
    }
}

impl Drop for RequestData {
    fn drop(&mut self) {
        // As in `end`: no reference to the context is left when SPDK is told.
        let (home, left, ended) = {
            let context = self.context();
            let left = context.shares.get() - 1;
            context.shares.set(left);
            (context.home, left, context.ended.get())
        };
        if let (0, Some(status)) = (left, ended) {
            tell(self.io, home, status);
        }
    }
}

/// What the request says of itself.
///
/// # Safety
///
/// `bdev_io` is a request that is not completed.
pub(super) unsafe fn read(bdev_io: *mut spdk_sys::spdk_bdev_io) -> spdk_sys::spdk_shim_request {
    let mut raw = spdk_sys::spdk_shim_request {
        bdev_ctxt: ptr::null_mut(),
        iovs: ptr::null_mut(),
        offset_blocks: 0,
        num_blocks: 0,
        iovcnt: 0,
        type_: 0,
    };
    // SAFETY: by this function's contract; the shim only reads.
    unsafe { spdk_sys::spdk_shim_request_read(bdev_io, &raw mut raw) };
    raw
}

/// The iovec array of a request; empty if it has none.
///
/// # Safety
///
/// `iovs` is null or has `count` entries, which nobody changes while the slice is used.
pub(crate) unsafe fn pieces<'a>(iovs: *const libc::iovec, count: usize) -> &'a [libc::iovec] {
    if iovs.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: by this function's contract.
    unsafe { std::slice::from_raw_parts(iovs, count) }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("io", &self.io)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RequestData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestData")
            .field("pieces", &self.count)
            .finish_non_exhaustive()
    }
}
