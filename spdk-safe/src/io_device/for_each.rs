//! A closure that visits every channel of a device, each on its own thread.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::IoDevice;
use super::core::Core;
use crate::error::ForEachError;
use crate::panic::contain;
use crate::sync::lock;

/// A visit of all channels under way; see [`SharedIoDevice::for_each_channel`](super::SharedIoDevice::for_each_channel).
#[must_use = "await it to know when every channel was visited; dropping it ends the visit"]
pub struct ForEachChannel<E> {
    answer: Arc<Answer<E>>,
}

impl<E: Send + 'static> ForEachChannel<E> {
    pub(super) fn begin<D, F>(device: &Arc<Core<D>>, closure: F) -> Self
    where
        D: IoDevice,
        F: FnMut(&D::Channel) -> Result<(), E> + Send + 'static,
    {
        let answer = Arc::new(Answer::default());
        let tour = Box::new(Tour {
            closure,
            last: None,
            visited: 0,
            has_passed_by: false,
            failed: None,
            answer: Arc::clone(&answer),
        });
        if device.device().is_some() {
            device.forward(tour);
        } else {
            tour.finish(Err(ForEachError::Unregistered {
                device: device.name.clone(),
            }));
        }
        Self { answer }
    }
}

impl<E> Future for ForEachChannel<E> {
    type Output = Result<usize, ForEachError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Cloned, and the last one dropped, while nothing is locked: a waker is somebody's code.
        let waker = cx.waker().clone();
        let last = {
            let mut state = lock(&self.answer.state);
            if let Some(result) = state.result.take() {
                return Poll::Ready(result);
            }
            state.waker.replace(waker)
        };
        drop(last);
        Poll::Pending
    }
}

impl<E> Drop for ForEachChannel<E> {
    fn drop(&mut self) {
        self.answer.cancelled.store(true, Ordering::Relaxed);
    }
}

impl<E> fmt::Debug for ForEachChannel<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForEachChannel").finish_non_exhaustive()
    }
}

/// Shared by the future and the tour.
struct Answer<E> {
    cancelled: AtomicBool,
    state: Mutex<AnswerState<E>>,
}

struct AnswerState<E> {
    result: Option<Result<usize, ForEachError<E>>>,
    waker: Option<Waker>,
}

impl<E> Default for Answer<E> {
    fn default() -> Self {
        Self {
            cancelled: AtomicBool::new(false),
            state: Mutex::new(AnswerState {
                result: None,
                waker: None,
            }),
        }
    }
}

/// Why a tour is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// There is no further channel.
    Seen,
    /// `visit` said so.
    Stopped,
    /// SPDK had no room for a message.
    NoRoom,
    /// The app has ended, and the device with it.
    Over,
}

/// A closure on its way from channel to channel, in the order of their threads' ids.
pub(super) trait Visit<C>: Send {
    /// The thread that it was sent to last.
    fn last(&self) -> Option<u64>;
    fn set_last(&mut self, id: u64);
    /// Looks at a channel, on its thread. Whether it wants to see more.
    fn visit(&mut self, channel: &C) -> bool;
    /// A channel can't be looked at: its thread was moved to another OS thread. It goes on to the others.
    fn pass_by(&mut self);
    /// Tells whoever waits.
    fn end(self: Box<Self>, device: &str, end: End);
}

struct Tour<F, E> {
    closure: F,
    last: Option<u64>,
    visited: usize,
    /// It passed by a channel.
    has_passed_by: bool,
    failed: Option<Failed<E>>,
    answer: Arc<Answer<E>>,
}

enum Failed<E> {
    Stopped(E),
    Panicked,
}

impl<F, E> Tour<F, E> {
    fn finish(self, result: Result<usize, ForEachError<E>>) {
        let Self {
            closure, answer, ..
        } = self;
        // First, so that what it has captured is free when the waiter hears of it.
        contain("the destructor of a visitor of channels", || drop(closure));
        let waker = {
            let mut state = lock(&answer.state);
            state.result = Some(result);
            state.waker.take()
        };
        if let Some(waker) = waker {
            contain("a waker", || waker.wake());
        }
        // What the closure said, if nobody waits for it.
        contain("the destructor of a visitor's error", || drop(answer));
    }
}

impl<C, F, E> Visit<C> for Tour<F, E>
where
    F: FnMut(&C) -> Result<(), E> + Send,
    E: Send,
{
    fn last(&self) -> Option<u64> {
        self.last
    }

    fn set_last(&mut self, id: u64) {
        self.last = Some(id);
    }

    fn visit(&mut self, channel: &C) -> bool {
        if self.answer.cancelled.load(Ordering::Relaxed) {
            return false;
        }
        self.failed = match contain("a visitor of channels", || (self.closure)(channel)) {
            Some(Ok(())) => {
                self.visited += 1;
                return true;
            }
            Some(Err(error)) => Some(Failed::Stopped(error)),
            None => Some(Failed::Panicked),
        };
        false
    }

    fn pass_by(&mut self) {
        self.has_passed_by = true;
    }

    fn end(mut self: Box<Self>, device: &str, end: End) {
        let device = device.to_owned();
        let result = match (self.failed.take(), end) {
            (Some(Failed::Stopped(error)), _) => Err(ForEachError::Stopped(error)),
            (Some(Failed::Panicked), _) => Err(ForEachError::Panicked { device }),
            (None, End::Seen | End::Stopped) if self.has_passed_by => {
                Err(ForEachError::Moved { device })
            }
            (None, End::Seen | End::Stopped) => Ok(self.visited),
            (None, End::NoRoom) => Err(ForEachError::NoRoom { device }),
            (None, End::Over) => Err(ForEachError::Unregistered { device }),
        };
        self.finish(result);
    }
}
