//! Errors: one enum for each kind of operation, and the errno that is behind some of them.
//!
//! An operation that consumes a handle gives it back beside its error. -ENOMEM from a submit is not in here: it
//! is never an error to a caller, the I/O waits and goes on.

use std::fmt;

use thiserror::Error;

use crate::units::{Blocks, Bytes, Lba, Mib};

/// An errno as SPDK returns it, always positive here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

impl Errno {
    /// Takes a return code of SPDK's: `Err` for a negated errno.
    pub(crate) fn check(rc: i32) -> Result<(), Self> {
        if rc < 0 { Err(Self(-rc)) } else { Ok(()) }
    }

    /// The errno that `code` (of either sign) is.
    pub(crate) const fn new(code: i32) -> Self {
        Self(code.wrapping_abs())
    }

    /// The number, as in `errno.h`.
    #[must_use]
    pub const fn code(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}

/// A call was made on a thread that must not make it (contract 0.2: SPDK itself would abort, leak or corrupt).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ThreadError {
    /// No SPDK thread is current. Make the call inside `App::run`, or in something that it started.
    #[error("this OS thread runs no SPDK thread right now; make the call inside `App::run`")]
    NoThread,
    /// Another SPDK thread is current than the one that owns the handle. Use it where it was made.
    #[error("the handle belongs to another SPDK thread; use it on the thread that made it")]
    WrongThread,
    /// The app ends: main is over, and what is open is being closed. Nothing can be opened any more.
    #[error("the app is ending, and nothing can be opened any more")]
    Ending,
    /// The call is for the app thread only. Make it there, with its [`Spdk`](crate::app::Spdk).
    #[error("this call is for SPDK's app thread only; make it where `App::run` runs your main")]
    NotAppThread,
}

/// Why an app did not start, or did not end well.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AppError {
    /// DPDK initialises once per process, and an app ran before. Start another process.
    #[error(
        "SPDK was started in this process before, and DPDK initialises only once; start another process"
    )]
    StartedBefore,
    /// A name, path or argument holds a NUL byte. Take it out.
    #[error("{what} {text:?} holds a NUL byte")]
    Nul {
        /// Which option.
        what: &'static str,
        /// What was given.
        text: String,
    },
    /// A value that can't be: the text says which and what would do.
    #[error("{what}: {got} is out of range ({allowed})")]
    OutOfRange {
        /// Which option.
        what: &'static str,
        /// What was given.
        got: String,
        /// What would do.
        allowed: &'static str,
    },
    /// SPDK can't start in so little memory, and some versions would crash instead of saying so.
    #[error(
        "SPDK {version} needs at least {least} of memory with these pools, not {given}; give it more with \
         `.memory(..)`, or smaller pools with `.pools(Pools::small())`"
    )]
    TooLittleMemory {
        /// What was given.
        given: Mib,
        /// What it takes.
        least: Mib,
        /// The SPDK that the program is linked with.
        version: String,
    },
    /// The JSON configuration could not be handed to SPDK.
    #[error("could not write the JSON configuration to a temporary file: {0}")]
    Config(#[source] std::io::Error),
    /// Pool sizes that SPDK refuses.
    #[error("SPDK refuses these pool sizes: {0}")]
    Pools(Errno),
    /// SPDK did not start; its log, just above, says why. Too little memory is the most frequent
    /// cause; next comes another SPDK process on the same core: choose another one, or `.share_cores()`.
    #[error(
        "SPDK did not start ({0}); its log says why. Often it is memory (without hugepages and with default pools \
         it wants 320 MiB on 20.07, 384 MiB on 26.05), or another SPDK process on the same core"
    )]
    Start(Errno),
    /// A signal, or an RPC, asked the app to stop before its main had ended.
    #[error("the app was asked to stop before its main had ended")]
    Stopped,
}

