//! What an executor counts, on its home thread, in plain cells.

use crate::loom::{Cell, const_fn};

/// See [`Stats`](crate::Stats).
pub(super) struct Counts {
    pub(super) spawned: Cell<u64>,
    pub(super) turns: Cell<u64>,
    pub(super) local_wakes: Cell<u64>,
    pub(super) remote_wakes: Cell<u64>,
    pub(super) run_now: Cell<u64>,
    pub(super) exhausted: Cell<u64>,
    pub(super) panics: Cell<u64>,
    pub(super) timers: Cell<u64>,
}

impl Counts {
    const_fn! {
        pub(super) fn new() -> Self {
            Self {
                spawned: Cell::new(0),
                turns: Cell::new(0),
                local_wakes: Cell::new(0),
                remote_wakes: Cell::new(0),
                run_now: Cell::new(0),
                exhausted: Cell::new(0),
                panics: Cell::new(0),
                timers: Cell::new(0),
            }
        }
    }

    pub(super) fn reset(&self) {
        let all = [
            &self.spawned,
            &self.turns,
            &self.local_wakes,
            &self.remote_wakes,
            &self.run_now,
            &self.exhausted,
            &self.panics,
            &self.timers,
        ];
        all.iter().for_each(|count| count.set(0));
    }
}

#[inline(always)]
pub(super) fn bump(count: &Cell<u64>, by: u64) {
    count.set(count.get().wrapping_add(by));
}
