//! Which SPDK thread is polled next, chosen by a seed.

/// Numbers from a seed (SplitMix64): the same seed gives the same numbers on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Numbers from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if `end` is 0.
    pub const fn below(&mut self, end: usize) -> usize {
        if end == 0 {
            return 0;
        }
        (self.next() % end as u64) as usize
    }

    /// True once in `n` times.
    pub const fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// One poll of an SPDK thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Which SPDK thread: 0 is the app thread, the others follow in the order in which they were made.
    pub thread: u16,
    /// At most so many of its messages, 1 to 8; its pollers run once in any case.
    pub messages: u8,
}

/// SPDK runs at most so many messages in one poll (`SPDK_MSG_BATCH_SIZE`).
const BATCH: usize = 8;

/// Chooses turns.
///
/// Fair turns alone seldom leave one thread behind, and that is where races are. So there are stretches, of a random
/// length, in which one thread gets nearly all turns, or none.
#[derive(Debug)]
pub(super) struct Schedule {
    random: Random,
    bias: Bias,
    /// Turns left of this stretch.
    left: usize,
    pub(super) turns: u64,
}

#[derive(Debug, Clone, Copy)]
enum Bias {
    Fair,
    /// Nearly always this one.
    Favours(usize),
    /// Nearly never this one.
    Starves(usize),
}

impl Schedule {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            bias: Bias::Fair,
            left: 0,
            turns: 0,
        }
    }

    /// The next of `threads` to poll, and how many of its messages.
    pub(super) fn next(&mut self, threads: usize) -> (usize, u32) {
        self.turns += 1;
        if self.left == 0 {
            self.left = 1 + self.random.below(64);
            let one = self.random.below(threads);
            self.bias = match self.random.below(3) {
                0 => Bias::Fair,
                1 => Bias::Favours(one),
                _ => Bias::Starves(one),
            };
        }
        self.left -= 1;
        let mut at = self.random.below(threads);
        match self.bias {
            Bias::Favours(one) if one < threads && !self.random.one_in(8) => at = one,
            Bias::Starves(one) if one == at && !self.random.one_in(8) => at = (at + 1) % threads,
            _ => {}
        }
        let messages = match self.random.below(3) {
            0 => BATCH,
            1 => 1,
            _ => 1 + self.random.below(BATCH),
        };
        (at, messages as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_gets_turns_and_different_seeds_differ() {
        let turns = |seed| {
            let mut schedule = Schedule::new(seed);
            (0..2000).map(|_| schedule.next(4)).collect::<Vec<_>>()
        };
        for seed in 0..100 {
            let of = turns(seed);
            for thread in 0..4 {
                assert!(of.iter().filter(|turn| turn.0 == thread).count() > 50);
            }
            assert!(of.iter().all(|turn| (1..=8).contains(&turn.1)));
            assert_eq!(of, turns(seed));
            assert_ne!(of, turns(seed + 1));
        }
    }
}
