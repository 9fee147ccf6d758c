//! A plain loop as a host.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::thread::Thread;

use crate::{Budget, LocalExecutor};

struct Root {
    woken: AtomicBool,
    thread: Thread,
}

impl Wake for Root {
    fn wake(self: Arc<Self>) {
        // Release: what the waker did is visible to the poll.
        if !self.woken.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

pub(crate) fn block_on<F: Future>(executor: &LocalExecutor, future: F) -> F::Output {
    assert!(
        !executor.engine().is_running(),
        "`block_on` from within a task of the same executor: await the future instead"
    );
    let root = Arc::new(Root {
        woken: AtomicBool::new(true),
        thread: std::thread::current(),
    });
    let waker = Waker::from(root.clone());
    let mut future = pin!(future);
    loop {
        // Acquire: pairs with `wake`.
        if root.woken.swap(false, Ordering::Acquire)
            && let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
        {
            return output;
        }
        let polled = executor.poll(Budget::default());
        if !polled.is_busy() && !root.woken.load(Ordering::Relaxed) && !executor.has_ready() {
            sleep(executor);
        }
    }
}

fn sleep(executor: &LocalExecutor) {
    let most = if executor.engine().unparks() {
        None
    } else {
        Some(Duration::from_millis(1))
    };
    match (executor.until_next_timer(), most) {
        (None, None) => std::thread::park(),
        (Some(time), None) | (None, Some(time)) => std::thread::park_timeout(time),
        (Some(time), Some(most)) => std::thread::park_timeout(time.min(most)),
    }
}
