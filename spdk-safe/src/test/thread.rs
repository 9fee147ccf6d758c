//! SPDK threads of a seeded test.

use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::{JoinError, TrySendError};
use crate::thread::{JoinHandle, Pinned, ThreadHandle};

/// An SPDK thread of a [`Case`](super::Case): a [`ThreadHandle`], with calls that suit a test. It may be used from
/// anywhere; after the case its calls are errors.
#[derive(Debug, Clone)]
pub struct TestThread {
    handle: ThreadHandle<Pinned>,
    number: usize,
}

/// The case is over, and its SPDK threads with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the SPDK thread of this test has exited")]
pub struct ThreadEnded;

impl TestThread {
    pub(super) const fn new(handle: ThreadHandle<Pinned>, number: usize) -> Self {
        Self { handle, number }
    }

    /// Its number; the app thread is 0.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.number
    }

    /// Runs `task` on this thread, beside what runs there already. It starts without being awaited, and goes on if the
    /// result is dropped. What is unfinished when the test returns is dropped on its thread.
    ///
    /// # Panics
    ///
    /// If 1024 messages to the thread wait already.
    pub fn run<T, F>(&self, task: F) -> Running<T>
    where
        T: Send + 'static,
        F: AsyncFnOnce() -> T + Send + 'static,
    {
        match self.handle.try_spawn(move || async move { task().await }) {
            Ok(handle) => Running(Some(handle)),
            Err(TrySendError::Exited(())) => Running(None),
            Err(_) => panic!("too many messages wait for {:?}", self.handle.name()),
        }
    }
}

impl Deref for TestThread {
    type Target = ThreadHandle<Pinned>;

    fn deref(&self) -> &ThreadHandle<Pinned> {
        &self.handle
    }
}

/// The result of a task on a [`TestThread`]. Awaiting it goes on with the panic of the task, if there was one.
#[derive(Debug)]
#[must_use = "the task runs anyway; await this to have its result, or its panic"]
pub struct Running<T>(Option<JoinHandle<T>>);

impl<T> Future for Running<T> {
    type Output = Result<T, ThreadEnded>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(handle) = &mut self.0 else {
            return Poll::Ready(Err(ThreadEnded));
        };
        match Pin::new(handle).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(value)) => Poll::Ready(Ok(value)),
            Poll::Ready(Err(JoinError::Panicked { message, .. })) => panic!("{message}"),
            Poll::Ready(Err(_)) => Poll::Ready(Err(ThreadEnded)),
        }
    }
}
