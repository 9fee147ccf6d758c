//! A closed loop of reads or writes on one malloc bdev: in C, and on the safe client.
//!
//! Each contender does the same: `depth` slots, each with a buffer and at most one I/O; when that is done the slot
//! takes the next place of the bdev, in order or at random, until `count` I/Os were begun. All share the buffers, so
//! that none has better memory than another.
//!
//! | contender | the loop is | and goes on |
//! | --- | --- | --- |
//! | [`C`](Contender::C) | callbacks, `spdk_bdev_{read,write}_blocks` | in the completion |
//! | [`CAgain`](Contender::CAgain) | the same, as a client of its own: shows what the instrument is worth | in the completion |
//! | [`CVectored`](Contender::CVectored) | callbacks, `spdk_bdev_{readv,writev}_blocks` | in the completion |
//! | [`Loop`](Contender::Loop) | `IoChannel::{read,write}_loop`: **the safe client**, in the form made for this | in the completion |
//! | [`Callback`](Contender::Callback) | callbacks, `IoChannel::{read,write}_then` | in the completion |
//! | [`Exec`](Contender::Exec) | **async tasks** on `spdk-exec`, attached to the thread | as the executor has it |
//! | [`ExecRunNow`](Contender::ExecRunNow) | the same, its wakers wrapped into `run_now` by hand | in the completion |
//! | [`OnTheSpot`](Contender::OnTheSpot) | async tasks whose hand-made waker polls them | in the completion |
//! | [`Main`](Contender::Main) | a `FuturesUnordered` in the app's main | in a message |
//! | [`LocalPool`](Contender::LocalPool) | async tasks on `futures`' `LocalPool`, in a poller | in the next pass |

pub(crate) mod c;
mod on_the_spot;
mod rig;
mod safe;
pub mod stats;

use std::time::Duration;

use spdk_safe::app::{App, Builder, LogLevel, Pools};
use spdk_safe::env::AllocError;
use spdk_safe::error::{
    AppError, BdevError, CallError, ChannelError, IoError, JoinError, OpenError, ThreadCreateError,
    ThreadError,
};
use spdk_safe::rpc::ClientError;
use spdk_safe::units::Mib;
use thiserror::Error;

pub(crate) use c::Clock;
pub use c::{count_begin, count_end};
pub use rig::Rig;

/// Who does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// The C loop, which all others are divided by.
    C,
    /// The same code once more, with a descriptor, channel and slots of its own.
    CAgain,
    /// The C loop with an iovec.
    CVectored,
    /// Loops of the safe client.
    Loop,
    /// Callbacks of the safe client.
    Callback,
    /// Tasks on `spdk-exec`.
    Exec,
    /// Tasks on `spdk-exec`, run from within the completion.
    ExecRunNow,
    /// Futures that their waker polls.
    OnTheSpot,
    /// Futures in main.
    Main,
    /// Tasks on `futures::executor::LocalPool`.
    LocalPool,
}

impl Contender {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::C,
        Self::CAgain,
        Self::CVectored,
        Self::Loop,
        Self::Callback,
        Self::Exec,
        Self::ExecRunNow,
        Self::OnTheSpot,
        Self::Main,
        Self::LocalPool,
    ];

    /// Its name in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::C => "C",
            Self::CAgain => "C-again",
            Self::CVectored => "C-vectored",
            Self::Loop => "loop",
            Self::Callback => "callback",
            Self::Exec => "spdk-exec",
            Self::ExecRunNow => "run_now",
            Self::OnTheSpot => "on-the-spot",
            Self::Main => "main",
            Self::LocalPool => "LocalPool",
        }
    }

    /// The one with that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|contender| contender.name() == name)
    }
}

/// What the I/Os do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// They read.
    Read,
    /// They write.
    Write,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Read, Self::Write];

    /// `read` or `write`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// In which order the places of the bdev are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One after the other, over and over.
    Sequential,
    /// Pseudo-random, the same for all contenders that get the same seed, which is not 0.
    Random(u64),
}

/// What one run does.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Reads or writes.
    pub direction: Direction,
    /// I/Os in flight, at most [`Shape::depth`].
    pub depth: u32,
    /// I/Os in all.
    pub count: u64,
    /// In which order.
    pub order: Order,
}

