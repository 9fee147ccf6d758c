//! One closure on all threads.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::handle::ThreadHandle;
use super::kind::Travels;
use super::shared::Phase;
use super::table;
use crate::error::CallError;

/// Runs `f` on each SPDK thread of ours, the app thread among them, one after the other in the order of their ids, and
/// resolves to what it returned there.
///
/// It visits the threads that are there when the future is first polled. One that exits before its turn has
/// [`CallError::Exited`]; a panic is contained, and the next thread is visited. Threads that other code made are not
/// visited: `spdk_for_each_thread` does, and crashes where one of them exits meanwhile (contract T-24).
pub async fn for_each_thread<F, T>(f: F) -> Vec<(NonZeroU64, Result<T, CallError>)>
where
    F: Fn() -> T + Travels + Sync + 'static,
    T: Travels + 'static,
{
    let f = Arc::new(f);
    let mut results = Vec::new();
    for shared in table::all() {
        if shared.phase() >= Phase::Left {
            continue;
        }
        let (id, f) = (shared.id, Arc::clone(&f));
        let thread: ThreadHandle = ThreadHandle::new(shared);
        results.push((id, thread.call(move || f()).await));
    }
    results
}
