//! Counts what an I/O costs in calls to SPDK, for the test that says so; without the feature `test` it is nothing.

/// A call on the path of each I/O.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call {
    /// `spdk_bdev_readv_blocks` and its like.
    Submit,
    /// `spdk_bdev_free_io`.
    Free,
    /// `spdk_get_thread`: which thread is current (design rule 2).
    Thread,
}

#[cfg(feature = "test")]
mod counted {
    use std::cell::Cell;

    use super::Call;

    thread_local! {
        static CALLS: Cell<[u64; 3]> = const { Cell::new([0; 3]) };
    }

    pub(crate) fn count(call: Call) {
        let mut calls = CALLS.get();
        calls[call as usize] += 1;
        CALLS.set(calls);
    }

    pub(crate) fn so_far(call: Call) -> u64 {
        CALLS.get()[call as usize]
    }
}

#[cfg(feature = "test")]
pub(crate) use counted::{count, so_far};

#[cfg(not(feature = "test"))]
#[inline(always)]
pub(crate) fn count(_: Call) {}
