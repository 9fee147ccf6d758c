//! Our place among SPDK's subsystems, which says when SPDK starts and ends, whoever started it.
//!
//! Configurations run RPCs of ours before main does, and in somebody else's C application there is no main of ours at
//! all. So the app thread is taken in when bdevs are up, and what is open on it is closed before they go.

use std::sync::atomic::{AtomicBool, Ordering};

use super::root;
use crate::panic;
use crate::thread::{Home, app_thread};

/// Adds it, once. Before SPDK starts.
pub(crate) fn add() {
    static ADDED: AtomicBool = AtomicBool::new(false);
    if !ADDED.swap(true, Ordering::AcqRel) {
        // SAFETY: SPDK has not started yet, and the callbacks are functions.
        unsafe { spdk_sys::spdk_shim_subsystem_add(Some(init_callback), Some(fini_callback)) };
    }
}

/// Takes in the app thread, which is current, unless that was done.
pub(super) fn open() {
    if app_thread::is_open() {
        return;
    }
    if let Ok(home) = Home::running() {
        crate::env::set_up();
        app_thread::open(home);
    }
}

/// # Safety
///
/// SPDK calls this on its app thread, when bdevs are up.
unsafe extern "C" fn init_callback() {
    panic::contain("the start of the app", open);
}

/// # Safety
///
/// SPDK calls this on its app thread, before bdevs go, and waits for `spdk_shim_subsystem_fini_done`.
unsafe extern "C" fn fini_callback() {
    if panic::contain("the end of the app", root::end_by_spdk).is_none() {
        done();
    }
}

/// SPDK may go on with its end.
pub(super) fn done() {
    // SAFETY: SPDK has called `fini_callback`, and waits; this is its app thread.
    unsafe { spdk_sys::spdk_shim_subsystem_fini_done() };
}
