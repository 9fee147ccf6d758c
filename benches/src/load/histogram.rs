//! Latencies, in buckets that are at most a 64th of their value wide.

use std::time::Duration;

/// Buckets for each power of two.
const SUB: u64 = 64;
const SUB_BITS: u32 = SUB.trailing_zeros();

/// How many I/Os took how long.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// By ticks: up to `SUB` each has its own, then each power of two has `SUB`. Empty if nothing was counted.
    counts: Vec<u64>,
    ticks_per_second: u64,
}

impl Histogram {
    /// One for a clock that ticks so often.
    #[must_use]
    pub fn new(ticks_per_second: u64) -> Self {
        let buckets = (64 - SUB_BITS as usize + 1) * SUB as usize;
        Self {
            counts: vec![0; buckets],
            ticks_per_second,
        }
    }

    /// One more I/O took `ticks`.
    #[inline]
    pub fn count(&mut self, ticks: u64) {
        self.counts[bucket(ticks)] += 1;
    }

    /// Puts the counts of `other` to these.
    pub fn add(&mut self, other: &Self) {
        if self.counts.is_empty() {
            self.clone_from(other);
            return;
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// How many I/Os were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What `percent` of the I/Os did not exceed: the upper edge of the bucket where so many are reached. `None` if none
    /// were counted.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<Duration> {
        let total = self.total();
        let wanted = ((percent / 100.0 * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let reached = |count: &u64| {
            seen += count;
            seen >= wanted
        };
        let at = self.counts.iter().position(reached)?;
        let nanos = u128::from(upper(at)) * 1_000_000_000 / u128::from(self.ticks_per_second);
        Some(Duration::from_nanos(
            u64::try_from(nanos).unwrap_or(u64::MAX),
        ))
    }
}

#[inline]
fn bucket(ticks: u64) -> usize {
    let shift = (u64::BITS - ticks.leading_zeros()).saturating_sub(SUB_BITS + 1);
    (u64::from(shift) * SUB + (ticks >> shift)) as usize
}

/// The most ticks that go into a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * SUB {
        return bucket;
    }
    let shift = bucket / SUB - 1;
    let first = u128::from(bucket - shift * SUB) << shift;
    u64::try_from(first + (1 << shift) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_what_is_below_its_edge_and_above_that_of_the_one_before() {
        let powers = (0..64).map(|power| 1_u64 << power);
        let ticks = powers.flat_map(|ticks| [ticks - 1, ticks, ticks + ticks / 3, ticks + 1]);
        for ticks in ticks.chain([u64::MAX]) {
            let at = bucket(ticks);
            assert!(ticks <= upper(at), "{ticks}");
            assert!(at == 0 || ticks > upper(at - 1), "{ticks}");
            assert!(upper(at) - ticks <= ticks / SUB, "{ticks}");
        }
        assert_eq!(bucket(u64::MAX) + 1, Histogram::new(1).counts.len());
    }

    #[test]
    fn percentiles_of_a_thousand() {
        let mut one = Histogram::new(1_000_000_000);
        let mut other = Histogram::new(1_000_000_000);
        assert_eq!(one.percentile(50.0), None);
        (1..=500).for_each(|ticks| one.count(ticks));
        (501..=1000).for_each(|ticks| other.count(ticks));
        one.add(&other);
        let nanos = |percent| one.percentile(percent).unwrap().as_nanos();
        assert_eq!((one.total(), nanos(0.0), nanos(5.0)), (1000, 1, 50));
        for (percent, exact) in [(50.0, 500), (99.0, 990), (99.9, 999), (100.0, 1000)] {
            assert!(
                (exact..=exact + exact / 64).contains(&nanos(percent)),
                "{percent}"
            );
        }
    }
}
