//! The executors, behind one trait.

use std::cell::RefCell;
use std::future::Future;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use futures::task::LocalSpawnExt;
use spdk_exec::{Budget, LocalExecutor, LocalSpawn, Polled, TaskStorage};

/// An executor that runs `!Send` futures on the thread that polls it.
pub trait Rival {
    /// Its name in results.
    const NAME: &'static str;

    /// Memory for tasks of one type, if it wants that beforehand.
    type Places<F: Future<Output = ()> + 'static>;

    /// A sleep on the timers that are used with it.
    type Sleep: Future;

    /// A new one.
    fn new() -> Self;

    /// Memory for `count` tasks.
    fn places<F: Future<Output = ()> + 'static>(&self, count: usize) -> Self::Places<F>;

    /// Starts a task, in the memory with that index, and lets go of its handle.
    fn spawn<F: Future<Output = ()> + 'static>(&self, places: &Self::Places<F>, index: usize, f: F);

    /// Runs what is ready.
    fn run_ready(&self);

    /// A sleep, if it has timers.
    fn sleep(&self, time: Duration) -> Option<Self::Sleep>;

    /// Runs a future, and tasks, until that is ready.
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T;

    /// Runs tasks until `over` says so.
    fn run_until(&self, over: impl Fn() -> bool) {
        while !over() {
            self.run_ready();
        }
    }

    /// Runs the one task that is ready.
    fn run_one(&self);

    /// The time of `steps` times `f` and running the task that it made ready.
    fn measure(&self, f: impl Fn(), steps: u64) -> Duration {
        let start = Instant::now();
        for _ in 0..steps {
            f();
            self.run_one();
        }
        start.elapsed()
    }
}

/// This crate's, with tasks in boxes.
#[derive(Debug)]
pub struct Boxed(LocalExecutor);

impl Rival for Boxed {
    const NAME: &'static str = "spdk-exec";
    type Places<F: Future<Output = ()> + 'static> = ();
    type Sleep = spdk_exec::Sleep;

    fn new() -> Self {
        Self(LocalExecutor::new())
    }

    fn places<F: Future<Output = ()> + 'static>(&self, _: usize) {}

    fn spawn<F: Future<Output = ()> + 'static>(&self, _: &(), _: usize, f: F) {
        self.0.spawn_local(f).expect("the executor is open");
    }

    fn run_ready(&self) {
        run_ready(&self.0);
    }

    fn run_one(&self) {
        let _ = self.0.poll(Budget::ALL);
    }

    fn sleep(&self, time: Duration) -> Option<spdk_exec::Sleep> {
        Some(self.0.sleep(time))
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }
}

/// This crate's, with tasks in static places.
#[derive(Debug)]
pub struct Static(LocalExecutor);

impl Rival for Static {
    const NAME: &'static str = "spdk-exec, static";
    type Places<F: Future<Output = ()> + 'static> = Vec<&'static TaskStorage<F>>;
    type Sleep = spdk_exec::Sleep;

    fn new() -> Self {
        Self(LocalExecutor::new())
    }

    fn places<F: Future<Output = ()> + 'static>(&self, count: usize) -> Self::Places<F> {
        (0..count)
            .map(|_| &*Box::leak(Box::new(TaskStorage::new())))
            .collect()
    }

    fn spawn<F>(&self, places: &Self::Places<F>, index: usize, f: F)
    where
        F: Future<Output = ()> + 'static,
    {
        self.0
            .spawn_in(places[index], f)
            .expect("the one before is over")
            .detach();
    }

    fn run_ready(&self) {
        run_ready(&self.0);
    }

    fn run_one(&self) {
        let _ = self.0.poll(Budget::ALL);
    }

    fn sleep(&self, time: Duration) -> Option<spdk_exec::Sleep> {
        Some(self.0.sleep(time))
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }
}

fn run_ready(executor: &LocalExecutor) {
    while executor.poll(Budget::ALL) == Polled::Busy && executor.has_ready() {}
}

/// `async-executor`'s `LocalExecutor`, with `async-io`'s timers.
#[derive(Debug)]
pub struct AsyncExecutor(async_executor::LocalExecutor<'static>);

impl Rival for AsyncExecutor {
    const NAME: &'static str = "async-executor";
    type Places<F: Future<Output = ()> + 'static> = ();
    type Sleep = async_io::Timer;

    fn new() -> Self {
        Self(async_executor::LocalExecutor::new())
    }

    fn places<F: Future<Output = ()> + 'static>(&self, _: usize) {}

    fn spawn<F: Future<Output = ()> + 'static>(&self, _: &(), _: usize, f: F) {
        self.0.spawn(f).detach();
    }

    fn run_ready(&self) {
        while self.0.try_tick() {}
    }

    fn run_one(&self) {
        self.0.try_tick();
    }

    fn sleep(&self, time: Duration) -> Option<async_io::Timer> {
        Some(async_io::Timer::after(time))
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        async_io::block_on(self.0.run(future))
    }
}

