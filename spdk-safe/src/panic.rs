//! Keeps panics out of C (design rule 6).
//!
//! Every `extern "C"` function of this crate runs the user's code, and its own, inside [`contain`]. A panic is
//! logged and counted there, and the caller decides what failed because of it: an I/O, a call, a poller.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use std::task::Waker;

use crate::log;

static CONTAINED: AtomicU64 = AtomicU64::new(0);

/// How many panics were kept from unwinding into C since the process began.
#[must_use]
pub fn contained_panics() -> u64 {
    CONTAINED.load(Ordering::Relaxed)
}

/// Runs `f`; a panic is logged as coming from `what`, counted, and turned into `None`.
#[inline(always)]
pub(crate) fn contain<R>(what: &str, f: impl FnOnce() -> R) -> Option<R> {
    // What `f` left half-done is reachable only through handles that the caller marks as failed.
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Some(value),
        Err(payload) => {
            contained(what, payload);
            None
        }
    }
}

/// Logs and counts a panic; returns its text.
#[cold]
fn contained(what: &str, payload: Box<dyn Any + Send>) -> String {
    let text = message(&*payload).to_owned();
    count(what, &text);
    discard(payload);
    text
}

/// Logs and counts a panic that somebody else has contained.
#[cold]
pub(crate) fn count(what: &str, text: &str) {
    CONTAINED.fetch_add(1, Ordering::Relaxed);
    log::error(&format!("panic in {what}: {text}"));
}

/// As [`contain`], with the text of the panic.
pub(crate) fn contain_message<R>(what: &str, f: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| contained(what, payload))
}

/// The text of a panic, if it has one.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}

/// Drops a payload, whose destructor is the user's and may panic too.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
}

/// Wakes each, whatever the others do: a waker is somebody's code.
pub(crate) fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        contain("a waker", || waker.wake());
    }
}
