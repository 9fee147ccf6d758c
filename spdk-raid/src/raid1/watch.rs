//! The oldest I/O of a leg, as far as SPDK says. Pure: it is told the time.
//!
//! SPDK looks once a second, on one thread after the other, and says all that is older than a second. So what is said
//! within half a second is one round, and what a round does not say has ended.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const ROUND: Duration = Duration::from_millis(500);
/// SPDK has looked again by then.
pub(super) const LATEST: Duration = Duration::from_millis(2500);

/// What SPDK says of the I/O of a leg.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    round: Option<Round>,
    /// When it was slow last.
    slow: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Round {
    /// When it began.
    at: Duration,
    /// When its oldest I/O did.
    oldest: Duration,
}

impl Watch {
    /// Locked for single looks.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At `now` there is an I/O of this age.
    pub(super) fn saw(&self, now: Duration, age: Duration) {
        let began = now.saturating_sub(age);
        let mut seen = self.seen();
        seen.round = Some(match seen.round {
            Some(Round { at, oldest }) if now.saturating_sub(at) < ROUND => Round {
                at,
                oldest: oldest.min(began),
            },
            _ => Round {
                at: now,
                oldest: began,
            },
        });
    }

    /// At `now` it is slow. True if it was not the last time that SPDK looked.
    pub(super) fn is_newly_slow(&self, now: Duration) -> bool {
        let before = self.seen().slow.replace(now);
        before.is_none_or(|before| now.saturating_sub(before) >= LATEST)
    }

    /// Whether it was slow the last time that SPDK looked.
    pub(super) fn is_slow(&self, now: Duration) -> bool {
        let slow = self.seen().slow;
        slow.is_some_and(|at| now.saturating_sub(at) < LATEST)
    }

    /// How old the oldest I/O is, if SPDK has said so lately: one of less than a second it does not.
    pub(super) fn oldest(&self, now: Duration) -> Option<Duration> {
        let round = self.seen().round?;
        (now.saturating_sub(round.at) < LATEST).then(|| now.saturating_sub(round.oldest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_oldest_is_that_of_the_last_round() {
        let watch = Watch::default();
        assert_eq!(watch.oldest(ms(0)), None);
        watch.saw(ms(10_000), ms(1100));
        watch.saw(ms(10_001), ms(5001));
        watch.saw(ms(10_002), ms(1200));
        assert_eq!(watch.oldest(ms(10_010)), Some(ms(5010)));
        // That one has ended.
        watch.saw(ms(11_000), ms(2100));
        assert_eq!(watch.oldest(ms(11_500)), Some(ms(2600)));
        // And so have all.
        assert_eq!(watch.oldest(ms(14_000)), None);
    }

    #[test]
    fn it_is_newly_slow_once_until_it_was_not() {
        let watch = Watch::default();
        assert!(watch.is_newly_slow(ms(5000)));
        assert!(!watch.is_newly_slow(ms(5001)));
        assert!(!watch.is_newly_slow(ms(6000)));
        assert!(!watch.is_newly_slow(ms(7000)));
        assert!(watch.is_slow(ms(9000)));
        assert!(!watch.is_slow(ms(11_000)));
        assert!(watch.is_newly_slow(ms(12_000)));
    }
}
