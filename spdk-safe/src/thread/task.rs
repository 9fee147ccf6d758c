//! The built-in way to run tasks: each is polled in messages to its thread, and nowhere else.
//!
//! It is the least that works, and depends on nothing; a thread that is given a [`Spawner`](super::Spawner) has its own.

use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use super::Home;
use super::shared::Shared;
use super::spawner::LocalTask;
use crate::panic::contain;
use crate::sync::lock;

/// A future that may go with its thread.
pub(super) type SendTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task of a thread, and its waker.
///
/// The future is polled and dropped on its thread, and is gone when the task is done or the thread exits; wakers may
/// stay longer.
pub(super) struct Task {
    shared: Arc<Shared>,
    id: u64,
    future: Mutex<Option<SendTask>>,
    /// It is among the woken ones.
    queued: AtomicBool,
    /// Its thread exits.
    cancelled: AtomicBool,
}

impl Task {
    /// Lists `future` among the tasks of `shared`, and has it polled. Refused when the tasks were dropped.
    pub(super) fn start(shared: &Arc<Shared>, future: SendTask) -> Result<(), SendTask> {
        let task = {
            let mut tasks = lock(&shared.tasks);
            if tasks.closed {
                return Err(future);
            }
            let id = tasks.next;
            tasks.next += 1;
            let task = Arc::new(Self {
                shared: Arc::clone(shared),
                id,
                future: Mutex::new(Some(future)),
                queued: AtomicBool::new(false),
                cancelled: AtomicBool::new(false),
            });
            tasks.alive.insert(id, Arc::clone(&task));
            task
        };
        task.wake();
        Ok(())
    }

    /// Polls it once. On its thread.
    pub(super) fn run(self: Arc<Self>) {
        // From here on a wake queues it again.
        self.queued.store(false, Ordering::Release);
        // Taken out while it is polled: no lock is held in user code.
        let Some(mut future) = lock(&self.future).take() else {
            return;
        };
        let waker = Waker::from(Arc::clone(&self));
        let polled = contain("a task", || {
            future.as_mut().poll(&mut Context::from_waker(&waker))
        });
        if polled == Some(Poll::Pending) {
            *lock(&self.future) = Some(future);
            if self.cancelled.load(Ordering::Relaxed) {
                self.cancel();
            }
            return;
        }
        lock(&self.shared.tasks).alive.remove(&self.id);
        contain("the destructor of a task", || drop(future));
    }

    /// Drops the future. On its thread.
    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        let future = lock(&self.future).take();
        contain("the destructor of a task", || drop(future));
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.shared.wake_task(Arc::clone(self));
        }
    }
}

/// The live tasks of a thread.
#[derive(Default)]
pub(super) struct Tasks {
    alive: std::collections::BTreeMap<u64, Arc<Task>>,
    next: u64,
    /// They were dropped, and there will be no others.
    closed: bool,
}

/// Drops the tasks of `shared`, the newest first. On its thread.
pub(super) fn drop_all(shared: &Shared) {
    let alive = {
        let mut tasks = lock(&shared.tasks);
        tasks.closed = true;
        std::mem::take(&mut tasks.alive)
    };
    for task in alive.into_values().rev() {
        task.cancel();
    }
}

/// A task that must stay on its OS thread, where the built-in spawner may have it: it is not touched anywhere else.
pub(super) struct Stay {
    home: Home,
    task: ManuallyDrop<LocalTask>,
}

// SAFETY: the task is polled and dropped where `home` is current, which is on the OS thread that made it; elsewhere it
// is left alone, and leaks.
unsafe impl Send for Stay {}

impl Stay {
    pub(super) fn new(home: Home, task: LocalTask) -> Self {
        Self {
            home,
            task: ManuallyDrop::new(task),
        }
    }
}

impl Future for Stay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.home.check().is_err() {
            // The thread was moved to another OS thread.
            return Poll::Pending;
        }
        Pin::new(&mut *self.task).poll(cx)
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if self.home.check().is_err() {
            return crate::log::error(
                "an SPDK thread was moved to another OS thread, or ended without its tasks; one leaks",
            );
        }
        // SAFETY: dropped once, here.
        unsafe { ManuallyDrop::drop(&mut self.task) };
    }
}
