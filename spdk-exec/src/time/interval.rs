//! A timer that repeats.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use pin_project_lite::pin_project;

use super::{Sleep, ticks};
use crate::Spawner;

pin_project! {
    /// Ticks every period; made by [`Spawner::interval`].
    ///
    /// Ticks keep to the grid that it began with: one that comes late does not delay the next, and
    /// those that were missed altogether are told by the next tick's count, not caught up.
    #[derive(Debug)]
    #[must_use = "an Interval does nothing unless its ticks are awaited"]
    pub struct Interval {
        spawner: Spawner,
        period: u64,
        #[pin]
        sleep: Sleep,
    }
}

impl Interval {
    pub(super) fn new(spawner: &Spawner, period: Duration) -> Self {
        let period = ticks(spawner.expect_clock(), period);
        assert!(period > 0, "an interval's period must not be 0");
        let now = spawner.now();
        Self {
            spawner: *spawner,
            period,
            sleep: Sleep::new(*spawner, now.saturating_add(period), now),
        }
    }

    /// Waits for the next tick: how many periods passed since the last, 1 unless some were missed.
    pub async fn tick(self: &mut Pin<&mut Self>) -> u64 {
        poll_fn(|cx| self.as_mut().poll_tick(cx)).await
    }

    /// As [`tick`](Self::tick), for use in a `poll` function.
    pub fn poll_tick(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        use core::future::Future;

        let mut this = self.project();
        core::task::ready!(this.sleep.as_mut().poll(cx));
        let due = this.sleep.deadline();
        let now = match this.spawner.open() {
            Ok(_) => this.spawner.now(),
            Err(_) => due,
        };
        let passed = (now.saturating_sub(due) / *this.period).saturating_add(1);
        let next = due.saturating_add(passed.saturating_mul(*this.period));
        this.sleep.reset(next);
        Poll::Ready(passed)
    }
}
