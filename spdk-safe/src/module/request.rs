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

use std::ptr::NonNull;

use super::children::{ChildIos, Children, Parent};
use super::context::{Fresh, Handle, context_addr};
use super::data::RequestData;
use super::fan_out::{Submit, fan_out};
use super::raw::{Plain, io_type, metadata_of, read_more};
use super::special::{
    AbortRequest, CompareAndWriteRequest, CompareRequest, CopyRequest, RequestId, SeekRequest,
    ZcopyEndRequest, ZcopyStartRequest,
};
use super::status::RequestStatus;
use super::view::DataView;
use crate::error::IoType;
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
    /// Compare blocks with memory.
    Compare(CompareRequest),
    /// Write blocks if they are what is in memory.
    CompareAndWrite(CompareAndWriteRequest),
    /// Copy blocks within the device.
    Copy(CopyRequest),
    /// Abort another request.
    Abort(AbortRequest),
    /// Give memory with what is in blocks.
    ZcopyStart(ZcopyStartRequest),
    /// Take that memory back.
    ZcopyEnd(ZcopyEndRequest),
    /// Find the next block that has data.
    SeekData(SeekRequest),
    /// Find the next block that has none.
    SeekHole(SeekRequest),
    /// Anything else. SPDK sends only what the device said that it supports, so none comes today.
    Other(OtherRequest),
}

/// A READ.
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct ReadRequest {
    pub(super) handle: Handle,
    pub(super) lba: Lba,
    pub(super) blocks: Blocks,
}

/// A WRITE.
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct WriteRequest {
    pub(super) handle: Handle,
    pub(super) lba: Lba,
    pub(super) blocks: Blocks,
}

/// A request about a range of blocks, without data.
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct RangeRequest {
    pub(super) handle: Handle,
    pub(super) io: IoType,
    pub(super) lba: Lba,
    pub(super) blocks: Blocks,
}

/// A RESET: it has neither range nor data.
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct ResetRequest {
    pub(super) handle: Handle,
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

            /// Its identity, for an [`AbortRequest`].
            #[must_use]
            pub fn id(&self) -> RequestId {
                self.handle.id()
            }

            /// Has the request wait for children, which are told to `waits`.
            #[inline]
            pub fn children<S: Children<Self>>(self, waits: S) -> ChildIos<Self, S> {
                ChildIos::new(self, waits)
            }

            /// Has the request wait for the children that `waits` submits, and is told of: as [`children`](Self::children),
            /// for all that are submitted right here, which costs less.
            #[inline(always)] // on the path of each I/O
            pub fn fan_out<S: Submit<Self>>(self, waits: S) {
                fan_out(self, waits);
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
    CompareRequest,
    CompareAndWriteRequest,
    CopyRequest,
    AbortRequest,
    ZcopyStartRequest,
    ZcopyEndRequest,
    SeekRequest,
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

has_range!(
    ReadRequest,
    WriteRequest,
    RangeRequest,
    CompareRequest,
    CompareAndWriteRequest,
    CopyRequest,
    ZcopyStartRequest,
    ZcopyEndRequest
);

macro_rules! has_data {
    ($($request:ty),*) => {$(
        impl $request {
            /// The memory, for an I/O below: clone it for several, or take parts of it. The request is not completed
            /// before all are dropped.
            pub fn data(&self) -> RequestData {
                RequestData::new(&self.handle, 0, self.handle.context().len)
            }

            /// The memory, to be looked at, and to be filled if it is that of a read.
            pub fn view(&self) -> DataView<'_> {
                self.handle.view()
            }

            /// The metadata of its blocks, if the bdev has that in a buffer of its own and whoever sent the request
            /// brought one. [`data`](Self::data), and what is made of it, brings it along.
            #[must_use]
            pub fn metadata(&self) -> Option<DataView<'_>> {
                self.handle.metadata_view()
            }
        }
    )*};
}

has_data!(
    ReadRequest,
    WriteRequest,
    CompareRequest,
    ZcopyStartRequest,
    ZcopyEndRequest
);

impl From<RangeRequest> for Request {
    fn from(request: RangeRequest) -> Self {
        match request.io {
            IoType::Unmap => Self::Unmap(request),
            IoType::Flush => Self::Flush(request),
            _ => Self::WriteZeroes(request),
        }
    }
}

impl Request {
    /// Ends the request, whatever it is.
    #[inline]
    pub fn complete(self, status: impl Into<RequestStatus>) {
        self.into_handle().finish(status.into());
    }

    #[inline]
    pub(super) fn handle(&self) -> &Handle {
        match self {
            Self::Read(request) => &request.handle,
            Self::Write(request) => &request.handle,
            Self::Unmap(request) | Self::WriteZeroes(request) | Self::Flush(request) => {
                &request.handle
            }
            Self::Reset(request) => &request.handle,
            Self::Compare(request) => &request.handle,
            Self::CompareAndWrite(request) => &request.handle,
            Self::Copy(request) => &request.handle,
            Self::Abort(request) => &request.handle,
            Self::ZcopyStart(request) => &request.handle,
            Self::ZcopyEnd(request) => &request.handle,
            Self::SeekData(request) | Self::SeekHole(request) => &request.handle,
            Self::Other(request) => &request.handle,
        }
    }

