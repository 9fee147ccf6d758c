//! I/O.

use std::fmt;

use thiserror::Error;

use super::{Errno, ThreadError};
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
        })
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
    /// The data of a request that goes the other way: that of a WRITE is lent for reading only, and that of a READ has
    /// no contents before it was read into.
    #[error(
        "{io} at {lba}: the data of a WRITE request can't be read into, nor that of a READ be written before it was \
         read"
    )]
    Direction {
        /// What was asked.
        io: IoType,
        /// Where.
        lba: Lba,
    },
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
        status: NvmeStatus,
    },
}
