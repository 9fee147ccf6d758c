//! A load generator on `spdk-safe` that drives any bdev: so many I/Os in flight, and when one is done, its slot begins
//! the next.
//!
//! [`run`] works on a channel and on the thread that it belongs to; [`drive`] opens a bdev by its name, and runs on as
//! many SPDK threads as one likes. What happens for each I/O is in `slot.rs` alone.

mod drive;
mod histogram;
pub mod pattern;
mod slot;

use std::time::Duration;

use crate::client::Order;

pub use drive::{Driver, drive};
pub use histogram::Histogram;
pub use slot::run;

/// When a load is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// After so many I/Os, on each thread.
    Count(u64),
    /// When so much time has passed, and what is in flight then is done.
    Time(Duration),
}

/// What a load does, on each of its threads.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many of a hundred I/Os read; the others write.
    pub reads: u8,
    /// I/Os in flight.
    pub depth: u32,
    /// The size of an I/O in blocks.
    pub io_blocks: u32,
    /// Which places of the bdev come one after the other.
    pub order: Order,
    /// When it is over.
    pub end: End,
    /// Whether each I/O's latency goes into the histogram, which costs a look at the clock.
    pub latency: bool,
    /// What is written follows the [`pattern`] of this seed, and what is read is compared with it: all that is
    /// read must have been written so before.
    pub verify: Option<u64>,
}

/// What became of a load.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// I/Os that were completed, failed ones among them.
    pub completed: u64,
    /// I/Os that failed.
    pub failed: u64,
    /// The first block that was read and did not hold what it should have.
    pub mismatch: Option<pattern::Mismatch>,
    /// From before the first submission until after the last completion; of several threads the longest.
    pub wall: Duration,
    /// Of that, the time that the threads had a core, the sum of all.
    pub cpu: Duration,
    /// I/Os per second of a core's time; the sum of all threads.
    pub rate: f64,
    /// How long the I/Os took, if that was asked for.
    pub latency: Histogram,
}

impl Done {
    /// This, and what another thread did at the same time.
    fn and(&mut self, other: &Self) {
        self.completed += other.completed;
        self.failed += other.failed;
        self.mismatch = self.mismatch.take().or(other.mismatch);
        self.wall = self.wall.max(other.wall);
        self.cpu += other.cpu;
        self.rate += other.rate;
        self.latency.add(&other.latency);
    }
}
