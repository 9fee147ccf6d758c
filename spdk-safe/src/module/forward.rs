//! The whole of a request, done by one I/O below.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::children::{
    Parent, Part, forward, forward_abort, forward_done_callback, forward_put, put, unsend,
};
use super::context::{ONLY, RequestContext};
use super::fan_out::Known;
use super::request::{RangeRequest, ReadRequest, Request, ResetRequest, WriteRequest};
use super::special::{
    AbortRequest, CompareRequest, CopyRequest, ZcopyEndRequest, ZcopyStartRequest,
};
use crate::bdev::{Below, Child, DescMode, IoChannel, Writable};
use crate::error::{IoError, IoType};
use crate::inside;
use crate::units::{Blocks, Lba};

/// A child that does `io` on as many blocks, or bytes, as its request.
pub(super) fn child(io: IoType, lba: Lba, blocks: Blocks) -> Child {
    Child {
        io,
        lba,
        blocks,
        other: 0,
    }
}

/// One child for the whole of a read or write that has just come, and `done` for its end: what is `known` of it is not asked
/// again.
///
/// # Safety
///
/// `known` is true of it, as long as this runs. `IS_READ` says what it is; if that is a write, the descriptor is writable.
#[inline(always)]
pub(super) unsafe fn forward_known<R: Parent, F, const IS_READ: bool>(
    request: R,
    known: Known,
    below: Below<'_>,
    lba: Lba,
    blocks: Blocks,
    done: F,
) where
    F: FnOnce(R, Result<(), IoError>) + 'static,
{
    let at = put(request, done);
    let Known { base, key, depth } = known;
    if inside::depth() == depth && below.takes_whole(base, key) {
        // SAFETY: the request is in its own context, and not completed before its end is told.
        let context = unsafe { at.as_ref() };
        // Set first: some errors complete inside the call (B-71).
        context.children[ONLY].set(MaybeUninit::new(below.begin()));
        let done = forward_done_callback::<R, F>;
        // SAFETY: `known` is true, so the channel's thread is current, and the memory is as long as the request, which is
        // not completed before `done` was called. Of the descriptor by this function's contract.
        let is_sent =
            unsafe { below.send_whole::<IS_READ>(base, lba, blocks, done, at.as_ptr().cast()) };
        if is_sent {
            // It may have ended, and the request with it.
            return;
        }
        // SAFETY: put there above, and SPDK did not take it.
        unsafe { unsend(context, ONLY) };
    }
    // SAFETY: both were put there; SPDK has no child of it; the descriptor is as `IS_READ` needs it.
    unsafe { forward_slowly::<R, F, IS_READ>(at, below, lba) };
}

/// The same, where not all is plain.
///
/// # Safety
///
/// An `R` and an `F` are in the room of the request at `at`, and it has no child. If it is no read, the descriptor is
/// writable.
#[cold]
#[inline(never)]
unsafe fn forward_slowly<R: Parent, F, const IS_READ: bool>(
    at: NonNull<RequestContext>,
    below: Below<'_>,
    lba: Lba,
) where
    F: FnOnce(R, Result<(), IoError>) + 'static,
{
    // SAFETY: by this function's contract the request is in its own context.
    let part = unsafe { at.as_ref() }.whole();
    let io = if IS_READ { IoType::Read } else { IoType::Write };
    // SAFETY: by this function's contract.
    unsafe { forward_put::<R, F>(at, below, child(io, lba, Blocks(0)), part) };
}

impl ReadRequest {
    /// Has `channel` read all of it, from `lba` on; `done` gets the request back at the end.
    ///
    /// Nothing is allocated, and no slot of the channel is used, if all is well. `done` lives in the request's driver
    /// context, and is called once, on this thread, also with what is wrong ([`IoError`]); a panic in it fails the
    /// request.
    #[inline]
    pub fn forward<M: DescMode>(
        self,
        channel: &IoChannel<M>,
        lba: Lba,
        done: impl FnOnce(Self, Result<(), IoError>) + 'static,
    ) {
        let part = self.handle.context().whole();
        let child = child(IoType::Read, lba, Blocks(0));
        forward(self, Below::of(channel), child, part, done);
    }
}

impl WriteRequest {
    /// Has `channel` write all of it, from `lba` on; otherwise as [`ReadRequest::forward`].
    #[inline]
    pub fn forward<M: Writable>(
        self,
        channel: &IoChannel<M>,
        lba: Lba,
        done: impl FnOnce(Self, Result<(), IoError>) + 'static,
    ) {
        let part = self.handle.context().whole();
        let child = child(IoType::Write, lba, Blocks(0));
        forward(self, Below::of(channel), child, part, done);
    }
}

impl RangeRequest {
    /// Has `channel` do the same from `lba` on; otherwise as [`ReadRequest::forward`].
    #[inline]
    pub fn forward<M: Writable>(
        self,
        channel: &IoChannel<M>,
        lba: Lba,
        done: impl FnOnce(Self, Result<(), IoError>) + 'static,
    ) {
        let child = child(self.io, lba, self.blocks);
        forward(self, Below::of(channel), child, Part::None, done);
    }
}

impl ResetRequest {
    /// Resets the bdev of `channel`; otherwise as [`ReadRequest::forward`].
    pub fn forward<M: Writable>(
        self,
        channel: &IoChannel<M>,
        done: impl FnOnce(Self, Result<(), IoError>) + 'static,
    ) {
        let child = child(IoType::Reset, Lba(0), Blocks(0));
        forward(self, Below::of(channel), child, Part::None, done);
    }
}

