//! What we keep of a request in its driver context, which is ours until the request is completed.
//!
//! ```text
//!   driver_ctx ─pad─► RequestContext: home, state ... │ children │ room for what waits for them
//!              64 B aligned
//! ```
//!
//! SPDK aligns the context to 8 bytes in old versions and to 64 in new ones, and never clears it. It is aligned by hand,
//! to 64: six bits of a pointer to it are free, for the number of a child.

use std::cell::{Cell, UnsafeCell};
use std::ffi::c_void;
use std::fmt;
use std::mem::{MaybeUninit, align_of, size_of};
use std::ptr::NonNull;

use super::special::RequestId;
use super::status::RequestStatus;
use super::view::DataView;
use crate::bdev::Sent;
use crate::log;
use crate::thread::{Bound, Home};
use crate::units::Blocks;

/// Children of one request that SPDK can have at a time without a slot of their channel.
pub(super) const CHILDREN: usize = 8;

/// Bytes for what waits for the children of a request: the request itself, and the state or closure.
pub(super) const ROOM: usize = 144;

/// Room for what waits.
#[repr(align(16))]
pub(super) struct Room(#[expect(dead_code, reason = "bytes")] [u8; ROOM]);

/// See the module's page.
///
/// First what is written of each request: a line of the cache. No two neighbours of it are variables of one type, which
/// the compiler would put together in a vector register first, and its constants are together, which makes words of them:
/// eight instructions less.
///
/// Then in the order of use: one I/O for the whole of a request touches the first and the third line, where the last of
/// `children` is, and what waits, if that is no more than three words; several touch the second too. With many requests in
/// flight each line comes from the second-level cache.
#[repr(C, align(64))]
pub(super) struct RequestContext {
    pub(super) io: NonNull<spdk_sys::spdk_bdev_io>,
    /// Bytes of memory; of both, each.
    pub(super) len: u64,
    /// That of the request's channel, which SPDK keeps while a request of it is not completed.
    pub(super) home: NonNull<Home>,
    pub(super) iovcnt: u32,
    /// The [`RequestData`](super::RequestData) that there are, and the children of a task.
    pub(super) shares: Shares,
    pub(super) iovs: *mut libc::iovec,
    /// The request fills its memory: a READ.
    pub(super) fills: bool,
    /// The memory has contents: always of a WRITE, of a READ once a read below has filled it.
    pub(super) filled: Cell<bool>,
    /// A bit for each entry of `children` that is in use.
    pub(super) in_use: Cell<u8>,
    /// A bit for each of them that reads all of the memory.
    pub(super) whole: Cell<u8>,
    /// Children that have not ended, and one while more may come; with [`FAULTED`] and [`FAILED`].
    pub(super) pending: Cell<u32>,
    pub(super) block_size: u32,
    has_metadata: Cell<bool>,
    /// Set when the device has ended the request.
    pub(super) ended: Cell<Option<RequestStatus>>,
    /// Of a compare-and-write, which alone initialises it: what to write, and in how many pieces.
    fused: Cell<MaybeUninit<*mut libc::iovec>>,
    /// Not initialised where `in_use` has no bit. Fan-outs begin with the last one.
    pub(super) children: [Cell<MaybeUninit<Sent>>; CHILDREN],
    pub(super) tags: [Cell<MaybeUninit<u8>>; CHILDREN],
    /// Initialised while there are children.
    pub(super) room: UnsafeCell<MaybeUninit<Room>>,
    /// In a buffer of its own; initialised if `has_metadata`.
    metadata: Cell<MaybeUninit<libc::iovec>>,
    /// As `fused`.
    fused_count: Cell<MaybeUninit<u32>>,
}

/// Of `pending`: somebody's code panicked, and what waits is not asked any more.
pub(super) const FAULTED: u32 = 1 << 31;
/// Of `pending`: a child has failed.
pub(super) const FAILED: u32 = 1 << 30;

/// The entry of `children` that a child which is the only one of its request has.
pub(super) const ONLY: usize = CHILDREN - 1;

const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(RequestContext, ended) / 64 == 0);
    assert!(offset_of!(RequestContext, children) + ONLY * size_of::<Sent>() == 2 * 64);
    assert!(offset_of!(RequestContext, tags) / 64 == 2);
    assert!(offset_of!(RequestContext, room) + 6 * size_of::<usize>() == 3 * 64);
    assert!(size_of::<RequestContext>() == 5 * 64);
};

