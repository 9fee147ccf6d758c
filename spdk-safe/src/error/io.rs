//! I/O.

use std::fmt;

use thiserror::Error;

use super::{Errno, ThreadError};
use crate::env::AllocError;
use crate::units::{Blocks, Bytes, Lba};

/// What an I/O was to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IoType {
    /// Read blocks into memory.
    Read,
    /// Write blocks from memory.
    Write,
    /// Tell the device that the contents of a range are no longer needed.
    Unmap,
    /// Make a range read as zeroes.
    WriteZeroes,
    /// Make completed writes of a range durable.
    Flush,
    /// Abort what is outstanding and reset the device.
    Reset,
    /// Compare blocks with memory.
    Compare,
    /// Compare blocks with memory and, if they are equal, write others in their place, as one step.
    CompareAndWrite,
    /// Copy blocks within the device.
    Copy,
    /// Reach a range in the device's own memory.
    ZeroCopy,
    /// Find the next block that has data.
    SeekData,
    /// Find the next block that has none.
    SeekHole,
    /// Abort another I/O.
    Abort,
}

impl IoType {
    /// The first SPDK that has it, if that is newer than the oldest that we support.
    pub(crate) const fn since(self) -> Option<(u32, u32)> {
        match self {
            Self::Copy => Some((23, 1)),
            Self::SeekData | Self::SeekHole => Some((22, 9)),
            _ => None,
        }
    }
}

impl fmt::Display for IoType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Unmap => "unmap",
            Self::WriteZeroes => "write_zeroes",
            Self::Flush => "flush",
            Self::Reset => "reset",
            Self::Compare => "compare",
            Self::CompareAndWrite => "compare_and_write",
            Self::Copy => "copy",
            Self::ZeroCopy => "zero-copy",
            Self::SeekData => "seek_data",
            Self::SeekHole => "seek_hole",
            Self::Abort => "abort",
        })
    }
}

/// How a failed I/O ended, in the words of whoever failed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct IoStatus {
    /// What kind of failure it was.
    pub cause: IoCause,
    /// As NVMe has it; SPDK translates other causes (`spdk_bdev_io_get_nvme_status`).
    pub nvme: NvmeStatus,
    /// Dword 0 of an NVMe completion.
    pub cdw0: u32,
    /// As SCSI has it; SPDK translates other causes (`spdk_bdev_io_get_scsi_status`).
    pub scsi: ScsiStatus,
    /// The errno of an I/O that Linux AIO failed (`spdk_bdev_io_get_aio_status`, SPDK 21.01 and newer).
    pub errno: Option<Errno>,
}

/// Why an I/O failed (`enum spdk_bdev_io_status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IoCause {
    /// The bdev says no more than that.
    Failed,
    /// It was aborted: by a reset, an abort, or because its device went.
    Aborted,
    /// A compare found something else.
    Miscompare,
    /// The first half of a fused command failed.
    FirstFusedFailed,
    /// An NVMe status; it stands in [`IoStatus::nvme`].
    Nvme,
    /// A SCSI status; it stands in [`IoStatus::scsi`].
    Scsi,
    /// An errno of Linux AIO; it stands in [`IoStatus::errno`].
    Aio,
    /// A cause that this crate has no name for.
    Other,
}

impl IoStatus {
    /// Takes over what the shim read.
    pub(crate) fn of(raw: &spdk_sys::spdk_shim_io_status) -> Self {
        use spdk_sys::spdk_bdev_io_status as status;
        let cause = match raw.status {
            // Not a name that bindgen finds in every version.
            -8 => IoCause::Aio,
            raw => match status(raw) {
                status::SPDK_BDEV_IO_STATUS_FAILED | status::SPDK_BDEV_IO_STATUS_NOMEM => {
                    IoCause::Failed
                }
                status::SPDK_BDEV_IO_STATUS_ABORTED => IoCause::Aborted,
                status::SPDK_BDEV_IO_STATUS_MISCOMPARE => IoCause::Miscompare,
                status::SPDK_BDEV_IO_STATUS_FIRST_FUSED_FAILED => IoCause::FirstFusedFailed,
                status::SPDK_BDEV_IO_STATUS_NVME_ERROR => IoCause::Nvme,
                status::SPDK_BDEV_IO_STATUS_SCSI_ERROR => IoCause::Scsi,
                _ => IoCause::Other,
            },
        };
        Self {
            cause,
            nvme: NvmeStatus {
                sct: raw.nvme_sct as u8,
                sc: raw.nvme_sc as u8,
            },
            cdw0: raw.cdw0,
            scsi: ScsiStatus {
                status: raw.scsi_sc as u8,
                sense_key: raw.scsi_sk as u8,
                asc: raw.scsi_asc as u8,
                ascq: raw.scsi_ascq as u8,
            },
            errno: (raw.aio_result != 0).then(|| Errno::new(raw.aio_result)),
        }
    }
}

