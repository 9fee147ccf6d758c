//! What SIGINT and SIGTERM do while an app runs.
//!
//! SPDK's handler takes one signal and ignores those after it. So when the first has arrived, what the program had
//! before is back: a second Ctrl-C ends a process that does not end, or does not even start, in order.

use std::ptr;
use std::sync::Mutex;

use crate::sync::lock;

const SIGNALS: [libc::c_int; 2] = [libc::SIGINT, libc::SIGTERM];

struct Saved([libc::sigaction; 2]);

// SAFETY: a description of a handler, which belongs to the process and to no thread.
unsafe impl Send for Saved {}

static SAVED: Mutex<Option<Saved>> = Mutex::new(None);

/// Remembers what the program has. Before SPDK starts.
pub(super) fn save() {
    let saved = SIGNALS.map(|signal| {
        // SAFETY: numbers and pointers, for which zeroes are valid.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: asks alone; `action` takes the answer.
        unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
        action
    });
    *lock(&SAVED) = Some(Saved(saved));
}

/// Brings it back; the second time does nothing.
pub(super) fn restore() {
    let Some(Saved(saved)) = lock(&SAVED).take() else {
        return;
    };
    for (signal, action) in SIGNALS.into_iter().zip(&saved) {
        // SAFETY: `action` is what the program itself had installed.
        unsafe { libc::sigaction(signal, action, ptr::null_mut()) };
    }
}
