//! The one result of something that runs elsewhere.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use crate::panic::contain;
use crate::sync::lock;

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// What was to give it was dropped: the thread exits.
    Dropped,
    /// With its text.
    Panicked(String),
    Aborted,
}

enum State<T> {
    Waiting(Option<Waker>),
    Done(Result<T, Failure>),
    Taken,
}

/// Gives the result. Dropped without, it says so.
pub(super) struct Sender<T>(Arc<Mutex<State<T>>>);

/// Waits for the result.
pub(super) struct Receiver<T>(Arc<Mutex<State<T>>>);

pub(super) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let state = Arc::new(Mutex::new(State::Waiting(None)));
    (Sender(Arc::clone(&state)), Receiver(state))
}

impl<T> Sender<T> {
    pub(super) fn send(self, result: Result<T, Failure>) {
        self.set(result);
    }

    fn set(&self, result: Result<T, Failure>) {
        let before = {
            let mut state = lock(&self.0);
            match *state {
                State::Waiting(_) => std::mem::replace(&mut *state, State::Done(result)),
                State::Done(_) | State::Taken => return,
            }
        };
        if let State::Waiting(Some(waker)) = before {
            contain("a waker", || waker.wake());
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.set(Err(Failure::Dropped));
    }
}

impl<T> Receiver<T> {
    /// The result, once.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, Failure>> {
        // Cloned, and dropped, while nothing is locked: a waker is somebody's code.
        let waker = cx.waker().clone();
        let _old;
        let mut state = lock(&self.0);
        match &mut *state {
            State::Waiting(slot) => {
                _old = slot.replace(waker);
                return Poll::Pending;
            }
            State::Taken => return Poll::Ready(Err(Failure::Dropped)),
            State::Done(_) => {}
        }
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(result) => Poll::Ready(result),
            State::Waiting(_) | State::Taken => Poll::Ready(Err(Failure::Dropped)),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        !matches!(*lock(&self.0), State::Waiting(_))
    }
}