impl CompareRequest {
    /// Has `channel` compare all of it, from `lba` on; otherwise as [`ReadRequest::forward`], but always with a slot.
    pub fn forward<M: DescMode>(
        self,
        channel: &IoChannel<M>,
        lba: Lba,
        done: impl FnOnce(Self, Result<(), IoError>) + 'static,
    ) {
        let part = self.handle.context().whole();
        let child = child(IoType::Compare, lba, Blocks(0));
        forward(self, Below::of(channel), child, part, done);
    }
}

impl CopyRequest {
    /// Has `channel` copy as many blocks from `from` to `lba`; otherwise as [`ReadRequest::forward`], but always with a
    /// slot.
    pub fn forward<M: Writable>(
        self,
        channel: &IoChannel<M>,
        lba: Lba,
        from: Lba,
        done: impl FnOnce(Self, Result<(), IoError>) + 'static,
    ) {
        let child = Child {
            other: from.0,
            ..child(IoType::Copy, lba, self.blocks)
        };
        forward(self, Below::of(channel), child, Part::None, done);
    }
}

impl AbortRequest {
    /// Has `channel` abort what its victim was forwarded to it as; otherwise as [`ReadRequest::forward`]. The victim ends
    /// by itself, as its I/O below does: as aborted, if that was.
    ///
    /// Fails, and leaves the victim alone, where SPDK can't find that I/O by the victim: it has ended, it waits for
    /// memory, it took a slot of the channel (all but plain reads, writes, unmaps, writes of zeroes and flushes, without
    /// metadata of their own), or there are [`children`](Self::children) of it instead of one I/O.
    pub fn forward<M: DescMode>(
        self,
        channel: &IoChannel<M>,
        done: impl FnOnce(Self, Result<(), IoError>) + 'static,
    ) {
        let victim = self.context;
        forward_abort(self, Below::of(channel), victim, done);
    }
}

impl ZcopyStartRequest {
    /// Has `channel` read into the memory, from `lba` on; otherwise as [`ReadRequest::forward`].
    pub fn forward<M: DescMode>(
        self,
        channel: &IoChannel<M>,
        lba: Lba,
        done: impl FnOnce(Self, Result<(), IoError>) + 'static,
    ) {
        let part = self.handle.context().whole();
        let child = child(IoType::Read, lba, Blocks(0));
        forward(self, Below::of(channel), child, part, done);
    }
}

impl ZcopyEndRequest {
    /// Has `channel` write the memory, from `lba` on; otherwise as [`ReadRequest::forward`].
    pub fn forward<M: Writable>(
        self,
        channel: &IoChannel<M>,
        lba: Lba,
        done: impl FnOnce(Self, Result<(), IoError>) + 'static,
    ) {
        let part = self.handle.context().whole();
        let child = child(IoType::Write, lba, Blocks(0));
        forward(self, Below::of(channel), child, part, done);
    }
}

impl Request {
    /// Has `channel` do the same, at the same blocks; otherwise as [`ReadRequest::forward`].
    ///
    /// Not for what has nothing below it that does the same: a seek and a compare-and-write come back at once,
    /// with [`IoError::Unsupported`].
    #[inline]
    pub fn forward<M: Writable>(
        self,
        channel: &IoChannel<M>,
        done: impl FnOnce(Self, Result<(), IoError>) + 'static,
    ) {
        match self {
            Self::Read(request) => {
                let lba = request.lba;
                request.forward(channel, lba, |request, result| {
                    done(Self::Read(request), result);
                });
            }
            Self::Write(request) => {
                let lba = request.lba;
                request.forward(channel, lba, |request, result| {
                    done(Self::Write(request), result);
                });
            }
            other => other.forward_rarely(channel, done),
        }
    }

    #[cold]
    fn forward_rarely<M: Writable>(
        self,
        channel: &IoChannel<M>,
        done: impl FnOnce(Self, Result<(), IoError>) + 'static,
    ) {
        macro_rules! forward {
            ($kind:ident, $request:ident $(, $at:ident)*) => {{
                $(let $at = $request.$at;)*
                $request.forward(channel, $($at,)* |request, result| {
                    done(Self::$kind(request), result);
                });
            }};
        }
        match self {
            Self::Unmap(r) => forward!(Unmap, r, lba),
            Self::WriteZeroes(r) => forward!(WriteZeroes, r, lba),
            Self::Flush(r) => forward!(Flush, r, lba),
            Self::Reset(r) => forward!(Reset, r),
            Self::Abort(r) => forward!(Abort, r),
            Self::Compare(r) => forward!(Compare, r, lba),
            Self::Copy(r) => forward!(Copy, r, lba, from),
            Self::ZcopyStart(r) if r.populate => forward!(ZcopyStart, r, lba),
            Self::ZcopyEnd(r) if r.commit => forward!(ZcopyEnd, r, lba),
            // There is nothing to be done.
            this @ (Self::ZcopyStart(_) | Self::ZcopyEnd(_)) => done(this, Ok(())),
            other => {
                let io = other.io_type();
                done(other, Err(IoError::Unsupported { io }));
            }
        }
    }

    fn io_type(&self) -> IoType {
        match self {
            Self::SeekHole(_) => IoType::SeekHole,
            Self::SeekData(_) => IoType::SeekData,
            _ => IoType::CompareAndWrite,
        }
    }
}
