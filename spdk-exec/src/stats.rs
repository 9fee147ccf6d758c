//! What an executor has done so far.

/// Counts since the executor was bound; kept by its home thread in plain cells, so they cost
/// nothing that could be measured, and nothing more when they are not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that are not over.
    pub alive: usize,
    /// Tasks that wait in the run queue.
    pub queued: usize,
    /// Tasks that were spawned.
    pub spawned: u64,
    /// Turns that tasks had: polls of a future, or its drop after an abort.
    pub turns: u64,
    /// Wakes on the home thread, coalesced ones too.
    pub local_wakes: u64,
    /// Wakes and spawns that came from other threads, without the coalesced ones.
    pub remote_wakes: u64,
    /// Tasks that ran on the spot, by [`run_now`](crate::run_now).
    pub run_now: u64,
    /// Timers that fired.
    pub timers_fired: u64,
    /// Polls that left tasks for the next one because their budget was used up.
    pub budget_exhausted: u64,
    /// Panics that were contained.
    pub panics: u64,
}
