//! Sleeping, intervals and time-outs, on the executor's clock, without an allocation.

mod interval;
mod sleep;
mod timeout;

pub use interval::Interval;
pub use sleep::Sleep;
pub use timeout::{Elapsed, Timeout};

use core::future::Future;
use core::time::Duration;

use crate::{Clock, Spawner};

impl Spawner {
    /// Waits for `duration`, at least.
    ///
    /// # Panics
    /// If the executor's host has no clock, or the executor is closed.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        let clock = self.expect_clock();
        let now = clock.now();
        Sleep::new(*self, now.saturating_add(ticks(clock, duration)), now)
    }

    /// Waits until the clock shows `deadline` ticks.
    ///
    /// # Panics
    /// If the executor's host has no clock, or the executor is closed.
    pub fn sleep_until(&self, deadline: u64) -> Sleep {
        Sleep::new(*self, deadline, self.now())
    }

    /// Ticks every `period`, the first time one period from now.
    ///
    /// # Panics
    /// If the executor's host has no clock, the executor is closed, or the period is 0.
    pub fn interval(&self, period: Duration) -> Interval {
        Interval::new(self, period)
    }

    /// Waits for `future`, but no longer than `limit`; then drops it.
    ///
    /// # Panics
    /// If the executor's host has no clock, or the executor is closed.
    pub fn timeout<F: Future>(&self, limit: Duration, future: F) -> Timeout<F> {
        Timeout::new(self.sleep(limit), future)
    }

    /// The clock's time, in its ticks.
    ///
    /// # Panics
    /// If the executor's host has no clock, or the executor is closed.
    pub fn now(&self) -> u64 {
        self.expect_clock().now()
    }

    pub(crate) fn expect_clock(&self) -> &'static dyn Clock {
        self.open()
            .expect("the executor is closed")
            .clock()
            .expect("the executor's host has no clock: give it one with `Host::clock`")
    }

    /// How long until the next timer is due.
    #[cfg(feature = "std")]
    pub(crate) fn until_next_timer(&self) -> Option<Duration> {
        let deadline = self.engine().next_deadline()?;
        let clock = self.expect_clock();
        let ticks = u128::from(deadline.saturating_sub(clock.now()));
        let nanos = (ticks * 1_000_000_000).div_ceil(u128::from(clock.ticks_per_second()));
        Some(Duration::from_nanos(
            u64::try_from(nanos).unwrap_or(u64::MAX),
        ))
    }
}

/// Waits for `duration`, at least, on the executor whose task calls it.
///
/// # Panics
/// Outside a task (there, use [`Spawner::sleep`]); if the executor's host has no clock.
#[cfg(feature = "std")]
pub fn sleep(duration: Duration) -> Sleep {
    current("sleep").sleep(duration)
}

/// Ticks every `period`, on the executor whose task calls it.
///
/// # Panics
/// Outside a task (there, use [`Spawner::interval`]); if the executor's host has no clock, or the
/// period is 0.
#[cfg(feature = "std")]
pub fn interval(period: Duration) -> Interval {
    current("interval").interval(period)
}

/// Waits for `future`, but no longer than `limit`, on the executor whose task calls it.
///
/// # Panics
/// Outside a task (there, use [`Spawner::timeout`]); if the executor's host has no clock.
#[cfg(feature = "std")]
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    current("timeout").timeout(limit, future)
}

#[cfg(feature = "std")]
fn current(what: &str) -> Spawner {
    Spawner::current().unwrap_or_else(|| {
        panic!("`{what}` outside a task of this crate's executor: use `Spawner::{what}`")
    })
}

/// A duration in ticks, rounded up.
fn ticks(clock: &dyn Clock, duration: Duration) -> u64 {
    let ticks = (duration.as_nanos()).saturating_mul(u128::from(clock.ticks_per_second()));
    u64::try_from(ticks.div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
}