/// Why a bdev was not created or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BdevError {
    /// Made on the wrong thread.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// Empty, or with a NUL byte inside. Choose another name.
    #[error("{name:?} can't be the name of a bdev (it is empty or holds a NUL byte)")]
    Name {
        /// What was given.
        name: String,
    },
    /// The name is taken. Choose another, or delete the other one.
    #[error("there is a bdev named {name:?} already; choose another name or delete that one")]
    Exists {
        /// What was given.
        name: String,
    },
    /// There is no such bdev, or it is of another kind.
    #[error("there is no such bdev named {name:?}")]
    NotFound {
        /// What was given.
        name: String,
    },
    /// A size that can't be: the text says what would do.
    #[error("bdev {name:?}: {what} is {got}, which must be {allowed}")]
    Geometry {
        /// The bdev.
        name: String,
        /// Which value.
        what: &'static str,
        /// What was given.
        got: u64,
        /// What would do.
        allowed: &'static str,
    },
    /// The module was not given to the app builder. Add `.module(&MODULE)` before `run`.
    #[error(
        "module {module:?} is unknown to SPDK; give it to the app builder: `.module(&..)` before `run`"
    )]
    ModuleNotAdded {
        /// Its name.
        module: String,
    },
    /// SPDK's memory is used up. Give the app more: `.memory(..)` on its builder.
    #[error("SPDK has no memory left for bdev {name:?}; give the app more with `.memory(..)`")]
    NoMemory {
        /// The bdev.
        name: String,
    },
    /// SPDK refused, for a reason of its own.
    #[error("SPDK refused bdev {name:?}: {errno}")]
    Refused {
        /// The bdev.
        name: String,
        /// Its answer.
        errno: Errno,
    },
}

/// Why a descriptor was not opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Made on the wrong thread.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// There is no bdev of this name, or it is being removed.
    #[error("there is no bdev named {name:?}, or it is being removed")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// It is claimed, so it can't be opened for writing. Open it read-only, or delete what uses it.
    #[error(
        "bdev {name:?} is claimed for writing by module {by:?}; open it read-only, or delete what uses it"
    )]
    Claimed {
        /// What was asked for.
        name: String,
        /// Who holds the claim, if SPDK says so.
        by: String,
    },
    /// SPDK refused otherwise.
    #[error("SPDK can't open bdev {name:?}: {errno}")]
    Refused {
        /// What was asked for.
        name: String,
        /// Its answer.
        errno: Errno,
    },
}

/// Why a descriptor was not claimed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Made on the wrong thread.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// Somebody has it already. Delete what uses it, or pick another bdev.
    #[error(
        "bdev {name:?} is claimed for writing by module {by:?}; delete what uses it, or pick another bdev"
    )]
    Claimed {
        /// The bdev.
        name: String,
        /// Who holds the claim.
        by: String,
    },
    /// The bdev was removed meanwhile.
    #[error("bdev {name:?} was removed")]
    Removed {
        /// The bdev.
        name: String,
    },
    /// The module was not given to the app builder. Add `.module(&MODULE)` before `run`.
    #[error(
        "module {module:?} is unknown to SPDK; give it to the app builder: `.module(&..)` before `run`"
    )]
    ModuleNotAdded {
        /// Its name.
        module: String,
    },
    /// SPDK refused otherwise.
    #[error("SPDK can't claim bdev {name:?}: {errno}")]
    Refused {
        /// The bdev.
        name: String,
        /// Its answer.
        errno: Errno,
    },
}

/// Why there is no channel.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// Made on the wrong thread.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// The bdev was removed, or its descriptor closed.
    #[error("bdev {name:?} was removed, or its descriptor closed")]
    Removed {
        /// The bdev.
        name: String,
    },
    /// SPDK gave none: out of memory, or the module below refused.
    #[error(
        "SPDK gives no channel for bdev {name:?} (out of memory, or its module refused; see the log)"
    )]
    Refused {
        /// The bdev.
        name: String,
    },
    /// A block device asked for a channel of its own bdev while it makes that channel. Give it another base.
    #[error("bdev {name:?} can't be its own base: its channel is being made right now")]
    Cycle {
        /// The bdev.
        name: String,
    },
    /// A device of ours can't make one, in its own words.
    #[error("{0}")]
    Device(String),
}

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
