//! The app thread, and a gate for messages to it.
//!
//! SPDK aborts the process on a message to a thread that has exited (T-20). So a sender enters the gate first,
//! and whoever shuts the app down closes it and waits until the last sender has left:
//!
//! ```text
//!           open()                 close()
//!  CLOSED ─────────► OPEN, n in ─────────────► CLOSING, n in ──(n = 0)──► CLOSED
//!                      ▲  │ enter: n+1             enter: refused
//!                      └──┘ leave: n-1
//! ```
//!
//! The number of messages in flight is bounded by the callers: each wake, close and unregistration sends one
//! message and coalesces with one that is under way.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use super::Home;
use crate::error::ThreadError;

/// Set in [`GATE`] while messages are let through; the other bits count senders.
const OPEN: usize = 1 << (usize::BITS - 1);

static GATE: AtomicUsize = AtomicUsize::new(0);
/// Set when main has ended.
static ENDING: AtomicBool = AtomicBool::new(false);
static THREAD: AtomicPtr<spdk_sys::spdk_thread> = AtomicPtr::new(ptr::null_mut());

/// The app thread does not take the message: the app has not started yet, or is over, or SPDK has no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

/// Makes `home` the app thread and lets messages through.
pub(crate) fn open(home: Home) {
    THREAD.store(home.thread.as_ptr(), Ordering::Relaxed);
    GATE.fetch_or(OPEN, Ordering::Release);
}

/// Lets no more messages through, and waits until those under way are in SPDK's ring.
pub(crate) fn close() {
    GATE.fetch_and(!OPEN, Ordering::AcqRel);
    while GATE.load(Ordering::Acquire) != 0 {
        std::hint::spin_loop();
    }
}

/// Whether the app thread is current. After [`close`] it is for nobody.
pub(crate) fn check() -> Result<(), ThreadError> {
    let home = Home::current()?;
    if ptr::eq(home.thread.as_ptr(), THREAD.load(Ordering::Relaxed)) && is_open() {
        Ok(())
    } else {
        Err(ThreadError::NotAppThread)
    }
}

/// From now on nothing may be opened: the app ends.
pub(crate) fn begin_end() {
    ENDING.store(true, Ordering::Release);
}

/// As [`check`], for calls that open something.
pub(crate) fn check_open() -> Result<(), ThreadError> {
    check()?;
    if ENDING.load(Ordering::Acquire) {
        return Err(ThreadError::Ending);
    }
    Ok(())
}

/// Whether an app runs and takes messages.
pub(crate) fn is_open() -> bool {
    GATE.load(Ordering::Acquire) & OPEN != 0
}

/// Sends `f(ctx)` to the app thread, from any OS thread.
///
/// `f` runs at most once, and with the app it may end unrun: `ctx` must not be what keeps something alive that
/// has to be released.
pub(crate) fn send(f: unsafe extern "C" fn(*mut c_void), ctx: *mut c_void) -> Result<(), Closed> {
    if GATE.fetch_add(1, Ordering::Acquire) & OPEN == 0 {
        GATE.fetch_sub(1, Ordering::Release);
        return Err(Closed);
    }
    // SAFETY: we are inside the gate, so the app thread has not begun to exit: `close` waits for us before the app
    // is stopped. `THREAD` was stored before the gate opened.
    let rc =
        unsafe { spdk_sys::spdk_thread_send_msg(THREAD.load(Ordering::Relaxed), Some(f), ctx) };
    GATE.fetch_sub(1, Ordering::Release);
    if rc != 0 {
        // SPDK up to 25.09 answers when its ring or pool is full; later ones abort. The caller tries again, or the end
        // of the app does it for him.
        crate::log::error(&format!("a message to the app thread was refused ({rc})"));
        return Err(Closed);
    }
    Ok(())
}

/// Runs `job` on the app thread: now if it is current, else by message. Dropped unrun when the app is over.
pub(crate) fn run(job: Box<dyn FnOnce() + Send>) -> Result<(), Closed> {
    if check().is_ok() {
        job();
        return Ok(());
    }
    let ctx = Box::into_raw(Box::new(job));
    send(run_job_callback, ctx.cast()).inspect_err(|_| {
        // SAFETY: the message was not sent, so nobody else has the pointer that `Box::into_raw` gave us.
        drop(unsafe { Box::from_raw(ctx) });
    })
}

/// # Safety
///
/// SPDK calls this once, with the `ctx` that [`run`] sent: a pointer from `Box::into_raw(Box::new(job))`.
unsafe extern "C" fn run_job_callback(ctx: *mut c_void) {
    // SAFETY: by this function's contract.
    let job = unsafe { Box::from_raw(ctx.cast::<Box<dyn FnOnce() + Send>>()) };
    crate::panic::contain("a message to the app thread", job);
}
