//! How busy a thread is.

use super::table;
use crate::error::ThreadError;

/// Times of a thread (`spdk_thread_get_stats`), in [`ticks`](super::ticks).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadStats {
    /// In passes of its loop that had something to do: a message, or a poller that said so.
    pub busy_ticks: u64,
    /// In passes that had nothing to do.
    pub idle_ticks: u64,
    /// Since it was made; for the app thread, since the app started.
    pub uptime_ticks: u64,
}

/// Those of the current thread.
pub(super) fn current() -> Result<ThreadStats, ThreadError> {
    let shared = table::current().ok_or(match super::current_id() {
        None => ThreadError::NoThread,
        Some(_) => ThreadError::Foreign,
    })?;
    let mut raw = spdk_sys::spdk_thread_stats {
        busy_tsc: 0,
        idle_tsc: 0,
    };
    // SAFETY: a thread is current; `raw` lives across the call.
    unsafe { spdk_sys::spdk_thread_get_stats(&raw mut raw) };
    Ok(ThreadStats {
        busy_ticks: raw.busy_tsc,
        idle_ticks: raw.idle_tsc,
        uptime_ticks: super::ticks().saturating_sub(shared.since),
    })
}
