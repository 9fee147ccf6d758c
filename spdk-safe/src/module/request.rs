//! Requests: what SPDK asks of a block device of ours.
//!
//! ```text
//!                 1                 2                           3
//!  submit_request ──► Request ──► complete(status), or drop ──► spdk_bdev_io_complete
//!                        │                                         ▲
//!                        ├── data() ──► RequestData, clones ───────┤ 4: when the last one is gone
//!                        └── children(), forward() ────────────────┘ 5: when all have ended, by `complete` again
//!  1: vtable   2: Handle::finish   3: Handle::finish, if nobody has data   4: RequestData::drop   5: children
//! ```
//!
//! A request is completed exactly once, on its thread, whatever the device does (design rule 4): completing consumes
//! it, dropping it fails it, and a completion on another SPDK thread travels home. Its data can be handed to I/O
//! below, which then keeps it alive: SPDK is told of the completion only when the last such I/O has let go.

use std::ptr::{self, NonNull};

use super::children::{ChildIos, Children, Parent, Part, forward};
use super::context::{Fresh, Handle};
use super::data::RequestData;
use super::status::RequestStatus;
use crate::bdev::{Below, Child, DescMode, IoChannel, Writable};
use crate::error::{IoError, IoType};
use crate::thread::Home;
use crate::units::{Blocks, Lba};