    #[inline]
    fn into_handle(self) -> Handle {
        match self {
            Self::Read(request) => request.handle,
            Self::Write(request) => request.handle,
            Self::Unmap(request) | Self::WriteZeroes(request) | Self::Flush(request) => {
                request.handle
            }
            Self::Reset(request) => request.handle,
            Self::Compare(request) => request.handle,
            Self::CompareAndWrite(request) => request.handle,
            Self::Copy(request) => request.handle,
            Self::Abort(request) => request.handle,
            Self::ZcopyStart(request) => request.handle,
            Self::ZcopyEnd(request) => request.handle,
            Self::SeekData(request) | Self::SeekHole(request) => request.handle,
            Self::Other(request) => request.handle,
        }
    }

    /// Takes a READ or WRITE over from SPDK.
    ///
    /// # Safety
    ///
    /// As [`Handle::new`]. Its memory is there, as long as its range.
    #[inline(always)]
    pub(super) unsafe fn take_plain(
        bdev_io: NonNull<spdk_sys::spdk_bdev_io>,
        raw: &Plain,
        fresh: Fresh,
        metadata_size: u32,
    ) -> Handle {
        // SAFETY: by this function's contract.
        let handle = unsafe { Handle::new(bdev_io, raw.driver_ctx, fresh) };
        if metadata_size != 0 {
            // SAFETY: by this function's contract.
            let buf = unsafe { metadata_of(bdev_io) };
            handle.set_metadata(buf, raw.blocks, metadata_size);
        }
        handle
    }

    #[inline(always)]
    fn plain(handle: Handle, is_read: bool, lba: Lba, blocks: Blocks) -> Self {
        match is_read {
            true => Self::Read(ReadRequest {
                handle,
                lba,
                blocks,
            }),
            false => Self::Write(WriteRequest {
                handle,
                lba,
                blocks,
            }),
        }
    }

    /// Takes a request over from SPDK.
    ///
    /// # Safety
    ///
    /// As [`Handle::new`]. `raw` is what `spdk_shim_request_read` says of it, as long as its range if it has memory; for
    /// a READ, or the start of a ZCOPY, its memory is there.
    pub(super) unsafe fn take(
        bdev_io: NonNull<spdk_sys::spdk_bdev_io>,
        driver_ctx: NonNull<u8>,
        raw: &spdk_sys::spdk_shim_request,
        home: NonNull<Home>,
        (block_size, metadata_size): (u32, u32),
    ) -> Self {
        let ty = io_type(raw.type_);
        let (lba, blocks) = (Lba(raw.offset_blocks), Blocks(raw.num_blocks));
        let bytes = || blocks.bytes(block_size).map_or(0, |bytes| bytes.0);
        let mut fresh = Fresh {
            home,
            iovs: raw.iovs,
            len: if raw.iovs.is_null() { 0 } else { bytes() },
            iovcnt: u32::try_from(raw.iovcnt).unwrap_or(0),
            block_size,
            fills: ty == Some(IoType::Read),
        };
        if let Some(ty @ (IoType::Read | IoType::Write)) = ty {
            // SAFETY: by this function's contract.
            let handle = unsafe { Handle::new(bdev_io, driver_ctx, fresh) };
            handle.set_metadata(raw.md_buf, blocks, metadata_size);
            return Self::plain(handle, ty == IoType::Read, lba, blocks);
        }
        // SAFETY: by this function's contract.
        let more = unsafe { read_more(bdev_io.as_ptr()) };
        fresh.fills = ty == Some(IoType::ZeroCopy) && more.start;
        // SAFETY: by this function's contract.
        let handle = unsafe { Handle::new(bdev_io, driver_ctx, fresh) };
        handle.set_metadata(raw.md_buf, blocks, metadata_size);
        handle.set_fused(
            more.fused_iovs,
            u32::try_from(more.fused_iovcnt).unwrap_or(0),
        );
        Self::rare(handle, ty, lba, blocks, &more)
    }

    fn rare(
        handle: Handle,
        ty: Option<IoType>,
        lba: Lba,
        blocks: Blocks,
        more: &spdk_sys::spdk_shim_request_more,
    ) -> Self {
        let range = |handle, io| RangeRequest {
            handle,
            io,
            lba,
            blocks,
        };
        match ty {
            Some(io @ IoType::Unmap) => Self::Unmap(range(handle, io)),
            Some(io @ IoType::WriteZeroes) => Self::WriteZeroes(range(handle, io)),
            Some(io @ IoType::Flush) => Self::Flush(range(handle, io)),
            Some(IoType::Reset) => Self::Reset(ResetRequest { handle }),
            Some(IoType::Compare) => Self::Compare(CompareRequest {
                handle,
                lba,
                blocks,
            }),
            Some(IoType::CompareAndWrite) => Self::CompareAndWrite(CompareAndWriteRequest {
                handle,
                lba,
                blocks,
            }),
            Some(IoType::Copy) => Self::Copy(CopyRequest {
                handle,
                lba,
                from: Lba(more.src_offset_blocks),
                blocks,
            }),
            Some(IoType::Abort) => Self::Abort(AbortRequest {
                handle,
                victim: RequestId(more.victim.addr()),
                context: context_addr(more.victim_ctx.addr()),
            }),
            Some(IoType::ZeroCopy) if more.start => Self::ZcopyStart(ZcopyStartRequest {
                handle,
                lba,
                blocks,
                populate: more.populate,
            }),
            Some(IoType::ZeroCopy) => Self::ZcopyEnd(ZcopyEndRequest {
                handle,
                lba,
                blocks,
                commit: more.commit,
            }),
            Some(IoType::SeekData) => Self::SeekData(SeekRequest { handle, lba }),
            Some(IoType::SeekHole) => Self::SeekHole(SeekRequest { handle, lba }),
            _ => Self::Other(OtherRequest { handle }),
        }
    }
}
