//! Whatever runs tasks on a thread: one small trait, so that any executor will do (design rule 12).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Runs tasks on the SPDK thread that it was made on.
///
/// A thread is given one by [`ThreadBuilder::spawner`](super::ThreadBuilder::spawner); without, it has a built-in one,
/// which polls each task in messages to the thread.
///
/// The spawner is dropped when its thread exits, and drops the tasks that still live. What it forgets leaks, but does
/// no harm: what such a task holds is inert by then.
pub trait Spawner: 'static {
    /// Takes `task`, and polls it until it is done. One that can't be taken is dropped: its
    /// [`JoinHandle`](super::JoinHandle) says so.
    fn spawn(&self, task: LocalTask);
}

/// A task for a [`Spawner`]: a future that stays on its thread, and brings its own way to tell its output.
///
/// A panic inside is contained in it.
#[must_use = "a task does nothing unless it is polled"]
pub struct LocalTask(Pin<Box<dyn Future<Output = ()>>>);

impl LocalTask {
    pub(super) fn new(future: impl Future<Output = ()> + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for LocalTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for LocalTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalTask").finish_non_exhaustive()
    }
}
