//! A task and whoever waits for it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::outcome::{self, Failure, Receiver, Sender};
use super::shared::Shared;
use crate::error::JoinError;
use crate::panic::contain_message;
use crate::sync::lock;

/// A task on a thread: a future of its output. Dropping it detaches the task, which runs on.
#[must_use = "drop it to let the task run on its own"]
pub struct JoinHandle<T> {
    receiver: Receiver<T>,
    abort: Arc<Abort>,
    shared: Arc<Shared>,
}

/// The task's end of a [`JoinHandle`].
pub(super) struct Link<T> {
    sender: Sender<T>,
    abort: Arc<Abort>,
}

#[derive(Default)]
struct Abort {
    wanted: AtomicBool,
    /// The task's.
    waker: Mutex<Option<Waker>>,
}

pub(super) fn pair<T>(shared: &Arc<Shared>) -> (Link<T>, JoinHandle<T>) {
    let (sender, receiver) = outcome::channel();
    let abort = Arc::new(Abort::default());
    let link = Link {
        sender,
        abort: Arc::clone(&abort),
    };
    let handle = JoinHandle {
        receiver,
        abort,
        shared: Arc::clone(shared),
    };
    (link, handle)
}

impl<T> Link<T> {
    /// There is no task.
    pub(super) fn fail(self, failure: Failure) {
        self.sender.send(Err(failure));
    }

    /// Runs `future` to its end, and tells how that was.
    pub(super) async fn run<F: Future<Output = T>>(self, future: F) {
        let outcome = {
            let mut future = pin!(future);
            poll_fn(|cx| {
                if self.abort.is_wanted(cx.waker()) {
                    return Poll::Ready(Err(Failure::Aborted));
                }
                match contain_message("a task", || future.as_mut().poll(cx)) {
                    Ok(Poll::Pending) => Poll::Pending,
                    Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
                    Err(panic) => Poll::Ready(Err(Failure::Panicked(panic))),
                }
            })
            .await
            // The future goes here, before anybody hears that it is done.
        };
        self.sender.send(outcome);
    }
}

impl Abort {
    /// Whether the task is to end; if it is to later, `waker` is woken.
    fn is_wanted(&self, waker: &Waker) -> bool {
        let is_known = lock(&self.waker)
            .as_ref()
            .is_some_and(|have| have.will_wake(waker));
        if !is_known {
            // Cloned, and dropped, while nothing is locked: a waker is somebody's code.
            let new = waker.clone();
            let old = lock(&self.waker).replace(new);
            drop(old);
        }
        self.wanted.load(Ordering::Acquire)
    }
}

impl<T> JoinHandle<T> {
    /// Ends the task where it waits next: its future is dropped on its thread. One that is done already stays done.
    pub fn abort(&self) {
        self.abort.wanted.store(true, Ordering::Release);
        let waker = lock(&self.abort.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the task is done, or was dropped.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.receiver.is_done()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let thread = || self.shared.name.clone();
        self.receiver.poll(cx).map_err(|failure| match failure {
            Failure::Panicked(message) => JoinError::Panicked {
                thread: thread(),
                message,
            },
            Failure::Dropped => JoinError::Exited { thread: thread() },
            Failure::Aborted => JoinError::Aborted { thread: thread() },
        })
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("thread", &self.shared.name)
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}
