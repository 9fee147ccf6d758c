//! Hearing that the app is to stop, so that main can end itself in order.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::Spdk;
use crate::panic::wake_all;
use crate::thread::ThreadBound;

thread_local! {
    static REQUESTED: Cell<bool> = const { Cell::new(false) };
    static NEXT: Cell<u64> = const { Cell::new(0) };
    /// Those who wait, and how to wake them.
    static LISTENERS: RefCell<Vec<(u64, Option<Waker>)>> = const { RefCell::new(Vec::new()) };
}

impl Spdk {
    /// Done when a signal (SIGINT, SIGTERM), or the RPC that stands for them, asks the app to stop.
    ///
    /// While somebody has this future, such a request does not end main at once: main has the
    /// [`grace`](super::Builder::grace) to end itself, and `run` returns what it returned. Without one main is dropped
    /// where it waits. A second signal does what it did before the app was started, which is to end the process unless
    /// the program has a handler of its own.
    ///
    /// ```no_run
    /// # use spdk_safe::prelude::*;
    /// # fn main() -> Result<(), AppError> {
    /// App::builder("server").run(async |spdk| {
    ///     // ... start serving ...
    ///     spdk.shutdown().await;
    ///     // ... say goodbye ...
    /// })
    /// # }
    /// ```
    pub fn shutdown(&self) -> Shutdown {
        let id = NEXT.replace(NEXT.get() + 1);
        // While this OS thread ends there is no list: the future stays pending then.
        let _ = LISTENERS.try_with(|list| list.borrow_mut().push((id, None)));
        Shutdown {
            id,
            _bound: ThreadBound::new(),
        }
    }
}

/// See [`Spdk::shutdown`].
#[derive(Debug)]
#[must_use = "await it to hear that the app is to stop"]
pub struct Shutdown {
    id: u64,
    _bound: ThreadBound,
}

impl Future for Shutdown {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if REQUESTED.get() {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        let old = LISTENERS.try_with(|list| {
            let mut list = list.borrow_mut();
            let mine = list.iter_mut().find(|entry| entry.0 == self.id);
            mine.and_then(|entry| entry.1.replace(waker))
        });
        drop(old);
        Poll::Pending
    }
}

impl Drop for Shutdown {
    fn drop(&mut self) {
        // This OS thread may be ending.
        let mine = LISTENERS.try_with(|list| {
            let mut list = list.borrow_mut();
            let at = list.iter().position(|entry| entry.0 == self.id)?;
            Some(list.swap_remove(at))
        });
        drop(mine);
    }
}

/// The app is to stop: wakes who listens. Whether somebody does. On the app thread.
pub(super) fn request() -> bool {
    REQUESTED.set(true);
    let wakers = LISTENERS.try_with(|list| {
        let mut list = list.borrow_mut();
        let wakers: Vec<Waker> = list.iter_mut().filter_map(|entry| entry.1.take()).collect();
        (!list.is_empty()).then_some(wakers)
    });
    wakers.ok().flatten().map(wake_all).is_some()
}
