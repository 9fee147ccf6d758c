//! What SPDK counts about the I/O of a bdev.
//!
//! C type: `struct spdk_bdev_io_stat` (contract B-91). Only I/O that succeeded is counted, when it completes; what
//! failed is in [`BdevStats::errors`].

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::time::Duration;

use super::call::{BdevCall, Ticket, call};
use super::{BdevDesc, DescMode, DescState, IoChannel};
use crate::error::BdevCallError;
use crate::panic::contain;
use crate::thread::ticks_per_second;
use crate::units::Bytes;

/// I/O that succeeded since the bdev was registered, or its statistics reset: of one channel, or of all that there are
/// and were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BdevStats {
    /// Reads, zero-copy reads among them.
    pub read: IoStats,
    /// Writes, zero-copy writes among them.
    pub write: IoStats,
    /// Unmaps.
    pub unmap: IoStats,
    /// Copies; SPDK 23.01 and newer count them.
    pub copy: Option<IoStats>,
    /// What failed; SPDK 23.01 and newer count it, and only for whole bdevs.
    pub errors: Option<ErrorStats>,
}

/// I/O of one kind. Latencies are from submission to completion, in ticks of
/// [`ticks_per_second`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct IoStats {
    /// How many.
    pub ops: u64,
    /// How much.
    pub bytes: Bytes,
    /// The sum of all latencies.
    pub latency_ticks: u64,
    /// The shortest latency; none before there was an I/O, nor before SPDK 23.01.
    pub min_latency_ticks: Option<u64>,
    /// The longest latency, likewise.
    pub max_latency_ticks: Option<u64>,
}

impl IoStats {
    /// The sum of all latencies.
    #[must_use]
    pub fn latency(&self) -> Duration {
        duration(self.latency_ticks)
    }

    /// The mean latency; `None` if there was no I/O.
    #[must_use]
    pub fn mean_latency(&self) -> Option<Duration> {
        self.latency_ticks.checked_div(self.ops).map(duration)
    }

    /// The shortest latency.
    #[must_use]
    pub fn min_latency(&self) -> Option<Duration> {
        self.min_latency_ticks.map(duration)
    }

    /// The longest latency.
    #[must_use]
    pub fn max_latency(&self) -> Option<Duration> {
        self.max_latency_ticks.map(duration)
    }

    fn read(raw: &spdk_sys::spdk_shim_io_stat, has_min_max: bool) -> Self {
        // SPDK's least latency before the first I/O.
        let has_min_max = has_min_max && raw.min_latency != u64::MAX;
        Self {
            ops: raw.ops,
            bytes: Bytes(raw.bytes),
            latency_ticks: raw.latency,
            min_latency_ticks: has_min_max.then_some(raw.min_latency),
            max_latency_ticks: has_min_max.then_some(raw.max_latency),
        }
    }
}

/// How many I/Os of any kind ended in each `spdk_bdev_io_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ErrorStats {
    /// `FAILED`: without a reason.
    pub failed: u64,
    /// `NVME_ERROR`: with an NVMe status.
    pub nvme: u64,
    /// `SCSI_ERROR`: with a SCSI status.
    pub scsi: u64,
    /// `NOMEM`: the module had no memory and the I/O could not be tried again.
    pub nomem: u64,
    /// `MISCOMPARE`: a compare found something else.
    pub miscompare: u64,
    /// `FIRST_FUSED_FAILED`: the first of two fused commands failed.
    pub first_fused: u64,
    /// `ABORTED`.
    pub aborted: u64,
    /// `AIO_ERROR`: with an errno.
    pub aio: u64,
}

impl ErrorStats {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.failed
            + self.nvme
            + self.scsi
            + self.nomem
            + self.miscompare
            + self.first_fused
            + self.aborted
            + self.aio
    }
}

impl BdevStats {
    fn read(raw: &spdk_sys::spdk_shim_stats) -> Self {
        let kind = |kind| IoStats::read(kind, raw.has_min_max);
        let error = |status: usize| u64::from(raw.errors[status - 1]);
        Self {
            read: kind(&raw.read),
            write: kind(&raw.write),
            unmap: kind(&raw.unmap),
            copy: raw.has_copy.then(|| kind(&raw.copy)),
            errors: raw.has_errors.then(|| ErrorStats {
                failed: error(1),
                nvme: error(2),
                scsi: error(3),
                nomem: error(4),
                miscompare: error(5),
                first_fused: error(6),
                aborted: error(7),
                aio: error(8),
            }),
        }
    }
}

/// What is set back to nothing once it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResetStats {
    /// All of it.
    All,
    /// The shortest and longest latencies.
    MaxMin,
}