/// `futures`' `LocalPool`, with `futures-timer`'s timers.
#[derive(Debug)]
pub struct LocalPool {
    pool: RefCell<futures::executor::LocalPool>,
    spawner: futures::executor::LocalSpawner,
}

impl Rival for LocalPool {
    const NAME: &'static str = "futures LocalPool";
    type Places<F: Future<Output = ()> + 'static> = ();
    type Sleep = futures_timer::Delay;

    fn new() -> Self {
        let pool = futures::executor::LocalPool::new();
        Self {
            spawner: pool.spawner(),
            pool: pool.into(),
        }
    }

    fn places<F: Future<Output = ()> + 'static>(&self, _: usize) {}

    fn spawn<F: Future<Output = ()> + 'static>(&self, _: &(), _: usize, f: F) {
        self.spawner.spawn_local(f).expect("the pool is open");
    }

    fn run_ready(&self) {
        self.pool.borrow_mut().run_until_stalled();
    }

    fn run_one(&self) {
        self.run_ready();
    }

    fn sleep(&self, time: Duration) -> Option<futures_timer::Delay> {
        Some(futures_timer::Delay::new(time))
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.pool.borrow_mut().run_until(future)
    }
}

/// Tokio's current-thread runtime, with a `LocalSet`.
///
/// It runs inside one `block_on` for a whole measurement, and yields to its `LocalSet` where the
/// others are polled: entering it for each step would count what no user of it does.
#[derive(Debug)]
pub struct Tokio {
    runtime: tokio::runtime::Runtime,
    set: tokio::task::LocalSet,
}

impl Rival for Tokio {
    const NAME: &'static str = "tokio LocalSet";
    type Places<F: Future<Output = ()> + 'static> = ();
    type Sleep = tokio::time::Sleep;

    fn new() -> Self {
        Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .expect("a runtime without I/O starts"),
            set: tokio::task::LocalSet::new(),
        }
    }

    fn places<F: Future<Output = ()> + 'static>(&self, _: usize) {}

    fn spawn<F: Future<Output = ()> + 'static>(&self, _: &(), _: usize, f: F) {
        drop(self.set.spawn_local(f));
    }

    fn run_ready(&self) {
        // A turn of the set is 61 tasks; 1,000 take 17.
        self.block_on(async {
            for _ in 0..18 {
                tokio::task::yield_now().await;
            }
        });
    }

    fn run_one(&self) {
        self.block_on(tokio::task::yield_now());
    }

    fn sleep(&self, time: Duration) -> Option<tokio::time::Sleep> {
        Some(tokio::time::sleep(time))
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(self.set.run_until(future))
    }

    fn run_until(&self, over: impl Fn() -> bool) {
        self.block_on(async {
            while !over() {
                tokio::task::yield_now().await;
            }
        });
    }

    fn measure(&self, f: impl Fn(), steps: u64) -> Duration {
        self.block_on(async {
            let start = Instant::now();
            for _ in 0..steps {
                f();
                tokio::task::yield_now().await;
            }
            start.elapsed()
        })
    }
}

/// `embassy-executor`'s raw executor; its timers are another crate's, and not measured.
pub struct Embassy {
    executor: &'static embassy_executor::raw::Executor,
    _not_send: PhantomData<*const ()>,
}

impl std::fmt::Debug for Embassy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embassy").finish_non_exhaustive()
    }
}

/// What embassy calls when a task is woken: nothing, as the loops here poll anyway.
#[unsafe(export_name = "__pender")]
extern "Rust" fn pender(_: *mut ()) {}

impl Rival for Embassy {
    const NAME: &'static str = "embassy raw";
    type Places<F: Future<Output = ()> + 'static> =
        Vec<&'static embassy_executor::raw::TaskStorage<F>>;
    type Sleep = std::future::Pending<()>;

    fn new() -> Self {
        Self {
            executor: Box::leak(Box::new(embassy_executor::raw::Executor::new(
                std::ptr::null_mut(),
            ))),
            _not_send: PhantomData,
        }
    }

    fn places<F: Future<Output = ()> + 'static>(&self, count: usize) -> Self::Places<F> {
        (0..count)
            .map(|_| &*Box::leak(Box::new(embassy_executor::raw::TaskStorage::new())))
            .collect()
    }

    fn spawn<F>(&self, places: &Self::Places<F>, index: usize, f: F)
    where
        F: Future<Output = ()> + 'static,
    {
        let token = places[index].spawn(|| f).expect("the one before is over");
        self.executor.spawner().spawn(token);
    }

    fn run_ready(&self) {
        // One batch: it does not say whether anything is left.
        // SAFETY: not from within itself, and always from one thread.
        unsafe { self.executor.poll() };
    }

    fn run_one(&self) {
        self.run_ready();
    }

    fn sleep(&self, _: Duration) -> Option<Self::Sleep> {
        None
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        futures::executor::block_on(future)
    }
}