/// What SPDK asks, by type, each with exactly what it has.
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
#[non_exhaustive]
pub enum Request {
    /// Fill memory from blocks.
    Read(ReadRequest),
    /// Write memory to blocks.
    Write(WriteRequest),
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

/// A READ.
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct ReadRequest {
    handle: Handle,
    lba: Lba,
    blocks: Blocks,
}

/// A WRITE.
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct WriteRequest {
    handle: Handle,
    lba: Lba,
    blocks: Blocks,
}

/// A request about a range of blocks, without data.
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct RangeRequest {
    handle: Handle,
    io: IoType,
    lba: Lba,
    blocks: Blocks,
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

macro_rules! completes {
    ($($request:ty),*) => {$(
        impl $request {
            /// Ends the request. SPDK hears of it when nobody has its data any more.
            #[inline]
            pub fn complete(self, status: impl Into<RequestStatus>) {
                self.handle.finish(status.into());
            }

            /// Has the request wait for children, which are told to `waits`.
            #[inline]
            pub fn children<S: Children<Self>>(self, waits: S) -> ChildIos<Self, S> {
                ChildIos::new(self, waits)
            }
        }

        impl Parent for $request {
            #[inline]
            fn handle(&self) -> &Handle {
                &self.handle
            }

            #[inline]
            fn into_handle(self) -> Handle {
                self.handle
            }
        }
    )*};
}

completes!(
    ReadRequest,
    WriteRequest,
    RangeRequest,
    ResetRequest,
    OtherRequest
);

macro_rules! has_range {
    ($($request:ty),*) => {$(
        impl $request {
            /// The first block.
            #[must_use]
            #[inline]
            pub fn lba(&self) -> Lba {
                self.lba
            }

            /// How many blocks.
            #[must_use]
            #[inline]
            pub fn blocks(&self) -> Blocks {
                self.blocks
            }
        }
    )*};
}

has_range!(ReadRequest, WriteRequest, RangeRequest);

macro_rules! has_data {
    ($($request:ty),*) => {$(
        impl $request {
            /// The memory, for an I/O below: clone it for several, or take parts of it. The request is not completed
            /// before all are dropped.
            pub fn data(&self) -> RequestData {
                RequestData::new(&self.handle, 0, self.handle.context().len)
            }
        }
    )*};
}

has_data!(ReadRequest, WriteRequest);

/// A child that does `io` on as many blocks, or bytes, as its request.
fn child(io: IoType, lba: Lba, blocks: Blocks) -> Child {
    Child {
        io,
        lba,
        blocks,
        other: 0,
    }
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

impl<S: Children<ReadRequest>> ChildIos<ReadRequest, S> {
    /// Has `channel` read all of the request, from `lba` on.
    #[inline]
    pub fn read<M: DescMode>(&self, channel: &IoChannel<M>, lba: Lba, tag: u8) {
        let child = child(IoType::Read, lba, Blocks(0));
        self.add(Below::of(channel), &child, self.context().whole(), tag);
    }

    /// Has `channel` read a part of the request, `blocks` blocks from its block `from` on, from `lba` on. False if the
    /// request has not as many: nothing was submitted.
    #[must_use = "false: there is no such part"]
    #[inline]
    pub fn read_part<M: DescMode>(
        &self,
        channel: &IoChannel<M>,
        lba: Lba,
        from: Blocks,
        blocks: Blocks,
        tag: u8,
    ) -> bool {
        let child = child(IoType::Read, lba, Blocks(0));
        self.add_part(Below::of(channel), &child, from, blocks, tag)
    }
}

impl<S: Children<WriteRequest>> ChildIos<WriteRequest, S> {
    /// Has `channel` write all of the request, from `lba` on.
    #[inline]
    pub fn write<M: Writable>(&self, channel: &IoChannel<M>, lba: Lba, tag: u8) {
        let child = child(IoType::Write, lba, Blocks(0));
        self.add(Below::of(channel), &child, self.context().whole(), tag);
    }

    /// Has `channel` write a part of the request, `blocks` blocks from its block `from` on, from `lba` on. False if the
    /// request has not as many: nothing was submitted.
    #[must_use = "false: there is no such part"]
    #[inline]
    pub fn write_part<M: Writable>(
        &self,
        channel: &IoChannel<M>,
        lba: Lba,
        from: Blocks,
        blocks: Blocks,
        tag: u8,
    ) -> bool {
        let child = child(IoType::Write, lba, Blocks(0));
        self.add_part(Below::of(channel), &child, from, blocks, tag)
    }
}

/// What needs no memory of the request, whatever it is.
impl<R: Parent, S: Children<R>> ChildIos<R, S> {
    fn add_part(
        &self,
        below: Below<'_>,
        child: &Child,
        from: Blocks,
        blocks: Blocks,
        tag: u8,
    ) -> bool {
        let context = self.context();
        let bytes = |blocks: Blocks| blocks.bytes(context.block_size);
        let (Some(from), Some(len)) = (bytes(from), bytes(blocks)) else {
            return false;
        };
        let fits = from
            .0
            .checked_add(len.0)
            .is_some_and(|end| end <= context.len);
        if fits {
            let (from, len) = (from.0, len.0);
            self.add(below, child, Part::Of { from, len }, tag);
        }
        fits
    }

    /// Has `channel` unmap `blocks` blocks from `lba` on.
    pub fn unmap<M: Writable>(&self, channel: &IoChannel<M>, lba: Lba, blocks: Blocks, tag: u8) {
        let child = child(IoType::Unmap, lba, blocks);
        self.add(Below::of(channel), &child, Part::None, tag);
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
        self.add(Below::of(channel), &child, Part::None, tag);
    }

    /// Has `channel` flush `blocks` blocks from `lba` on.
    pub fn flush<M: Writable>(&self, channel: &IoChannel<M>, lba: Lba, blocks: Blocks, tag: u8) {
        let child = child(IoType::Flush, lba, blocks);
        self.add(Below::of(channel), &child, Part::None, tag);
    }

    /// Resets the bdev of `channel`.
    pub fn reset<M: Writable>(&self, channel: &IoChannel<M>, tag: u8) {
        let child = child(IoType::Reset, Lba(0), Blocks(0));
        self.add(Below::of(channel), &child, Part::None, tag);
    }
}

impl Request {
    /// Ends the request, whatever it is.
    pub fn complete(self, status: impl Into<RequestStatus>) {
        self.into_handle().finish(status.into());
    }

    fn into_handle(self) -> Handle {
        match self {
            Self::Read(request) => request.handle,
            Self::Write(request) => request.handle,
            Self::Unmap(request) | Self::WriteZeroes(request) | Self::Flush(request) => {
                request.handle
            }
            Self::Reset(request) => request.handle,
            Self::Other(request) => request.handle,
        }
    }

    /// Takes a request over from SPDK.
    ///
    /// # Safety
    ///
    /// As [`Handle::new`]. `raw` is what `spdk_shim_request_read` says of it, as long as its range if it is a READ or
    /// WRITE; for a READ its memory is there.
    #[inline]
    pub(super) unsafe fn take(
        bdev_io: NonNull<spdk_sys::spdk_bdev_io>,
        driver_ctx: NonNull<u8>,
        raw: &spdk_sys::spdk_shim_request,
        home: Home,
        block_size: u32,
    ) -> Self {
        let ty = io_type(raw.type_);
        let (lba, blocks) = (Lba(raw.offset_blocks), Blocks(raw.num_blocks));
        let has_memory = matches!(ty, Some(IoType::Read | IoType::Write));
        let fresh = Fresh {
            home,
            iovs: raw.iovs,
            len: if has_memory {
                blocks.bytes(block_size).map_or(0, |bytes| bytes.0)
            } else {
                0
            },
            iovcnt: u32::try_from(raw.iovcnt).unwrap_or(0),
            block_size,
            fills: ty == Some(IoType::Read),
        };
        // SAFETY: by this function's contract.
        let handle = unsafe { Handle::new(bdev_io, driver_ctx, fresh) };
        let range = |handle, io| RangeRequest {
            handle,
            io,
            lba,
            blocks,
        };
        match ty {
            Some(IoType::Read) => Self::Read(ReadRequest {
                handle,
                lba,
                blocks,
            }),
            Some(IoType::Write) => Self::Write(WriteRequest {
                handle,
                lba,
                blocks,
            }),
            Some(io @ IoType::Unmap) => Self::Unmap(range(handle, io)),
            Some(io @ IoType::WriteZeroes) => Self::WriteZeroes(range(handle, io)),
            Some(io @ IoType::Flush) => Self::Flush(range(handle, io)),
            Some(IoType::Reset) => Self::Reset(ResetRequest { handle }),
            _ => Self::Other(OtherRequest { handle }),
        }
    }
}

/// SPDK's number of an I/O type; `None` for those that this crate has no name for.
#[inline]
pub(crate) fn io_type(raw: i32) -> Option<IoType> {
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

/// What the request says of itself.
///
/// # Safety
///
/// `bdev_io` is a request that is not completed, or an I/O that is completed and not freed.
#[inline]
pub(crate) unsafe fn read(bdev_io: *mut spdk_sys::spdk_bdev_io) -> spdk_sys::spdk_shim_request {
    let mut raw = spdk_sys::spdk_shim_request {
        bdev_ctxt: ptr::null_mut(),
        driver_ctx: ptr::null_mut(),
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
