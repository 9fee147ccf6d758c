//! What an array counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that any thread adds to. None of them is on the hot path.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

macro_rules! counters {
    ($($name:ident: $doc:literal,)*) => {
        /// Counters of an array.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)*
        }

        /// What an array has counted since it was created, or its counters were reset.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
        #[non_exhaustive]
        pub struct Counts {
            $(#[doc = $doc] pub $name: u64,)*
        }

        impl Counters {
            pub(super) fn counts(&self) -> Counts {
                Counts { $($name: self.$name.get(),)* }
            }

            pub(super) fn reset(&self) {
                $(self.$name.reset();)*
            }
        }
    };
}

counters! {
    read_errors: "Reads that a leg failed; the array has failed none of them that another leg could do.",
    repaired: "Ranges that a leg could not read, and that were written to it again.",
    not_repaired: "Ranges that a leg could not read, and that were left as they are: too many at once, or no other leg.",
    faults: "Legs that were faulted.",
    diverged: "Requests that failed on all legs, or that a leg refused, so that legs could differ.",
    resynced: "Ranges in which legs could differ, and were made equal.",
    mismatches: "Blocks that scrubs found to differ from those of the first base.",
    unreadable: "Blocks that scrubs found no base to be able to read.",
    parked: "Requests that waited for a range lock.",
    locks: "Range locks that were taken.",
    lock_retries: "Range locks that were let go of again, because requests that they kept held up memory.",
    rescued: "Requests that waited for a range lock, and held all memory that their thread had: jobs carried them out.",
    slow: "Times that a leg became slow.",
    timeouts: "Times that a leg did not answer in time.",
}
