//! Requests that few devices know.

use super::children::Parent;
use super::context::Handle;
use super::data::RequestData;
use super::status::RequestStatus;
use super::view::DataView;
use crate::units::{Blocks, Lba};

/// A COMPARE: whether blocks are what is in memory. If not, it ends as [`RequestStatus::Miscompare`].
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct CompareRequest {
    pub(super) handle: Handle,
    pub(super) lba: Lba,
    pub(super) blocks: Blocks,
}

/// A COMPARE_AND_WRITE: writes blocks if they are what is in memory, as one step. If they are not, it ends as
/// [`RequestStatus::Miscompare`].
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct CompareAndWriteRequest {
    pub(super) handle: Handle,
    pub(super) lba: Lba,
    pub(super) blocks: Blocks,
}

impl CompareAndWriteRequest {
    /// What to compare with, for an I/O below.
    pub fn compare_data(&self) -> RequestData {
        // SPDK's compare-and-write has none for either.
        RequestData::new(&self.handle, 0, self.handle.context().len).without_metadata()
    }

    /// What to write, for an I/O below.
    pub fn write_data(&self) -> RequestData {
        // SAFETY: it is a compare-and-write.
        unsafe { RequestData::fused(&self.handle) }
    }

    /// What to compare with, to be looked at.
    pub fn compare_view(&self) -> DataView<'_> {
        self.handle.view()
    }

    /// What to write, to be looked at.
    pub fn write_view(&self) -> DataView<'_> {
        // SAFETY: it is a compare-and-write.
        unsafe { self.handle.fused_view() }
    }
}

/// A COPY of blocks within the device (SPDK 23.01 and newer).
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct CopyRequest {
    pub(super) handle: Handle,
    pub(super) lba: Lba,
    pub(super) from: Lba,
    pub(super) blocks: Blocks,
}

impl CopyRequest {
    /// The first block to copy. The ranges do not overlap, if whoever asked knows what it does.
    #[must_use]
    pub fn from(&self) -> Lba {
        self.from
    }
}

/// Which request an [`AbortRequest`] means.
///
/// SPDK uses the same few again and again: it tells requests apart that are not completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub(super) usize);

/// An ABORT of another request of the same channel. Succeeds if that was aborted: complete it as
/// [`RequestStatus::Aborted`], and then this one.
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct AbortRequest {
    pub(super) handle: Handle,
    pub(super) victim: RequestId,
    /// The address of its context: what the I/O below it is known by.
    pub(super) context: usize,
}

impl AbortRequest {
    /// Which request to abort: what its `id()` said. It may have been completed meanwhile.
    #[must_use]
    pub fn victim(&self) -> RequestId {
        self.victim
    }
}

/// A ZCOPY begins: somebody wants memory with what is in blocks, and keeps it until a [`ZcopyEndRequest`].
///
/// The memory is there, from SPDK's pool.
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct ZcopyStartRequest {
    pub(super) handle: Handle,
    pub(super) lba: Lba,
    pub(super) blocks: Blocks,
    pub(super) populate: bool,
}

impl ZcopyStartRequest {
    /// Whether the memory is to be filled from the blocks; else all of it will be overwritten.
    #[must_use]
    pub fn populate(&self) -> bool {
        self.populate
    }
}

/// A ZCOPY ends.
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct ZcopyEndRequest {
    pub(super) handle: Handle,
    pub(super) lba: Lba,
    pub(super) blocks: Blocks,
    pub(super) commit: bool,
}

impl ZcopyEndRequest {
    /// Whether the memory is to be written to the blocks.
    #[must_use]
    pub fn commit(&self) -> bool {
        self.commit
    }
}

/// A SEEK_DATA or SEEK_HOLE (SPDK 22.09 and newer).
#[derive(Debug)]
#[must_use = "a request that is dropped fails"]
pub struct SeekRequest {
    pub(super) handle: Handle,
    pub(super) lba: Lba,
}

impl SeekRequest {
    /// Where to begin.
    #[must_use]
    pub fn lba(&self) -> Lba {
        self.lba
    }

    /// Ends it well: the first such block at or after [`lba`](Self::lba), or `None` if there is none.
    pub fn complete_at(self, found: Option<Lba>) {
        self.set_found(found);
        self.into_handle().finish(RequestStatus::Success);
    }

    pub(super) fn set_found(&self, found: Option<Lba>) {
        let io = self.handle.context().io;
        // SAFETY: the request is a seek, and not completed.
        unsafe {
            spdk_sys::spdk_shim_request_set_seek(
                io.as_ptr(),
                found.map_or(u64::MAX, |found| found.0),
            );
        }
    }
}
