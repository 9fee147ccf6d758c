//! Test harnesses: one SPDK for all tests of a process.
//!
//! [`Harness`] runs each test once, under SPDK's own reactor. [`SeededHarness`] runs it with several SPDK threads and
//! many schedules, which seeds choose. A test binary has one of the two.
//!
//! DPDK initialises once per process, and `cargo test` runs tests on threads of its own. So the first test starts an
//! app on an OS thread that stays, and each test is sent there as a closure and runs to its end before the next one.
//! A panic in a test fails that test alone. After each one the harness checks that nothing was left open.
//!
//! ```standalone_crate
//! use spdk_safe::prelude::*;
//! use spdk_safe::test::Harness;
//!
//! static SPDK: Harness = Harness::new(&[]); // one in a test binary, with the bdev modules that it needs
//!
//! // in a #[test]:
//! SPDK.run(async |spdk| {
//!     MallocBdev::builder("m").blocks(8).create(&spdk).await.unwrap();
//!     MallocBdev::delete(&spdk, "m").await.unwrap();
//! });
//! ```

mod open;
mod schedule;
mod seeded;
mod thread;

pub use open::Open;
pub use schedule::{Random, Turn};
pub(crate) use seeded::seeded_ticks;
pub use seeded::{Case, SeededHarness};
pub use thread::{Running, TestThread, ThreadEnded};

use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Mutex, OnceLock, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::app::{App, LogLevel, Pools, Spdk};
use crate::calls::{self, Call};
use crate::error::AppError;
use crate::module::BdevModule;
use crate::sync::lock;
use crate::thread::table;
use crate::units::Mib;
use crate::{bdev, io_device, module};

/// How many passes of the reactor a test has to let go of what it opened, after it has returned.
const GRACE: usize = 10_000;

/// How long a test may take, with those that it waits for, before it counts as hung.
const HUNG: Duration = Duration::from_secs(120);

/// An SPDK that the tests of a process share.
#[derive(Debug)]
pub struct Harness {
    modules: &'static [&'static BdevModule],
    auto_examine: bool,
}

type Job = Box<dyn FnOnce(Spdk) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// The running app, and how to reach it.
struct Shared {
    queue: Mutex<Queue>,
    thread: Mutex<Option<JoinHandle<Result<(), AppError>>>>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    waker: Option<Waker>,
    quit: bool,
}

static SHARED: OnceLock<Shared> = OnceLock::new();

thread_local! {
    /// What the last panic on the harness's thread said, and where it was. The test that it belongs to prints it:
    /// what is printed on this thread stands in the output of the test that started the harness.
    static LAST_PANIC: Cell<Option<String>> = const { Cell::new(None) };
    /// Whether this is the harness's thread.
    static IS_HARNESS: Cell<bool> = const { Cell::new(false) };
}

impl Harness {
    /// A harness that registers `modules`. It is started by the first [`run`](Self::run).
    #[must_use]
    pub const fn new(modules: &'static [&'static BdevModule]) -> Self {
        Self {
            modules,
            auto_examine: false,
        }
    }

    /// Has modules examine bdevs when they are registered, as SPDK does by itself. Without this none does: what other
    /// crates have linked (features are shared in a workspace), such as SPDK's raid module, would do I/O to the bdevs of
    /// the tests.
    #[must_use]
    pub const fn auto_examine(self) -> Self {
        Self {
            auto_examine: true,
            ..self
        }
    }

    /// Runs `test` on the app thread, and returns what it returned.
    ///
    /// # Panics
    ///
    /// With the panic of the test; if the test left a descriptor, a bdev or a device of ours open; if SPDK did not start.
    pub fn run<T: Send + 'static>(&self, test: impl AsyncFnOnce(Spdk) -> T + Send + 'static) -> T {
        let shared = SHARED.get_or_init(|| start(self.modules, self.auto_examine));
        let (send, result) = mpsc::channel();
        let job: Job = Box::new(move |spdk| {
            Box::pin(async move {
                let outcome = Caught(Box::pin(async move { test(spdk).await })).await;
                let outcome = match (outcome, left_open(&[]).await) {
                    (Ok(_), Some(open)) => {
                        Err(Box::new(format!("the test left open: {open}")) as Box<dyn Any + Send>)
                    }
                    (outcome, _) => outcome,
                };
                let _ = send.send((outcome, LAST_PANIC.take()));
            })
        });
        let waker = {
            let mut queue = lock(&shared.queue);
            if !queue.quit {
                queue.jobs.push_back(job);
            }
            queue.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        match result.recv_timeout(HUNG) {
            Ok((Ok(value), _)) => value,
            Ok((Err(payload), said)) => {
                // On this thread, so that it stands in the output of this test.
                said.into_iter().for_each(|said| eprintln!("{said}"));
                resume_unwind(payload)
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                panic!(
                    "the test hangs for {HUNG:?}, and so will those after it; open: {}",
                    open_names().join(", ")
                )
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                match lock(&shared.thread).take().map(JoinHandle::join) {
                    Some(Ok(Err(error))) => panic!("the test harness ended: {error}"),
                    _ => panic!("the test harness ended before the test did; SPDK's log says why"),
                }
            }
        }
    }
}

