//! The executor's frames on the stack: how deep, whose, and what a panic leaves.

use core::marker::PhantomData;

use super::Engine;
use crate::JoinError;
use crate::raw::cell::Step;
use crate::raw::header::HeaderRef;

/// The engine whose task runs on this thread, for `Spawner::current`.
#[cfg(feature = "std")]
mod current {
    use super::Engine;
    use crate::loom::{Cell, local};

    local! { static CURRENT: Cell<Option<&'static Engine>> = Cell::new(None); }

    pub(crate) fn get() -> Option<&'static Engine> {
        CURRENT.with(Cell::get)
    }

    #[inline]
    pub(super) fn replace(engine: Option<&'static Engine>) -> Option<&'static Engine> {
        CURRENT.with(|current| current.replace(engine))
    }
}
#[cfg(feature = "std")]
pub(crate) use current::get as current_engine;

/// A frame of the executor on the stack.
pub(super) struct Frame {
    engine: &'static Engine,
    #[cfg(feature = "std")]
    outer: Option<&'static Engine>,
    _not_send: PhantomData<*const ()>,
}

impl Frame {
    #[inline(always)]
    pub(super) fn enter(engine: &'static Engine) -> Self {
        engine.home.depth.set(engine.home.depth.get() + 1);
        Self {
            engine,
            #[cfg(feature = "std")]
            outer: current::replace(Some(engine)),
            _not_send: PhantomData,
        }
    }
}

impl Drop for Frame {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(feature = "std")]
        current::replace(self.outer);
        let home = &self.engine.home;
        home.depth.set(home.depth.get() - 1);
        if home.depth.get() == 0 && home.close_requested.get() {
            home.close_requested.set(false);
            self.engine.close();
        }
    }
}

/// A panic goes through a turn, as nothing contains it without `std`: the task is over.
pub(super) struct OnUnwind {
    pub(super) engine: &'static Engine,
    pub(super) header: HeaderRef,
    pub(super) was_in_future: bool,
}

impl Drop for OnUnwind {
    #[cold]
    fn drop(&mut self) {
        let (vtable, data) = self.header.task();
        self.engine.home.in_future.set(self.was_in_future);
        // SAFETY: the task is live, this is its home thread, its poll has unwound.
        unsafe { (vtable.abort)(data, JoinError::Panicked(crate::Panic::unknown())) };
        self.engine.finish(self.header, Step::Panicked);
    }
}
