//! Latency histograms of a bdev.
//!
//! C headers: `include/spdk/bdev.h`, `include/spdk/histogram_data.h` (contract B-92).

use std::ffi::c_void;
use std::time::Duration;

use super::call::{BdevCall, Ticket, call};
use super::stats::duration;
use super::{BdevDesc, DescMode, DescState};
use crate::error::BdevCallError;
use crate::panic::contain;

/// How many I/Os took how long, from submission to completion, over all channels that there are: those that were put
/// take their counts along.
///
/// The buckets are SPDK's: 128 for each power of two, so an edge is off by less than 1 % of the latency.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    /// In ticks, without those that are empty.
    buckets: Vec<Ticks>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    start: u64,
    end: u64,
    count: u64,
}

/// I/Os that took at least `start` and less than `end`; both are cut to whole nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bucket {
    /// The lower edge.
    pub start: Duration,
    /// The upper edge.
    pub end: Duration,
    /// How many.
    pub count: u64,
}

impl Histogram {
    /// How many I/Os there are in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }

    /// The buckets that are not empty, the shortest latencies first.
    pub fn buckets(&self) -> impl ExactSizeIterator<Item = Bucket> + '_ {
        self.buckets.iter().map(|bucket| Bucket {
            start: duration(bucket.start),
            end: duration(bucket.end),
            count: bucket.count,
        })
    }

    /// A latency that `percent` of the I/Os did not exceed: the upper edge of the bucket where that many are reached.
    /// `None` if there are no I/Os. Values below 0 count as 0, above 100 as 100.
    ///
    /// ```
    /// # fn f(histogram: &spdk_safe::bdev::Histogram) {
    /// let (p50, p99, p999) = (histogram.percentile(50.0), histogram.percentile(99.0), histogram.percentile(99.9));
    /// # }
    /// ```
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let total = self.total();
        // Rounded up to a whole I/O, the first at least.
        let rank = ((total as f64 * (percent.clamp(0.0, 100.0) / 100.0)).ceil() as u64)
            .clamp(1, total.max(1));
        let mut so_far = 0;
        self.buckets
            .iter()
            .find(|bucket| {
                so_far += bucket.count;
                so_far >= rank
            })
            .map(|bucket| duration(bucket.end))
    }
}

const WHAT: &str = "enabling or disabling the histogram";

impl<M: DescMode, S: DescState> BdevDesc<M, S> {
    /// Has SPDK keep histograms of the bdev's I/O, for all its channels, also those to come
    /// (`spdk_bdev_histogram_enable`). They begin empty, unless they are enabled already. It costs a little for each
    /// I/O, and some 60 KiB for each channel.
    ///
    /// # Errors
    ///
    /// [`BdevCallError::Busy`] while another such call is under way.
    pub fn enable_histogram(&self) -> BdevCall<()> {
        self.set_histogram(true)
    }

    /// Ends the histograms, and forgets them.
    ///
    /// # Errors
    ///
    /// As [`enable_histogram`](Self::enable_histogram).
    pub fn disable_histogram(&self) -> BdevCall<()> {
        self.set_histogram(false)
    }

    fn set_histogram(&self, enable: bool) -> BdevCall<()> {
        call(self.core(), WHAT, |ticket: Ticket<()>, bdev| {
            // SAFETY: the ticket keeps the bdev; the callback comes once, on this thread.
            unsafe {
                spdk_sys::spdk_bdev_histogram_enable(
                    bdev.as_ptr(),
                    Some(enabled_callback),
                    ticket.into_raw(),
                    enable,
                );
            }
        })
    }

    /// The merged histogram of all channels (`spdk_bdev_histogram_get`).
    ///
    /// An RPC can enable histograms in another layout, from SPDK 25.05 on. Channels that are made later still get the
    /// usual one there, and SPDK leaves them out.
    ///
    /// # Errors
    ///
    /// [`BdevCallError::NoHistogram`] unless it was enabled. (Without any channel SPDK does not know, and it is empty.)
    pub fn histogram(&self) -> BdevCall<Histogram> {
        call(
            self.core(),
            "the histogram",
            |ticket: Ticket<Histogram>, bdev| {
                // SAFETY: the ticket keeps the bdev; the callback comes once, on this thread.
                unsafe {
                    spdk_sys::spdk_shim_histogram_get(
                        bdev.as_ptr(),
                        Some(histogram_callback),
                        ticket.into_raw(),
                    );
                }
            },
        )
    }
}

/// # Safety
///
/// SPDK calls this once, on the thread that asked, with the ticket that it was given.
unsafe extern "C" fn enabled_callback(ctx: *mut c_void, status: i32) {
    contain("a histogram", || {
        // SAFETY: by this function's contract.
        let ticket = unsafe { Ticket::<()>::from_raw(ctx) };
        let result = ticket.check(status);
        ticket.answer(result);
    });
}

/// # Safety
///
/// SPDK calls this once, on the thread that asked, with the ticket that it was given; `raw` is there if `rc` is 0.
unsafe extern "C" fn histogram_callback(
    ctx: *mut c_void,
    rc: i32,
    raw: *const spdk_sys::spdk_histogram_data,
) {
    contain("a histogram", || {
        // SAFETY: by this function's contract.
        let ticket = unsafe { Ticket::<Histogram>::from_raw(ctx) };
        let result = match rc == -libc::EFAULT {
            true => Err(BdevCallError::NoHistogram {
                name: ticket.name(),
            }),
            false => ticket.check(rc),
        };
        let result = result.map(|()| {
            let mut buckets = Vec::new();
            let ctx = (&raw mut buckets).cast();
            // SAFETY: `raw` is a histogram, and `ctx` what the callback expects; it is called in here only.
            unsafe { spdk_sys::spdk_shim_histogram_each(raw, Some(bucket_callback), ctx) };
            Histogram { buckets }
        });
        ticket.answer(result);
    });
}

/// # Safety
///
/// `ctx` is a `Vec` that nobody else uses.
unsafe extern "C" fn bucket_callback(ctx: *mut c_void, start: u64, end: u64, count: u64) {
    contain("a histogram", || {
        // SAFETY: by this function's contract.
        let buckets = unsafe { &mut *ctx.cast::<Vec<Ticks>>() };
        buckets.push(Ticks {
            start,
            // The last bucket's edge would be 2^64.
            end: if end > start { end } else { u64::MAX },
            count,
        });
    });
}