impl ResetStats {
    fn raw(reset: Option<Self>) -> spdk_sys::spdk_shim_reset_stats {
        use spdk_sys::spdk_shim_reset_stats as mode;
        match reset {
            None => mode::SPDK_SHIM_RESET_STATS_NONE,
            Some(Self::All) => mode::SPDK_SHIM_RESET_STATS_ALL,
            Some(Self::MaxMin) => mode::SPDK_SHIM_RESET_STATS_MAX_MIN,
        }
    }
}

const WHAT: &str = "statistics";

/// What a version that can't reset says.
const NEEDS: BdevCallError = BdevCallError::NeedsVersion {
    what: "resetting statistics",
    needs: "25.01",
};

impl<M: DescMode, S: DescState> BdevDesc<M, S> {
    /// The statistics of the bdev: of all channels that anybody has or had (`spdk_bdev_get_device_stat`).
    ///
    /// SPDK adds them up one after the other, so one reading misses what a channel had that is destroyed meanwhile; the
    /// next one has it again.
    ///
    /// # Errors
    ///
    /// [`BdevCallError`].
    pub fn stats(&self) -> BdevCall<BdevStats> {
        self.read_stats(None)
    }

    /// As [`stats`](Self::stats), and resets them: channel by channel, so that I/O that completes meanwhile is counted
    /// before or after, but never lost.
    ///
    /// # Errors
    ///
    /// [`BdevCallError::NeedsVersion`] before SPDK 25.01.
    pub fn stats_and_reset(&self, reset: ResetStats) -> BdevCall<BdevStats> {
        self.read_stats(Some(reset))
    }

    fn read_stats(&self, reset: Option<ResetStats>) -> BdevCall<BdevStats> {
        call(self.core(), WHAT, |ticket, bdev| {
            let ctx = ticket.into_raw();
            // SAFETY: the ticket keeps the bdev; the callback comes once, on this thread, unless there is an error.
            let rc = unsafe {
                spdk_sys::spdk_shim_bdev_stats(
                    bdev.as_ptr(),
                    ResetStats::raw(reset),
                    Some(stats_callback),
                    ctx,
                )
            };
            if rc != 0 {
                // SAFETY: SPDK did not take it.
                let ticket = unsafe { Ticket::<BdevStats>::from_raw(ctx) };
                let error = match rc == -libc::ENOTSUP {
                    true => Err(NEEDS),
                    false => ticket.check(rc).map(|()| BdevStats::default()),
                };
                ticket.answer(error);
            }
        })
    }
}

/// # Safety
///
/// SPDK calls this once, on the thread that asked, with the ticket that it was given; `stats` is readable if `rc` is 0.
unsafe extern "C" fn stats_callback(
    ctx: *mut c_void,
    rc: i32,
    stats: *const spdk_sys::spdk_shim_stats,
) {
    contain("the statistics of a bdev", || {
        // SAFETY: by this function's contract.
        let ticket = unsafe { Ticket::<BdevStats>::from_raw(ctx) };
        // SAFETY: by this function's contract.
        let stats = ticket
            .check(rc)
            .map(|()| BdevStats::read(unsafe { &*stats }));
        ticket.answer(stats);
    });
}

impl<M: DescMode> IoChannel<M> {
    /// The statistics of this channel (`spdk_bdev_get_io_stat`): of all I/O to the bdev on this thread since its first
    /// channel here.
    ///
    /// # Errors
    ///
    /// [`BdevCallError`].
    pub fn stats(&self) -> Result<BdevStats, BdevCallError> {
        self.read_stats(None)
    }

    /// As [`stats`](Self::stats), and resets them.
    ///
    /// # Errors
    ///
    /// [`BdevCallError::NeedsVersion`] before SPDK 25.01.
    pub fn stats_and_reset(&self, reset: ResetStats) -> Result<BdevStats, BdevCallError> {
        self.read_stats(Some(reset))
    }

    fn read_stats(&self, reset: Option<ResetStats>) -> Result<BdevStats, BdevCallError> {
        let core = self.core();
        core.check()?;
        let Some((channel, _desc)) = core.raw() else {
            return Err(super::call::removed(&core.desc));
        };
        let mut stats = MaybeUninit::zeroed();
        // SAFETY: the channel is not put, and its thread is current, so the bdev is there; `stats` is written to.
        let rc = unsafe {
            spdk_sys::spdk_shim_channel_stats(
                core.desc.bdev().as_ptr(),
                channel,
                ResetStats::raw(reset),
                stats.as_mut_ptr(),
            )
        };
        if rc != 0 {
            return Err(NEEDS);
        }
        // SAFETY: integers and booleans, zeroed and then written by C.
        Ok(BdevStats::read(unsafe { stats.assume_init_ref() }))
    }
}

/// How long `ticks` are.
pub(super) fn duration(ticks: u64) -> Duration {
    let hz = u128::from(ticks_per_second().max(1));
    let nanos = u128::from(ticks) * 1_000_000_000 / hz;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