/// How many keep a request.
///
/// Clones of data can be forgotten without end. The count then stays at its end: the request never ends, as if one were
/// forgotten, and its memory does not go while there is data.
pub(super) struct Shares(Cell<u32>);

impl Shares {
    const fn new() -> Self {
        Self(Cell::new(0))
    }

    #[inline]
    pub(super) fn are_there(&self) -> bool {
        self.0.get() != 0
    }

    #[inline]
    pub(super) fn add(&self) {
        self.0.set(self.0.get().saturating_add(1));
    }

    /// One less; whether that was the last.
    #[inline]
    pub(super) fn remove(&self) -> bool {
        let count = self.0.get();
        if count == u32::MAX {
            return false;
        }
        self.0.set(count - 1);
        count == 1
    }
}

const CONTEXT_ALIGN: usize = align_of::<RequestContext>();

/// Where the context is in the driver context at `driver_ctx`.
#[inline]
pub(super) const fn context_addr(driver_ctx: usize) -> usize {
    driver_ctx.next_multiple_of(align_of::<RequestContext>())
}

/// Bytes of driver context to ask SPDK for, with room to align by hand.
pub(super) const fn context_size() -> usize {
    size_of::<RequestContext>() + align_of::<RequestContext>() - 8
}

/// The most that a device may have beside: each `spdk_bdev_io` of the process pays for it.
pub(super) const MAX_EXTRA: usize = 2048;

const _: () = assert!(context_size() <= 768);

/// What a request is at first.
pub(super) struct Fresh {
    pub(super) home: NonNull<Home>,
    pub(super) iovs: *mut libc::iovec,
    pub(super) len: u64,
    pub(super) iovcnt: u32,
    pub(super) block_size: u32,
    pub(super) fills: bool,
}

impl RequestContext {
    /// The request's thread.
    #[inline]
    pub(super) fn home(&self) -> Home {
        // SAFETY: it is in the channel's context, which is written once, and stays while a request is not completed.
        unsafe { *self.home.as_ref() }
    }

    /// Whether there is metadata in a buffer of its own.
    #[inline]
    pub(super) fn has_metadata(&self) -> bool {
        self.has_metadata.get()
    }

    /// It, in one piece, as the only entry of an array.
    fn metadata(&self) -> Option<&libc::iovec> {
        let metadata = self.metadata.as_ptr().cast::<libc::iovec>();
        // SAFETY: initialised if there is some, and not changed from then on.
        self.has_metadata().then(|| unsafe { &*metadata })
    }

    /// What to write.
    ///
    /// # Safety
    ///
    /// It is a compare-and-write.
    pub(super) unsafe fn fused(&self) -> (*mut libc::iovec, u32) {
        // SAFETY: by this function's contract it was set.
        let iovs = unsafe { self.fused.get().assume_init() };
        // SAFETY: as above.
        (iovs, unsafe { self.fused_count.get().assume_init() })
    }

    /// The metadata of bytes `from` to `from + len`, both whole blocks: address and length. `None` if it is not in a
    /// buffer of its own.
    #[cold]
    pub(super) fn metadata_of(&self, from: u64, len: u64) -> Option<(*mut c_void, u64)> {
        let block_size = u64::from(self.block_size);
        let all = self.len / block_size;
        let metadata = self.metadata()?;
        if all == 0 {
            return None;
        }
        let size = metadata.iov_len as u64 / all;
        let before = from / block_size * size;
        let base = metadata.iov_base.wrapping_byte_add(before as usize);
        Some((base, len / block_size * size))
    }
}

/// The duty to end a request.
///
/// # Invariants
///
/// There is one handle to a request that is not ended, and none to one that is. The request is not completed while there
/// is a handle, or a `RequestData` of it, and `context` is in its driver context, initialised.
pub struct Handle {
    context: Bound<NonNull<RequestContext>>,
}

