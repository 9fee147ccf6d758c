//! The memory of a request, for an I/O below to own.

use std::ffi::c_void;
use std::fmt;
use std::ptr::NonNull;

use super::context::{Handle, RequestContext, tell};
use crate::thread::Bound;
use crate::units::Blocks;

/// The memory of a READ or WRITE request, or a part of it, for an I/O to own.
///
/// It keeps the request alive. Its contents can't be looked at: whoever sent the request may write them at any time.
///
/// # Invariants
///
/// It is counted in the context's `shares`, so the request is not completed; the request has memory, and `from` to
/// `from + len` lies within.
#[must_use = "the request is not completed before its data is dropped"]
pub struct RequestData {
    context: Bound<NonNull<RequestContext>>,
    from: u64,
    len: u64,
    /// Of the second memory that a compare-and-write has, and nothing else.
    fused: bool,
    /// Its metadata stays behind.
    bare: bool,
}

impl RequestData {
    /// Of `len` bytes from byte `from` on, which the request has.
    pub(super) fn new(handle: &Handle, from: u64, len: u64) -> Self {
        // INVARIANT: counted; in range, as the caller says.
        Self::counted(handle.raw(), handle.context(), (from, len), false, false)
    }

    /// What a compare-and-write is to write.
    ///
    /// # Safety
    ///
    /// It is a compare-and-write.
    pub(super) unsafe fn fused(handle: &Handle) -> Self {
        let context = handle.context();
        // INVARIANT: counted; both memories have the same length.
        Self::counted(handle.raw(), context, (0, context.len), true, true)
    }

    /// As [`new`](Self::new).
    ///
    /// # Safety
    ///
    /// The request is not completed, and has such a part.
    pub(super) unsafe fn of(at: NonNull<RequestContext>, from: u64, len: u64) -> Self {
        // SAFETY: by this function's contract.
        let context = unsafe { at.as_ref() };
        // INVARIANT: counted; in range, as the caller says.
        Self::counted(at, context, (from, len), false, false)
    }

    fn counted(
        at: NonNull<RequestContext>,
        context: &RequestContext,
        (from, len): (u64, u64),
        fused: bool,
        bare: bool,
    ) -> Self {
        context.shares.add();
        Self {
            context: Bound::new(at),
            from,
            len,
            fused,
            bare,
        }
    }

    /// How much it is, in blocks of the request's device.
    #[must_use]
    pub fn blocks(&self) -> Blocks {
        Blocks(self.len / u64::from(self.context().block_size))
    }

    /// A part of it: `blocks` blocks from its block `from` on. `None` if it has not as many.
    pub fn slice(&self, from: Blocks, blocks: Blocks) -> Option<Self> {
        let context = self.context();
        let start = from.bytes(context.block_size)?.0;
        let len = blocks.bytes(context.block_size)?.0;
        let end = start.checked_add(len)?;
        // INVARIANT: counted, and within what this is.
        (end <= self.len).then(|| self.part(self.from + start, len))
    }

    /// Bytes `from` to `from + len` of the request, which lie within what this is.
    fn part(&self, from: u64, len: u64) -> Self {
        Self::counted(
            *self.context,
            self.context(),
            (from, len),
            self.fused,
            self.bare,
        )
    }

    /// The same without its metadata, for a bdev that has none.
    pub fn without_metadata(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Address and length of its metadata, if that is in a buffer of its own.
    pub(crate) fn metadata(&self) -> Option<(*mut c_void, u64)> {
        match self.bare {
            true => None,
            false => self.context().metadata_of(self.from, self.len),
        }
    }

    /// Calls `each` with the address and length of every piece of memory, in order.
    pub(crate) fn for_each(&self, each: &mut dyn FnMut(*mut c_void, usize)) {
        let (array, count) = self.array();
        // SAFETY: the request is not completed while `self` lives, and until then its iovec array stays.
        let iovs = unsafe { pieces(array, count as usize) };
        let (mut skip, mut left) = (self.from, self.len);
        for iov in iovs {
            let have = iov.iov_len as u64;
            let from = skip.min(have);
            let len = (have - from).min(left);
            (skip, left) = (skip - from, left - len);
            if len != 0 {
                each(iov.iov_base.wrapping_byte_add(from as usize), len as usize);
            }
        }
    }

    #[inline]
    fn array(&self) -> (*const libc::iovec, u32) {
        let context = self.context();
        match self.fused {
            false => (context.iovs, context.iovcnt),
            true => {
                // SAFETY: by the type invariant.
                let (iovs, count) = unsafe { context.fused() };
                (iovs, count)
            }
        }
    }

    /// Address and length, if the request's memory is one piece.
    #[inline]
    pub(crate) fn only(&self) -> Option<(*mut u8, usize)> {
        let (array, count) = self.array();
        if count != 1 || self.context().has_metadata() {
            return None;
        }
        // SAFETY: as in `for_each`; there is one entry.
        let iov = unsafe { &*array };
        let at = iov.iov_base.cast::<u8>().wrapping_add(self.from as usize);
        Some((at, self.len as usize))
    }

    /// Whether a read below may fill the memory: that of a READ.
    pub(crate) fn fills(&self) -> bool {
        self.context().fills
    }

    /// Whether there is something in it: always in that of a WRITE.
    pub(crate) fn is_filled(&self) -> bool {
        self.context().filled.get()
    }

    /// A read has filled the memory. That of a part says nothing of the rest.
    pub(crate) fn set_filled(&self) {
        let context = self.context();
        if self.len == context.len {
            context.filled.set(true);
        }
    }

    #[inline]
    fn context(&self) -> &RequestContext {
        // SAFETY: the request is not completed while `self` lives, and until then its context is ours.
        unsafe { self.context.as_ref() }
    }
}

impl Clone for RequestData {
    fn clone(&self) -> Self {
        // INVARIANT: counted, and the same range.
        self.part(self.from, self.len)
    }
}

impl Drop for RequestData {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: by the type invariant it counts, until now.
        unsafe { let_go(*self.context) };
    }
}

/// Takes one off the count of `shares`; the last one completes a request that is ended.
///
/// # Safety
///
/// The caller counts in `shares`, and from now on does not.
#[inline]
pub(super) unsafe fn let_go(context: NonNull<RequestContext>) {
    // No reference to the context is left when SPDK is told.
    let (io, home, is_last, ended) = {
        // SAFETY: the request is not completed while somebody counts.
        let context = unsafe { context.as_ref() };
        let is_last = context.shares.remove();
        (context.io, context.home, is_last, context.ended.get())
    };
    if let (true, Some(status)) = (is_last, ended) {
        // SAFETY: the handle ended it, once, and this was the last data.
        unsafe { tell(io, home, status) };
    }
}

/// An iovec array; empty if there is none.
///
/// # Safety
///
/// `iovs` is null or has `count` entries, which nobody changes while the slice is used.
#[inline]
pub(crate) unsafe fn pieces<'a>(iovs: *const libc::iovec, count: usize) -> &'a [libc::iovec] {
    if iovs.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: by this function's contract.
    unsafe { std::slice::from_raw_parts(iovs, count) }
}

impl fmt::Debug for RequestData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestData")
            .field("from", &self.from)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
