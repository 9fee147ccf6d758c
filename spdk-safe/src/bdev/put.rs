//! The end of a channel.
//!
//! ```text
//!          1                                     2                        3
//!  revoked, or dropped ──► (a while, up to 25.05) ──► put ──► (a few messages) ──► not linked any more
//!  1: Put::begin, with nothing in flight   2: late_callback   3: Put::ended; the descriptor may close
//! ```
//!
//! SPDK locks blocks for a compare-and-write that the device does not do, and to quiesce a bdev.
//! On each thread it waits for I/O there, by a poller of 100 us; up to 25.05 the channel may be freed meanwhile, once that
//! I/O has ended, and the poller looks at it all the same. So the put is done by a poller that runs after it: of a
//! longer period, and made when that I/O had ended.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::core::DescCore;
use crate::inside;
use crate::panic::contain;
use crate::thread::Home;

/// Twice the period of the poller that looks at the channel.
const WHILE_US: u64 = 200;

/// How many passes of what is to be released come after all that was sent to the channel's thread while there was a
/// channel: the first may have been sent before the put, the second before SPDK destroyed the channel.
const HOPS: u8 = 3;

/// A channel that is to be put. It belongs to its SPDK thread.
pub(super) struct Put {
    pub(super) raw: *mut spdk_sys::spdk_io_channel,
    pub(super) home: Home,
    pub(super) desc: Arc<DescCore>,
    /// Its link in the descriptor.
    pub(super) id: u64,
    /// Cleared when it was put.
    pub(super) leaving: Arc<AtomicBool>,
}

/// One that waits for its poller.
struct Late {
    put: Put,
    poller: *mut spdk_sys::spdk_poller,
}

impl Put {
    /// Puts it, now or a little later. Somebody's code may run in here.
    ///
    /// # Safety
    ///
    /// `raw` is a channel that nobody puts but this, with nothing in flight, and its thread is current.
    pub(super) unsafe fn begin(self) {
        if keeps_channels() || !self.desc.may_be_locked() {
            // SAFETY: by this function's contract.
            return unsafe { self.put() };
        }
        let late = Box::into_raw(Box::new(Late {
            put: self,
            poller: ptr::null_mut(),
        }));
        let (name, ctx) = (c"put_channel".as_ptr(), late.cast::<c_void>());
        // SAFETY: an SPDK thread is current, and SPDK has the pointer until the callback, which runs later.
        let poller = unsafe {
            spdk_sys::spdk_poller_register_named(Some(late_callback), ctx, WHILE_US, name)
        };
        if poller.is_null() {
            // No memory.
            // SAFETY: SPDK did not take it.
            let late = unsafe { Box::from_raw(late) };
            // SAFETY: by this function's contract.
            return unsafe { late.put.put() };
        }
        // SAFETY: the callback runs later, on this thread.
        unsafe { (*late).poller = poller };
    }

    /// # Safety
    ///
    /// As [`begin`](Self::begin).
    unsafe fn put(self) {
        // SAFETY: by this function's contract.
        unsafe { spdk_sys::spdk_put_io_channel(self.raw) };
        self.leaving.store(false, Ordering::Relaxed);
        let hops = if keeps_channels() && self.desc.has_locked() {
            HOPS
        } else {
            0
        };
        ended(self.home, self.desc, self.id, hops);
    }
}

/// Whether SPDK keeps a channel that it looks at.
fn keeps_channels() -> bool {
    // SAFETY: reads a version.
    unsafe { spdk_sys::spdk_shim_lock_keeps_channels() }
}

/// Lets go of the descriptor when no visit of all channels is on this thread for the sake of the channel any more: one
/// of the descriptor's own, before it is closed, must be behind that.
fn ended(home: Home, desc: Arc<DescCore>, id: u64, hops: u8) {
    if hops == 0 {
        return desc.unlink(id);
    }
    // SAFETY: the thread is current, and the job touches nothing that belongs to an OS thread.
    unsafe { home.run_later(Box::new(move || ended(home, desc, id, hops - 1))) };
}

/// # Safety
///
/// SPDK calls this on the channel's thread, with the [`Late`] that `begin` made.
unsafe extern "C" fn late_callback(ctx: *mut c_void) -> c_int {
    let _inside = inside::enter();
    contain("the end of a channel", || {
        // SAFETY: by this function's contract; it comes once, since the poller ends here.
        let mut late = unsafe { Box::from_raw(ctx.cast::<Late>()) };
        // SAFETY: the poller is this one.
        unsafe { spdk_sys::spdk_poller_unregister(&raw mut late.poller) };
        // SAFETY: by the contract of `begin`.
        unsafe { late.put.put() };
    });
    1
}