impl Handle {
    /// # Safety
    ///
    /// SPDK has just given `io` to `submit_request` of a bdev whose module is ours, on its channel's thread, and nobody
    /// else has taken it over. `driver_ctx` is its driver context, and `fresh.home` is in its channel's.
    #[inline(always)]
    pub(super) unsafe fn new(
        io: NonNull<spdk_sys::spdk_bdev_io>,
        driver_ctx: NonNull<u8>,
        fresh: Fresh,
    ) -> Self {
        // Within the driver context: `context_size` left room for it.
        let raw = driver_ctx.as_ptr().wrapping_add(CONTEXT_ALIGN - 1);
        let raw = raw.wrapping_sub(raw.addr() % CONTEXT_ALIGN);
        debug_assert_eq!(raw.addr(), context_addr(driver_ctx.addr().get()));
        let raw = raw.cast::<RequestContext>();
        // SAFETY: it lies behind what is not null.
        let at = unsafe { NonNull::new_unchecked(raw) };
        // Field by field: what is not in use is not written.
        macro_rules! set {
            ($($field:ident: $value:expr),* $(,)?) => {$({
                // SAFETY: the context is aligned and large enough, and ours; nothing that lives is overwritten.
                let field = unsafe { &raw mut (*raw).$field };
                // SAFETY: as above.
                unsafe { field.write($value) };
            })*};
        }
        set!(
            io: io,
            home: fresh.home,
            iovs: fresh.iovs,
            len: fresh.len,
            iovcnt: fresh.iovcnt,
            shares: Shares::new(),
            block_size: fresh.block_size,
            pending: Cell::new(0),
            in_use: Cell::new(0),
            whole: Cell::new(0),
            has_metadata: Cell::new(false),
            fills: fresh.fills,
            filled: Cell::new(!fresh.fills),
            ended: Cell::new(None),
        );
        // INVARIANT: by this function's contract this is the only handle. What was not written may be uninitialised.
        Self {
            context: Bound::new(at),
        }
    }

    #[inline]
    pub(super) fn context(&self) -> &RequestContext {
        // SAFETY: by the type invariant.
        unsafe { self.context.as_ref() }
    }

    /// Its identity.
    pub(super) fn id(&self) -> RequestId {
        RequestId(self.context().io.as_ptr().addr())
    }

    /// As [`finish`](Self::finish), with success, for who is on the request's thread.
    #[inline(always)]
    pub(super) fn succeed_here(self) {
        let context = *self.context;
        std::mem::forget(self);
        let io = {
            // SAFETY: by the type invariant the request is not ended.
            let context = unsafe { context.as_ref() };
            if context.shares.are_there() {
                return context.ended.set(Some(RequestStatus::Success));
            }
            context.io
        };
        // SAFETY: by the type invariant it was not ended before, and nobody has its data.
        unsafe { RequestStatus::succeed(io) };
    }

