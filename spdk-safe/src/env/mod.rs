//! SPDK's environment: memory that devices may read and write.
//!
//! C header: `include/spdk/env.h`.

mod dma_buf;
mod late;
mod part;
mod pool;
mod uninit;

use std::sync::atomic::{AtomicUsize, Ordering};

pub use dma_buf::{AllocError, DmaBuf};
pub use part::DmaPart;
pub use pool::{DmaPool, PooledBuf};
pub use uninit::UninitDmaBuf;

/// Set while DPDK's memory is mapped; the other bits count the buffers in it.
const UP: usize = 1 << (usize::BITS - 1);
static STATE: AtomicUsize = AtomicUsize::new(0);

/// Buffers may be made from now on.
pub(crate) fn set_up() {
    STATE.fetch_or(UP, Ordering::AcqRel);
}

/// No more buffers. Whether there are none left, so that the memory may be unmapped.
pub(crate) fn set_down() -> bool {
    late::free();
    STATE.fetch_and(!UP, Ordering::AcqRel) & !UP == 0
}

/// Whether the end waits for buffers: there are some, and no more are made.
pub(crate) fn has_only_old_buffers() -> bool {
    let state = STATE.load(Ordering::Acquire);
    state & UP == 0 && state != 0
}

/// How many buffers there are.
#[cfg(feature = "test")]
pub(crate) fn buffers() -> usize {
    STATE.load(Ordering::Acquire) & !UP
}

/// Counts a buffer in; false when the environment is not up, or can't be called: a line of its log is being written.
fn enter() -> bool {
    if crate::log::in_receiver() {
        return false;
    }
    if STATE.fetch_add(1, Ordering::AcqRel) & UP == 0 {
        leave();
        return false;
    }
    late::free();
    true
}

/// Counts a buffer out.
fn leave() {
    STATE.fetch_sub(1, Ordering::AcqRel);
}
