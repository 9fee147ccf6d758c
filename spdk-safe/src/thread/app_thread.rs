//! The app thread, and messages to it that bypass its queue.
//!
//! A [`Gate`] lets them through from the start of the app to its end. Their number is bounded by the callers: each
//! wake, close and unregistration sends one message and coalesces with one that is under way.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use super::gate::Gate;
use super::{Home, home, local, table};
use crate::error::ThreadError;

static GATE: Gate = Gate::new();
/// Set when main has ended.
static ENDING: AtomicBool = AtomicBool::new(false);
static THREAD: AtomicPtr<spdk_sys::spdk_thread> = AtomicPtr::new(ptr::null_mut());

/// The app thread does not take the message: the app has not started yet, or is over, or SPDK has no room for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

/// Makes `home`, which is current, the app thread and lets messages through.
pub(crate) fn open(home: Home) {
    THREAD.store(home.raw().as_ptr(), Ordering::Relaxed);
    GATE.open();
    table::open_app_thread(home);
}

/// Lets no more messages through, and waits until those under way are in SPDK's ring.
pub(crate) fn close() {
    table::close_app_thread();
    GATE.close();
}

/// Whether the app thread is current. After [`close`] it is for nobody.
pub(crate) fn check() -> Result<(), ThreadError> {
    let current = home::current_raw().ok_or(ThreadError::NoThread)?;
    if ptr::eq(current.as_ptr(), THREAD.load(Ordering::Relaxed)) && is_open() {
        Ok(())
    } else {
        Err(ThreadError::NotAppThread)
    }
}

/// From now on nothing may be opened: the app ends.
pub(crate) fn begin_end() {
    ENDING.store(true, Ordering::Release);
}

/// Asks all threads of ours to exit, and drops the tasks and the storage of the app thread, which is current.
pub(crate) fn end_threads() {
    if let Some(local) = local::current() {
        local.drop_tasks();
        local.drop_storage();
    }
    table::exit_all();
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
    GATE.is_open()
}

/// Sends `f(ctx)` to the app thread, from any OS thread.
///
/// `f` runs at most once, and with the app it may end unrun: `ctx` must not be what keeps something alive that
/// has to be released.
pub(crate) fn send(f: unsafe extern "C" fn(*mut c_void), ctx: *mut c_void) -> Result<(), Closed> {
    let rc = GATE.pass(|| {
        // SAFETY: we are inside the gate, so the app thread has not begun to exit: `close` waits for us before the app
        // is stopped. `THREAD` was stored before the gate opened.
        unsafe { spdk_sys::spdk_thread_send_msg(THREAD.load(Ordering::Relaxed), Some(f), ctx) }
    });
    match rc {
        Some(0) => Ok(()),
        None => Err(Closed),
        Some(rc) => {
            // SPDK up to 25.09 answers when its ring or pool is full; later ones abort. The caller tries again, or the
            // end of the app does it for him.
            crate::log::error(&format!("a message to the app thread was refused ({rc})"));
            Err(Closed)
        }
    }
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
