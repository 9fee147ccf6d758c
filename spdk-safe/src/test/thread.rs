//! SPDK threads of a seeded test, and futures that run on them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use super::Caught;
use crate::panic::contain;
use crate::sync::lock;
use crate::thread::{Home, registry};

/// An SPDK thread of a [`Case`](super::Case). It may be used from anywhere; after the case its calls are errors.
#[derive(Debug, Clone)]
pub struct TestThread(Arc<Shared>);

/// The case is over, and its SPDK threads with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the SPDK thread of this test has exited")]
pub struct ThreadEnded;

#[derive(Debug)]
struct Shared {
    /// `None` once the thread was told to exit. Locked while a message is put into its ring, so that it can't exit
    /// meanwhile.
    raw: Mutex<Option<Raw>>,
    number: usize,
}

#[derive(Debug, Clone, Copy)]
struct Raw(NonNull<spdk_sys::spdk_thread>);

// SAFETY: the pointer is sent to and nothing else.
unsafe impl Send for Raw {}

impl TestThread {
    /// Makes SPDK thread `number` (the app thread is 0).
    pub(super) fn create(number: usize) -> Self {
        let name = std::ffi::CString::new(format!("test-{number}")).unwrap_or_default();
        // SAFETY: SPDK is up; `name` is copied.
        let raw = unsafe { spdk_sys::spdk_thread_create(name.as_ptr(), ptr::null_mut()) };
        let raw = NonNull::new(raw).map(Raw);
        assert!(raw.is_some(), "SPDK has no room for {number} threads");
        Self(Arc::new(Shared {
            raw: Mutex::new(raw),
            number,
        }))
    }

    /// Its number; the app thread is 0.
    #[must_use]
    pub fn number(&self) -> usize {
        self.0.number
    }

    /// Runs `task` on this thread, beside what runs there already. It starts now, whether or not the result is awaited,
    /// and goes on if that is dropped. What is unfinished when the test returns is dropped on its thread.
    pub fn run<T, F>(&self, task: F) -> Running<T>
    where
        T: Send + 'static,
        F: AsyncFnOnce() -> T + Send + 'static,
    {
        let shared = Arc::new(Mutex::new(Slot {
            output: None,
            waker: None,
        }));
        let slot = Arc::clone(&shared);
        let thread = Arc::clone(&self.0);
        let job: Job = Box::new(move || {
            let done = Done(slot);
            spawn(
                thread,
                Box::pin(async move {
                    let output = Caught(Box::pin(async move { task().await })).await;
                    done.set(Ok(output));
                }),
            );
        });
        // A job that is not sent is dropped, and the slot with it, which nobody will fill.
        if self.0.send_job(job).is_err() {
            Done(Arc::clone(&shared)).set(Err(ThreadEnded));
        }
        Running { slot: shared }
    }

    /// As [`run`](Self::run), for a plain closure.
    pub fn call<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> Running<T> {
        self.run(async move || f())
    }

    /// Drops what still runs on the thread, releases what it holds, and tells it to exit.
    pub(super) fn exit(&self) {
        let shared = Arc::clone(&self.0);
        let _ = self.0.send_job(Box::new(move || {
            drop_tasks(shared.number);
            lock(&shared.raw).take();
            if let Ok(home) = Home::current() {
                registry::drain(home);
            }
            // SAFETY: reads a thread-local.
            let current = unsafe { spdk_sys::spdk_get_thread() };
            // SAFETY: the thread is current: this is a message to it.
            unsafe { spdk_sys::spdk_thread_exit(current) };
        }));
    }
}

type Job = Box<dyn FnOnce() + Send>;

impl Shared {
    fn send(
        &self,
        f: unsafe extern "C" fn(*mut c_void),
        ctx: *mut c_void,
    ) -> Result<(), ThreadEnded> {
        let raw = lock(&self.raw);
        let Some(Raw(thread)) = *raw else {
            return Err(ThreadEnded);
        };
        // SAFETY: the thread was not told to exit, and can't be while `raw` is locked.
        let rc = unsafe { spdk_sys::spdk_thread_send_msg(thread.as_ptr(), Some(f), ctx) };
        assert_eq!(rc, 0, "a message to an SPDK thread was refused");
        Ok(())
    }

