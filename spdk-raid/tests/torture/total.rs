//! What all cases of this process did.

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Total(AtomicU64);

impl Total {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}

macro_rules! totals {
    ($($name:ident: $text:literal,)*) => {
        $(pub(crate) static $name: Total = Total(AtomicU64::new(0));)*

        /// All of them.
        pub(crate) fn line() -> String {
            let parts = [$(($name.0.load(Ordering::Relaxed), $text)),*];
            let parts: Vec<_> = parts.iter().map(|(n, text)| format!("{n} {text}")).collect();
            parts.join(", ")
        }
    };
}

totals! {
    CASES: "cases",
    IOS: "I/Os",
    FAILED: "that had to fail",
    FAULTS: "faulted legs",
    PULLED: "pulled out",
    ADDED: "rebuilds begun",
    GROWN: "times that a disk grew",
    ABORTED: "jobs ended",
    REBUILT: "done at the end",
    SCRUBS: "scrubs",
    MISMATCHES: "blocks that differed",
    REPAIRED: "repairs",
    DIVERGED: "diverged ranges",
    DIRTY: "arrays still dirty",
    LOCKS: "range locks",
    RETRIES: "let go of again",
    PARKED: "parked writes",
    RESCUED: "that jobs carried out",
    TIMEOUTS: "time-outs",
    RESYNCED: "ranges made equal",
}
