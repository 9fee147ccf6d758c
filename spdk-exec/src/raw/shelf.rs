//! Engines that are not in use.
//!
//! An executor that is not a `static` borrows one, for its memory must stay an engine as long as
//! the oldest waker. There are as many as executors were ever open at once.

use alloc::boxed::Box;
use core::ptr;

use super::engine::Engine;
use super::spin::SpinLock;
use crate::host::Identity;
use crate::loom::global;

global! { static SHELF: SpinLock<*const Engine> = SpinLock::new(ptr::null()); }

/// An engine that is bound to nobody and can be bound by a host with that identity.
pub(crate) fn take(identity: Identity) -> &'static Engine {
    SHELF
        .with(|first| {
            let mut link: *const Engine = *first;
            let mut before: Option<&'static Engine> = None;
            loop {
                // SAFETY: `put` made the list of `'static` engines.
                let engine: &'static Engine = unsafe { link.as_ref() }?;
                let next = engine.shelf_next.get();
                if engine.accepts(identity) {
                    match before {
                        Some(before) => before.shelf_next.set(next),
                        None => *first = next,
                    }
                    return Some(engine);
                }
                before = Some(engine);
                link = next;
            }
        })
        .unwrap_or_else(|| Box::leak(Box::new(Engine::new())))
}

/// Takes back an engine that `take` gave, and that is closed.
pub(crate) fn put(engine: &'static Engine) {
    SHELF.with(|first| {
        engine.shelf_next.set(*first);
        *first = engine;
    });
}
