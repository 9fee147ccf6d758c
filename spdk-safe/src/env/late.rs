//! Buffers that were dropped by a receiver of log lines.
//!
//! DPDK writes lines while it has its heap locked, so they can't be freed there. They are a little later: when the next
//! buffer is made or dropped, or at the end of the app.

use std::ptr::NonNull;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::leave;
use crate::sync::lock;

static LATE: Mutex<Vec<Memory>> = Mutex::new(Vec::new());
static ANY: AtomicBool = AtomicBool::new(false);

/// # Invariants
///
/// It is a dropped buffer's, and is still counted in `env::STATE`.
struct Memory(NonNull<u8>);

// SAFETY: nobody else has the memory, and DPDK's allocator may be called from any thread.
unsafe impl Send for Memory {}

/// Has the memory of a buffer that is being dropped freed later.
pub(super) fn keep(memory: NonNull<u8>) {
    // INVARIANT: the buffer that is being dropped is counted, and does nothing more with it.
    lock(&LATE).push(Memory(memory));
    ANY.store(true, Ordering::Release);
}

/// Frees what was kept. Not from a receiver.
pub(super) fn free() {
    if !ANY.load(Ordering::Relaxed) || !ANY.swap(false, Ordering::Acquire) {
        return;
    }
    let late = std::mem::take(&mut *lock(&LATE));
    for memory in late {
        // SAFETY: by the type invariant the memory is from SPDK, mapped since it is counted, and nobody else frees it.
        unsafe { spdk_sys::spdk_dma_free(memory.0.as_ptr().cast()) };
        leave();
    }
}
