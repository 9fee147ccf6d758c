//! The time, as SPDK counts it.

use std::time::Duration;

use spdk_safe::thread::{ticks, ticks_per_second};

/// Since some moment that does not change.
pub(super) fn now() -> Duration {
    let nanos = u128::from(ticks()) * 1_000_000_000 / u128::from(ticks_per_second().max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
