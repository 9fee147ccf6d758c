//! What runs on the app thread when main has ended, before anything is closed.

use std::cell::RefCell;

use crate::error::ThreadError;
use crate::panic;
use crate::thread::app_thread;

thread_local! {
    static HOOKS: RefCell<Vec<Box<dyn FnOnce()>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `hook` on the app thread when main has ended, before what is still open is closed; the last one first.
///
/// An executor drops its tasks here.
///
/// # Errors
///
/// [`ThreadError`] anywhere but on the app thread.
pub fn at_exit(hook: impl FnOnce() + 'static) -> Result<(), ThreadError> {
    app_thread::check()?;
    HOOKS.with_borrow_mut(|hooks| hooks.push(Box::new(hook)));
    Ok(())
}

/// Runs the hooks, and those that they add.
pub(super) fn run_hooks() {
    while let Some(hook) = HOOKS.with_borrow_mut(Vec::pop) {
        panic::contain("an exit hook", hook);
    }
}