    fn send_job(&self, job: Job) -> Result<(), ThreadEnded> {
        let ctx = Box::into_raw(Box::new(job));
        self.send(job_callback, ctx.cast()).inspect_err(|_| {
            // SAFETY: the message was not sent, so the box is still ours.
            drop(unsafe { Box::from_raw(ctx) });
        })
    }
}

/// # Safety
///
/// SPDK calls this once, with what `send_job` sent.
unsafe extern "C" fn job_callback(ctx: *mut c_void) {
    // SAFETY: by this function's contract.
    let job = unsafe { Box::from_raw(ctx.cast::<Job>()) };
    contain("a message to a test's thread", job);
}

/// The result of a task on a [`TestThread`]. Awaiting it goes on with the panic of the task, if there was one.
#[derive(Debug)]
#[must_use = "the task runs anyway; await this to have its result, or its panic"]
pub struct Running<T> {
    slot: Arc<Mutex<Slot<T>>>,
}

#[derive(Debug)]
struct Slot<T> {
    output: Option<Result<std::thread::Result<T>, ThreadEnded>>,
    waker: Option<Waker>,
}

/// Fills the slot, also when the task is dropped unfinished.
struct Done<T>(Arc<Mutex<Slot<T>>>);

impl<T> Done<T> {
    fn set(&self, output: Result<std::thread::Result<T>, ThreadEnded>) {
        let waker = {
            let mut slot = lock(&self.0);
            if slot.output.is_some() {
                return;
            }
            slot.output = Some(output);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Done<T> {
    fn drop(&mut self) {
        self.set(Err(ThreadEnded));
    }
}

impl<T> Future for Running<T> {
    type Output = Result<T, ThreadEnded>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = lock(&self.slot);
        match slot.output.take() {
            Some(Ok(Ok(value))) => Poll::Ready(Ok(value)),
            Some(Ok(Err(payload))) => {
                drop(slot);
                resume_unwind(payload)
            }
            Some(Err(ended)) => Poll::Ready(Err(ended)),
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    /// The tasks of the SPDK threads of this OS thread, by the number of the thread and their own.
    static TASKS: RefCell<BTreeMap<(usize, u64), Task>> = const { RefCell::new(BTreeMap::new()) };
}

/// Wakes a task: one message to its thread at a time.
struct TaskWake {
    thread: Arc<Shared>,
    id: u64,
    scheduled: AtomicBool,
}

impl Wake for TaskWake {
    fn wake(self: Arc<Self>) {
        if self.scheduled.swap(true, Ordering::AcqRel) {
            return;
        }
        let thread = Arc::clone(&self.thread);
        let ctx = Arc::into_raw(self).cast_mut();
        if thread.send(poll_callback, ctx.cast()).is_err() {
            // SAFETY: the message was not sent, so the count that `into_raw` gave is still ours.
            drop(unsafe { Arc::from_raw(ctx) });
        }
    }
}

fn spawn(thread: Arc<Shared>, task: Task) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    TASKS.with_borrow_mut(|tasks| tasks.insert((thread.number, id), task));
    poll_task(&Arc::new(TaskWake {
        thread,
        id,
        scheduled: AtomicBool::new(false),
    }));
}

fn poll_task(wake: &Arc<TaskWake>) {
    let key = (wake.thread.number, wake.id);
    wake.scheduled.store(false, Ordering::Release);
    // Taken out: nothing is borrowed while the task runs.
    let Some(mut task) = TASKS.with_borrow_mut(|tasks| tasks.remove(&key)) else {
        return;
    };
    let waker = Waker::from(Arc::clone(wake));
    if task
        .as_mut()
        .poll(&mut Context::from_waker(&waker))
        .is_pending()
    {
        TASKS.with_borrow_mut(|tasks| tasks.insert(key, task));
    }
}

fn drop_tasks(number: usize) {
    let next = || {
        TASKS.with_borrow_mut(|tasks| {
            let key = *tasks.range((number, 0)..=(number, u64::MAX)).next()?.0;
            tasks.remove(&key)
        })
    };
    while let Some(task) = next() {
        contain("the destructor of a test's task", || drop(task));
    }
}

/// # Safety
///
/// SPDK calls this once, with the count of a [`TaskWake`], on the thread that it was sent to.
unsafe extern "C" fn poll_callback(ctx: *mut c_void) {
    // SAFETY: by this function's contract.
    let wake = unsafe { Arc::from_raw(ctx.cast::<TaskWake>().cast_const()) };
    contain("a test's task", || poll_task(&wake));
}