/// Calls to SPDK on the path of I/O, made on this OS thread so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Calls {
    /// Submissions: `spdk_bdev_readv_blocks` and its like.
    pub submit: u64,
    /// `spdk_bdev_free_io`.
    pub free: u64,
    /// `spdk_get_thread`: the checks of which SPDK thread is current.
    pub thread: u64,
}

impl Calls {
    /// Those of this OS thread.
    #[must_use]
    pub fn so_far() -> Self {
        Self {
            submit: calls::so_far(Call::Submit),
            free: calls::so_far(Call::Free),
            thread: calls::so_far(Call::Thread),
        }
    }
}

/// What is open now.
fn open_names() -> Vec<String> {
    let mut open = module::names();
    open.extend(bdev::open_names());
    open.extend(io_device::names());
    open.extend(table::names());
    open
}

/// What the test left open, after the grace that closing takes; not `but`.
async fn left_open(but: &[String]) -> Option<String> {
    let mut open = Vec::new();
    for _ in 0..GRACE {
        open = open_names();
        open.retain(|name| !but.contains(name));
        if open.is_empty() {
            return None;
        }
        crate::app::yield_now().await;
    }
    bdev::revoke_all();
    io_device::revoke_all();
    table::exit_all();
    Some(open.join(", "))
}

fn start(modules: &'static [&'static BdevModule], auto_examine: bool) -> Shared {
    // Destructors of C libraries run at exit, and must not find reactors running.
    // SAFETY: `stop_at_exit` is a plain function that lives for ever.
    unsafe { libc::atexit(stop_at_exit) };
    let thread = std::thread::Builder::new()
        .name("spdk-test".into())
        .spawn(move || {
            IS_HARNESS.set(true);
            keep_panics_for_their_tests();
            let mut builder = App::builder("spdk-test")
                .no_huge()
                .no_pci()
                .share_cores()
                .memory(Mib(512))
                .pools(Pools::small())
                .auto_examine(auto_examine)
                .log_level(LogLevel::Warn);
            for module in modules {
                builder = builder.module(module);
            }
            let outcome = builder.run(async |spdk| {
                while let Some(job) = next_job().await {
                    job(spdk.clone()).await;
                }
            });
            // Whoever still waits for a test hears that there is no harness any more.
            let jobs = {
                let mut queue = lock(&SHARED.wait_for().queue);
                queue.quit = true;
                std::mem::take(&mut queue.jobs)
            };
            drop(jobs);
            outcome
        })
        .expect("an OS thread for the test harness");
    Shared {
        queue: Mutex::default(),
        thread: Mutex::new(Some(thread)),
    }
}

/// Has panics on this thread kept in [`LAST_PANIC`] instead of printed.
fn keep_panics_for_their_tests() {
    let (harness, others) = (std::thread::current().id(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() == harness {
            LAST_PANIC.set(Some(info.to_string()));
        } else {
            others(info);
        }
    }));
}

/// The next test; `None` when the process ends.
async fn next_job() -> Option<Job> {
    // Set right after the thread was spawned.
    let shared = SHARED.wait_for();
    poll_fn(|cx| {
        let mut queue = lock(&shared.queue);
        if queue.quit {
            return Poll::Ready(None);
        }
        if let Some(job) = queue.jobs.pop_front() {
            return Poll::Ready(Some(job));
        }
        queue.waker = Some(cx.waker().clone());
        Poll::Pending
    })
    .await
}

trait WaitFor<T> {
    fn wait_for(&self) -> &T;
}

impl<T> WaitFor<T> for OnceLock<T> {
    /// `OnceLock::wait`, which is newer than our oldest compiler.
    fn wait_for(&self) -> &T {
        loop {
            match self.get() {
                Some(value) => return value,
                None => std::thread::yield_now(),
            }
        }
    }
}

extern "C" fn stop_at_exit() {
    let Some(shared) = SHARED.get() else {
        return;
    };
    let waker = {
        let mut queue = lock(&shared.queue);
        queue.quit = true;
        queue.waker.take()
    };
    if let Some(waker) = waker {
        waker.wake();
    }
    if IS_HARNESS.get() {
        // A test ends the process: this thread can't wait for itself.
        return;
    }
    if let Some(thread) = lock(&shared.thread).take() {
        let _ = thread.join();
    }
}

/// A future whose panic is its output.
struct Caught<F>(Pin<Box<F>>);

impl<F: Future> Future for Caught<F> {
    type Output = std::thread::Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(payload) => Poll::Ready(Err(payload)),
        }
    }
}
