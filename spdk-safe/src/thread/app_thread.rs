//! The app thread, and messages to it that bypass its queue.
//!
//! A [`Gate`] lets them through from the start of the app to its end. Few are messages of SPDK's: each of those has one
//! sender, which has one under way ([`send_one`]). The others lie in a queue that has one under way for all of them.

use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use super::gate::Gate;
use super::releases::{self, Job};
use super::{Home, home, local, table};
use crate::error::ThreadError;

static GATE: Gate = Gate::new();
/// Set when main has ended.
static ENDING: AtomicBool = AtomicBool::new(false);
static THREAD: AtomicPtr<spdk_sys::spdk_thread> = AtomicPtr::new(ptr::null_mut());

/// The app thread does not take the message: the app has not started yet, or is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

/// Makes `home`, which is current, the app thread and lets messages through. It may be so already: a module's init comes
/// first.
pub(crate) fn open(home: Home) {
    if is_open() {
        return;
    }
    THREAD.store(home.raw().as_ptr(), Ordering::Relaxed);
    GATE.open();
    table::open_app_thread(home);
}

/// Lets no more messages through, and waits until those under way are in SPDK's ring.
pub(crate) fn close() {
    table::close_app_thread();
    GATE.close();
    table::lose_releases();
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

/// Sends `f(ctx)` to the app thread in a message of SPDK's, from any OS thread; `None` if it takes none, else what SPDK
/// answered: up to 25.09 it may have no room, and later aborts the process. So there are few callers, and each has one
/// message under way at most.
pub(crate) fn send_one(f: unsafe extern "C" fn(*mut c_void), ctx: *mut c_void) -> Option<c_int> {
    GATE.pass(|| {
        // SAFETY: we are inside the gate, so the app thread has not begun to exit: `close` waits for us before the app
        // is stopped. `THREAD` was stored before the gate opened.
        unsafe { spdk_sys::spdk_thread_send_msg(THREAD.load(Ordering::Relaxed), Some(f), ctx) }
    })
}

/// Has `f(ctx)` run on the app thread, a little later, from any OS thread. Any number of them may be under way.
///
/// `f` runs at most once, and with the app it may end unrun: `ctx` must not be what keeps something alive that
/// has to be released.
pub(crate) fn send(f: unsafe extern "C" fn(*mut c_void), ctx: *mut c_void) -> Result<(), Closed> {
    struct Message(unsafe extern "C" fn(*mut c_void), *mut c_void);
    // SAFETY: whoever sends makes it for the app thread.
    unsafe impl Send for Message {}
    impl Message {
        fn run(self) {
            // SAFETY: on the app thread, once, as SPDK would call it.
            unsafe { (self.0)(self.1) };
        }
    }
    let message = Message(f, ctx);
    run_later(Box::new(move || message.run()))
}

/// Runs `job` on the app thread: now if it is current, else a little later. Dropped unrun when the app is over.
pub(crate) fn run(job: Box<dyn FnOnce() + Send>) -> Result<(), Closed> {
    if check().is_ok() {
        job();
        return Ok(());
    }
    run_later(job)
}

/// Runs `job` on the app thread, after what runs there now. Dropped unrun when the app is over.
pub(crate) fn run_later(job: Box<dyn FnOnce() + Send>) -> Result<(), Closed> {
    let pushed = GATE.pass(|| {
        let raw = NonNull::new(THREAD.load(Ordering::Relaxed));
        if let (Some(raw), Some(id)) = (raw, table::app_thread_id()) {
            // SAFETY: we are inside the gate of the app thread.
            unsafe { releases::push(raw, id, Job::Travels(job)) };
        }
    });
    pushed.ok_or(Closed)
}
