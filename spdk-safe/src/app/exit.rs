//! What runs on the app thread when main has ended, before anything is closed.

use std::cell::{Cell, RefCell};

use crate::error::ThreadError;
use crate::panic;
use crate::thread::app_thread;

thread_local! {
    static RAN: Cell<bool> = const { Cell::new(false) };
    static HOOKS: RefCell<Vec<Box<dyn FnOnce()>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `hook` on the app thread when main has ended, before what is still open is closed; the last one first.
///
/// An executor drops its tasks here.
///
/// # Errors
///
/// [`ThreadError`] anywhere but on the app thread; [`ThreadError::Exiting`] when the hooks run, or were run.
pub fn at_exit(hook: impl FnOnce() + 'static) -> Result<(), ThreadError> {
    app_thread::check()?;
    if RAN.get() {
        return Err(ThreadError::Exiting);
    }
    HOOKS
        .try_with(|hooks| hooks.borrow_mut().push(Box::new(hook)))
        // This OS thread ends.
        .map_err(|_| ThreadError::Exiting)
}

/// Runs the hooks; they can add no others.
pub(super) fn run_hooks() {
    RAN.set(true);
    let hooks = HOOKS.try_with(RefCell::take).unwrap_or_default();
    for hook in hooks.into_iter().rev() {
        panic::contain("an exit hook", hook);
    }
}