/// What a rig is made of.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The size of the malloc bdev.
    pub disk: Mib,
    /// The size of its blocks in bytes.
    pub block_size: u32,
    /// The size of an I/O in blocks.
    pub io_blocks: u32,
    /// The largest queue depth: so many buffers are made.
    pub depth: u32,
}

impl Default for Shape {
    /// I/Os of 4 KiB on 16 MiB of 512-byte blocks, up to 128 at a time.
    fn default() -> Self {
        Self {
            disk: Mib(16),
            block_size: 512,
            io_blocks: 8,
            depth: 128,
        }
    }
}

impl Shape {
    /// How many I/Os cover the disk.
    #[must_use]
    pub fn places(&self) -> u64 {
        self.disk.0 * (1 << 20) / self.io_bytes()
    }

    /// The size of an I/O in bytes.
    #[must_use]
    pub fn io_bytes(&self) -> u64 {
        u64::from(self.block_size) * u64::from(self.io_blocks)
    }
}

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// I/Os that were completed.
    pub completed: u64,
    /// From before the first submission until after the last completion.
    pub wall: Duration,
    /// Of that, the time that the thread had its core: what others on this machine take away is not in it.
    pub cpu: Duration,
}

impl Ran {
    /// I/Os per second of the core's time.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.completed as f64 / self.cpu.as_secs_f64()
    }
}

/// Why a run, or the rig, failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RigError {
    /// SPDK did not start, or was stopped.
    #[error(transparent)]
    App(#[from] AppError),
    /// The malloc bdev.
    #[error(transparent)]
    Bdev(#[from] BdevError),
    /// Our RAID1, in its words.
    #[error("{0}")]
    Raid1(String),
    /// The safe descriptor.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The safe channel.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The buffers.
    #[error(transparent)]
    Alloc(#[from] AllocError),
    /// The executor or poller.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// The C client said no.
    #[error("the C client could not {what}: {}", std::io::Error::from_raw_os_error(*errno))]
    C {
        /// What it was to do.
        what: &'static str,
        /// Its errno.
        errno: i32,
    },
    /// The rig can't do this work: correct it.
    #[error("{what} must be {allowed}")]
    Work {
        /// What is wrong.
        what: &'static str,
        /// What it may be.
        allowed: String,
    },
    /// I/Os failed: nothing was measured.
    #[error("{failed} I/Os of {contender} failed")]
    Failed {
        /// Whose.
        contender: &'static str,
        /// How many.
        failed: u64,
    },
    /// I/Os of a load failed: nothing was measured.
    #[error("{failed} I/Os of {bdev} failed")]
    Io {
        /// What it was on.
        bdev: String,
        /// How many.
        failed: u64,
    },
    /// What was read is not what was written.
    #[error("{bdev} does not hold what was written: byte {byte} of block {block} is wrong")]
    Mismatch {
        /// What was read.
        bdev: String,
        /// The first block that is wrong.
        block: u64,
        /// The first byte of it that is.
        byte: usize,
    },
    /// The legs of a mirror do not hold the same.
    #[error(
        "{contender} does not mirror: byte {byte} of block {block} of {leg} is not what was written"
    )]
    Leg {
        /// Who.
        contender: &'static str,
        /// The leg.
        leg: String,
        /// The first block that is wrong.
        block: u64,
        /// The first byte of it that is.
        byte: usize,
    },
    /// A thread of a load.
    #[error(transparent)]
    ThreadCreate(#[from] ThreadCreateError),
    /// What ran on a thread of a load.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The same.
    #[error(transparent)]
    Call(#[from] CallError),
    /// SPDK's raid1, which is made by JSON-RPC.
    #[error(transparent)]
    Rpc(#[from] ClientError),
    /// I/O of the rig itself.
    #[error(transparent)]
    OwnIo(#[from] IoError),
    /// A file or folder.
    #[error("{what}: {source}")]
    File {
        /// Which.
        what: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A contender did not read or write what it should have: what it measures is worth nothing.
    #[error("{contender} does not really {direction}: {what}")]
    Untrue {
        /// Who.
        contender: &'static str,
        /// `read` or `write`.
        direction: &'static str,
        /// What was found.
        what: String,
    },
}

/// The app that all measurements run in: no hugepages, no devices, one core.
pub fn app(name: &str) -> Builder {
    App::builder(name)
        .no_huge()
        .no_pci()
        .share_cores()
        .memory(Mib(512))
        .pools(Pools::small())
        .log_level(LogLevel::Warn)
}