impl fmt::Display for IoStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.cause, self.errno) {
            (IoCause::Aio, Some(errno)) => write!(f, "{errno}"),
            (IoCause::Scsi, _) => write!(f, "{}", self.scsi),
            (IoCause::Aborted, _) => write!(f, "aborted ({})", self.nvme),
            (IoCause::Miscompare, _) => write!(f, "the blocks differ ({})", self.nvme),
            _ => write!(f, "{}", self.nvme),
        }
    }
}

/// A SCSI status with its sense data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScsiStatus {
    /// Status code.
    pub status: u8,
    /// Sense key.
    pub sense_key: u8,
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
}

impl fmt::Display for ScsiStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SCSI status {:02x}, sense {:x}/{:02x}/{:02x}",
            self.status, self.sense_key, self.asc, self.ascq
        )
    }
}

/// Status of a failed I/O as NVMe has it: status code type and status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NvmeStatus {
    /// Status code type.
    pub sct: u8,
    /// Status code.
    pub sc: u8,
}

impl fmt::Display for NvmeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NVMe status {:02x}/{:02x}", self.sct, self.sc)
    }
}

/// Why an I/O was refused or failed.
///
/// The variants up to [`Unsupported`](Self::Unsupported) are found before SPDK sees the I/O (design rule 11):
/// SPDK checks only some of them, and hangs or overruns on the others (contract B-31, B-36, B-41, B-80).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IoError {
    /// Made on the wrong thread.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// No blocks. SPDK may never complete such an I/O (B-36).
    #[error("{io} of 0 blocks at {lba}")]
    Empty {
        /// What was asked.
        io: IoType,
        /// Where.
        lba: Lba,
    },
    /// The range does not lie within the bdev.
    #[error("{io} of {blocks} at {lba} does not fit a bdev of {capacity}")]
    Range {
        /// What was asked.
        io: IoType,
        /// Where.
        lba: Lba,
        /// How much.
        blocks: Blocks,
        /// What the bdev has.
        capacity: Blocks,
    },
    /// The length of the data is not a whole number of blocks. `BdevDesc::alloc` makes buffers that fit.
    #[error(
        "{io} at {lba}: {len} of data are not a whole number of blocks of {block_size} B; `alloc` makes buffers that fit"
    )]
    Length {
        /// What was asked.
        io: IoType,
        /// Where.
        lba: Lba,
        /// Of the buffer.
        len: Bytes,
        /// Of the bdev.
        block_size: u32,
    },
    /// The buffer does not start where the bdev needs it to. `BdevDesc::alloc` makes buffers that fit.
    #[error(
        "{io} at {lba}: the bdev needs buffers aligned to {align} B; `alloc` makes buffers that fit"
    )]
    Misaligned {
        /// What was asked.
        io: IoType,
        /// Where.
        lba: Lba,
        /// In bytes.
        align: usize,
    },
    /// The data of a WRITE request is lent for reading only. Read into another buffer.
    #[error("{io} at {lba}: the data of a WRITE request can't be read into")]
    Direction {
        /// What was asked.
        io: IoType,
        /// Where.
        lba: Lba,
    },
    /// There is nothing in the buffer: neither a read nor the program has filled it. Fill it first.
    #[error("{io} at {lba}: nothing was put into the buffer yet; read into it, or fill it, first")]
    NoContents {
        /// What was asked.
        io: IoType,
        /// Where.
        lba: Lba,
    },
    /// The metadata does not fit: the bdev has none in a buffer of its own, or another size of it.
    #[error(
        "{io} of {blocks} at {lba}: {len} of metadata, where the bdev has {metadata_size} B for each block in a buffer \
         of its own"
    )]
    Metadata {
        /// What was asked.
        io: IoType,
        /// Where.
        lba: Lba,
        /// How much.
        blocks: Blocks,
        /// Of the metadata buffer.
        len: Bytes,
        /// For each block, in a separate buffer; 0 if the bdev has none there.
        metadata_size: u32,
    },
    /// More than 30 pieces of memory for one block, where SPDK splits the I/O: before 21.01 it never completes such a
    /// one. Use larger pieces, or an I/O that does not cross a boundary of the bdev.
    #[error(
        "{io} of {blocks} at {lba}: it is split, and more than 30 pieces of its memory make up less than a block of \
         {block_size} B, which this SPDK can't do"
    )]
    Crumbs {
        /// What was asked.
        io: IoType,
        /// Where.
        lba: Lba,
        /// How much.
        blocks: Blocks,
        /// Bytes of a block.
        block_size: u32,
    },
    /// The two buffers of a compare-and-write differ in length, or are longer than what the bdev changes as one step.
    #[error(
        "{io} at {lba}: {compare} to compare and {write} to write; both must be equal, and at most {unit} (the bdev's \
         atomic unit)"
    )]
    Atomic {
        /// What was asked.
        io: IoType,
        /// Where.
        lba: Lba,
        /// Of the first buffer.
        compare: Bytes,
        /// Of the second buffer.
        write: Bytes,
        /// What the bdev can do as one step (`spdk_bdev_get_acwu`).
        unit: Blocks,
    },
    /// Source and target of a copy overlap. Copy in steps that do not.
    #[error("{io} of {blocks} from {from} to {lba}: the ranges overlap")]
    Overlap {
        /// What was asked.
        io: IoType,
        /// To where.
        lba: Lba,
        /// From where.
        from: Lba,
        /// How much.
        blocks: Blocks,
    },
    /// What a loop does after each I/O panicked; the loop is over.
    #[error("{io} at {lba}: the step of the loop panicked; the log has its message")]
    Panic {
        /// What it did.
        io: IoType,
        /// Where it was.
        lba: Lba,
    },
    /// Past the end of a zero-copy's memory.
    #[error("{io} at {lba}: {len} from byte {} on lie past its end ({size})", offset.0)]
    Window {
        /// What it is.
        io: IoType,
        /// Where.
        lba: Lba,
        /// The first byte.
        offset: Bytes,
        /// How many.
        len: Bytes,
        /// What there is.
        size: Bytes,
    },
    /// There was no buffer to read into.
    #[error(transparent)]
    Alloc(#[from] AllocError),
    /// The bdev was removed, or its descriptor closed.
    #[error("{io} at {lba}: the bdev was removed, or its descriptor closed")]
    Removed {
        /// What was asked.
        io: IoType,
        /// Where.
        lba: Lba,
    },
    /// The bdev does not do this.
    #[error("the bdev does not support {io}")]
    Unsupported {
        /// What was asked.
        io: IoType,
    },
    /// The SPDK that the program is linked with can't do this. Link a newer one.
    #[error(
        "{io} needs SPDK {major}.{minor:02}, and this is {}",
        crate::app::spdk_version()
    )]
    NeedsVersion {
        /// What was asked.
        io: IoType,
        /// Of the first SPDK that has it.
        major: u32,
        /// Of the first SPDK that has it.
        minor: u32,
    },
    /// It was aborted before SPDK had it: see [`Batch`](crate::bdev::Batch).
    #[error("{io} at {lba} was aborted before it was submitted")]
    Aborted {
        /// What was asked.
        io: IoType,
        /// Where.
        lba: Lba,
    },
    /// SPDK refused the submission; nothing was started.
    #[error("SPDK refused {io} at {lba}: {errno}")]
    Submit {
        /// What was asked.
        io: IoType,
        /// Where.
        lba: Lba,
        /// Its answer.
        errno: Errno,
    },
    /// The device failed it.
    #[error("{io} of {blocks} at {lba} failed: {status}")]
    Failed {
        /// What was asked.
        io: IoType,
        /// Where.
        lba: Lba,
        /// How much.
        blocks: Blocks,
        /// What the device said.
        status: IoStatus,
    },
}

impl IoError {
    /// Whether it was aborted: by a [`Batch`](crate::bdev::Batch), a reset, or because its device went.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        match self {
            Self::Aborted { .. } => true,
            Self::Failed { status, .. } => status.cause == IoCause::Aborted,
            _ => false,
        }
    }

    /// Whether a compare found something else.
    #[must_use]
    pub fn is_miscompare(&self) -> bool {
        matches!(self, Self::Failed { status, .. } if status.cause == IoCause::Miscompare)
    }

    /// What the device said, if it was the device that failed the I/O.
    #[must_use]
    pub fn status(&self) -> Option<IoStatus> {
        match self {
            Self::Failed { status, .. } => Some(*status),
            _ => None,
        }
    }
}