    /// Its memory.
    pub(super) fn view(&self) -> DataView<'_> {
        let context = self.context();
        let (iovs, count) = (context.iovs, context.iovcnt);
        // SAFETY: by the type invariant; its length was compared when the request came.
        unsafe { DataView::new(context, iovs, count, context.len, context.fills) }
    }

    /// Its metadata, if that is in a buffer of its own.
    pub(super) fn metadata_view(&self) -> Option<DataView<'_>> {
        let context = self.context();
        let metadata = context.metadata()?;
        let len = metadata.iov_len as u64;
        // SAFETY: by the type invariant; it is one piece.
        let view = unsafe { DataView::new(context, metadata, 1, len, context.fills) };
        Some(view.of_metadata())
    }

    /// Says where its metadata is: `size` bytes for each of `blocks` blocks; null is nowhere. At first, if at all.
    #[cold]
    pub(super) fn set_metadata(&self, buf: *mut c_void, blocks: Blocks, size: u32) {
        let context = self.context();
        let metadata = libc::iovec {
            iov_base: buf,
            iov_len: blocks.bytes(size).map_or(0, |bytes| bytes.0 as usize),
        };
        context.metadata.set(MaybeUninit::new(metadata));
        context.has_metadata.set(size != 0 && !buf.is_null());
    }

    /// Says what its second memory is. At first, if at all.
    pub(super) fn set_fused(&self, iovs: *mut libc::iovec, count: u32) {
        self.context().fused.set(MaybeUninit::new(iovs));
        self.context().fused_count.set(MaybeUninit::new(count));
    }

    /// Its second memory.
    ///
    /// # Safety
    ///
    /// It is a compare-and-write.
    pub(super) unsafe fn fused_view(&self) -> DataView<'_> {
        let context = self.context();
        // SAFETY: by this function's contract.
        let (iovs, count) = unsafe { context.fused() };
        // SAFETY: as above.
        unsafe { DataView::new(context, iovs, count, context.len, false) }
    }

    /// What lies behind the context.
    pub(super) fn extra(&self) -> NonNull<u8> {
        // SAFETY: one past the context, which is within or right behind the driver context.
        unsafe { self.context.add(1) }.cast()
    }

    #[inline]
    pub(super) fn raw(&self) -> NonNull<RequestContext> {
        *self.context
    }

    #[inline]
    pub(super) fn finish(self, status: RequestStatus) {
        let context = *self.context;
        std::mem::forget(self);
        // SAFETY: by the type invariant the request is not ended.
        unsafe { end(context, status) };
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        log::error("a block device dropped a request without completing it: the request fails");
        // SAFETY: by the type invariant the request is not ended.
        unsafe { end(*self.context, RequestStatus::Failed) };
    }
}

/// Ends a request: tells SPDK, or leaves that to whoever drops the last data.
///
/// # Safety
///
/// The request is not ended, and `context` is its context.
#[inline]
unsafe fn end(context: NonNull<RequestContext>, status: RequestStatus) {
    // No reference to the context is left when SPDK is told, which may use its bytes for the next request at once.
    let (io, home) = {
        // SAFETY: by this function's contract.
        let context = unsafe { context.as_ref() };
        if context.shares.are_there() {
            return context.ended.set(Some(status));
        }
        (context.io, context.home)
    };
    // SAFETY: not ended before, and nobody has its data.
    unsafe { tell(io, home, status) };
}

/// Tells SPDK, on the request's thread. The request and its context are SPDK's from now on.
///
/// # Safety
///
/// The request was taken over once and is ended once, and nobody has its data. `home` is what its context has.
#[inline]
pub(super) unsafe fn tell(
    io: NonNull<spdk_sys::spdk_bdev_io>,
    home: NonNull<Home>,
    status: RequestStatus,
) {
    // SAFETY: the channel, which has it, is there: its request is not completed.
    let is_here = unsafe { home.as_ref() }.is_current();
    match (is_here, status) {
        // SAFETY: by this function's contract; this is the request's thread.
        (true, RequestStatus::Success) => unsafe { RequestStatus::succeed(io) },
        // SAFETY: by this function's contract.
        _ => unsafe { tell_otherwise(io, home, status) },
    }
}

/// # Safety
///
/// As [`tell`].
#[cold]
unsafe fn tell_otherwise(
    io: NonNull<spdk_sys::spdk_bdev_io>,
    home: NonNull<Home>,
    status: RequestStatus,
) {
    // SAFETY: as in `tell`.
    let home = unsafe { *home.as_ref() };
    // SAFETY: by this function's contract; `run_anywhere` brings it to the request's thread.
    let complete = move || unsafe { status.complete(io, home) };
    if home.is_current() {
        return complete();
    }
    // SAFETY: SPDK keeps a channel, and its thread with it, while a request of it is outstanding. The closure touches
    // the request alone, which belongs to the SPDK thread.
    unsafe { home.run_anywhere(Box::new(complete)) };
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("io", &self.context().io)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m4_data_that_is_cloned_and_forgotten_without_end_keeps_its_request() {
        let shares = Shares(Cell::new(u32::MAX - 1));
        for _ in 0..3 {
            shares.add();
        }
        assert!(shares.are_there());
        for _ in 0..5 {
            assert!(!shares.remove());
        }
        assert!(shares.are_there());
        let shares = Shares::new();
        shares.add();
        shares.add();
        assert!(!shares.remove());
        assert!(shares.remove());
        assert!(!shares.are_there());
    }
}
