//! How fast a job may be, and how fast it is. Pure: it is told the time.

use std::collections::VecDeque;
use std::time::Duration;

const SECOND: u128 = 1_000_000_000;

/// A token bucket without a store of tokens: it takes what it is asked for, and then waits until that is paid for.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    /// In billionths of a byte, so that many short looks lose nothing.
    owed: u128,
    looked: Duration,
}

impl Bucket {
    /// How long it takes at `now` until nothing is owed, at `rate` bytes a second; `None` if nothing is.
    pub(super) fn wait(&mut self, now: Duration, rate: Option<u64>) -> Option<Duration> {
        let elapsed = now.saturating_sub(self.looked).as_nanos();
        self.looked = now;
        let Some(rate) = rate.map(|rate| u128::from(rate.max(1))) else {
            self.owed = 0;
            return None;
        };
        self.owed = self.owed.saturating_sub(elapsed.saturating_mul(rate));
        let nanos = self.owed.div_ceil(rate);
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        (nanos != 0).then(|| Duration::from_nanos(nanos))
    }

    /// So much is moved now.
    pub(super) fn take(&mut self, bytes: u64) {
        self.owed += u128::from(bytes) * SECOND;
    }
}

/// What a job leaves to users: after each of its windows it rests, if they had I/O meanwhile.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// When the window began that it is at.
    began: Option<Duration>,
    /// Until when it rests.
    until: Option<Duration>,
}

impl Share {
    /// A window begins at `now`.
    pub(super) fn begin(&mut self, now: Duration) {
        (self.began, self.until) = (Some(now), None);
    }

    /// It has ended at `now`, if there was one. If users `had_io` meanwhile, it may take `percent` of the time.
    pub(super) fn end(&mut self, now: Duration, percent: u32, had_io: bool) {
        if let Some(began) = self.began.take().filter(|_| had_io) {
            let percent = percent.clamp(1, 100);
            let took = now.saturating_sub(began);
            let rest = took.saturating_mul(100 - percent) / percent;
            self.until = Some(now.saturating_add(rest));
        }
    }

    /// How long it rests at `now`; `None` if it need not.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        let rest = self.until?.saturating_sub(now);
        (!rest.is_zero()).then_some(rest)
    }
}

/// How many marks it looks back, one a second.
const MARKS: usize = 10;

/// The speed of the last few seconds.
#[derive(Debug, Default)]
pub(super) struct Speed {
    marks: VecDeque<(Duration, u64)>,
}

impl Speed {
    /// At `now` so many blocks are done.
    pub(super) fn note(&mut self, now: Duration, done: u64) {
        let last = self.marks.back().map(|(at, _)| *at);
        if last.is_none_or(|last| now.saturating_sub(last) >= Duration::from_secs(1)) {
            if self.marks.len() == MARKS {
                self.marks.pop_front();
            }
            self.marks.push_back((now, done));
        }
    }

    /// It stands still: what was before says nothing about what comes.
    pub(super) fn stop(&mut self) {
        self.marks.clear();
    }

    /// Blocks a second; `None` if that is not known.
    pub(super) fn rate(&self, now: Duration, done: u64) -> Option<f64> {
        let &(since, before) = self.marks.front()?;
        let seconds = now.saturating_sub(since).as_secs_f64();
        (seconds > 0.0).then(|| done.saturating_sub(before) as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_was_moved_is_paid_for_before_there_is_more() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.wait(ms(0), Some(1000)), None);
        bucket.take(500);
        assert_eq!(bucket.wait(ms(0), Some(1000)), Some(ms(500)));
        assert_eq!(bucket.wait(ms(400), Some(1000)), Some(ms(100)));
        assert_eq!(bucket.wait(ms(500), Some(1000)), None);
        // Nothing is saved up while it does nothing.
        bucket.take(500);
        assert_eq!(bucket.wait(ms(90_000), Some(1000)), None);
        bucket.take(500);
        assert_eq!(bucket.wait(ms(90_000), Some(1000)), Some(ms(500)));
    }

    #[test]
    fn another_rate_counts_for_what_is_still_owed() {
        let mut bucket = Bucket::default();
        bucket.take(1000);
        assert_eq!(bucket.wait(ms(0), Some(10)), Some(ms(100_000)));
        assert_eq!(bucket.wait(ms(0), Some(1000)), Some(ms(1000)));
        assert_eq!(bucket.wait(ms(0), None), None);
        assert_eq!(bucket.wait(ms(0), Some(1)), None);
    }

    #[test]
    fn users_that_have_io_get_what_a_job_leaves() {
        for (percent, times) in [(25, 4), (1, 100), (100, 1), (50, 2)] {
            let mut share = Share::default();
            assert_eq!(share.wait(ms(1)), None);
            let (mut now, mut worked) = (0, 0);
            for took in [1, 20, 300, 7] {
                share.begin(ms(now));
                (now, worked) = (now + took, worked + took);
                share.end(ms(now), percent, true);
                while let Some(rest) = share.wait(ms(now)) {
                    now += u64::try_from(rest.as_millis()).unwrap().min(20);
                }
            }
            assert_eq!(now, times * worked);
        }
    }

    #[test]
    fn nobody_is_waited_for_who_has_no_io() {
        let mut share = Share::default();
        share.begin(ms(0));
        share.end(ms(100), 25, false);
        assert_eq!(share.wait(ms(100)), None);
        share.begin(ms(100));
        share.end(ms(200), 25, true);
        assert_eq!(share.wait(ms(200)), Some(ms(300)));
        // What it does not do is no window.
        share.end(ms(250), 25, true);
        assert_eq!(share.wait(ms(250)), Some(ms(250)));
    }

    #[test]
    fn many_short_looks_lose_nothing() {
        let mut bucket = Bucket::default();
        bucket.take(1);
        for at in 0..1_000_000_u64 {
            assert!(
                bucket
                    .wait(Duration::from_nanos(at * 1000), Some(1))
                    .is_some()
            );
        }
        assert_eq!(bucket.wait(ms(1000), Some(1)), None);
    }

    #[test]
    fn the_speed_is_that_of_the_last_seconds() {
        let mut speed = Speed::default();
        assert_eq!(speed.rate(ms(5), 0), None);
        for second in 0..100 {
            speed.note(ms(second * 1000), second * 7);
        }
        let rate = speed.rate(ms(99_000), 99 * 7).unwrap();
        assert!((rate - 7.0).abs() < 1e-9, "{rate}");
        // It is stuck.
        let rate = speed.rate(ms(108_000), 99 * 7).unwrap();
        assert!((rate - 3.5).abs() < 1e-9, "{rate}");
        speed.stop();
        assert_eq!(speed.rate(ms(200_000), 99 * 7), None);
    }
}
