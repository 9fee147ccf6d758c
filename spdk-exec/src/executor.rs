//! The executor: a shared half that can be a `static`, and the half that belongs to a thread.

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;

use crate::host::Host;
use crate::loom::const_fn;
use crate::raw::engine::Engine;
use crate::{Spawner, Stats};

/// How many tasks a poll may run.
///
/// A poll runs only those that were queued when it began, so a task that wakes itself for ever gets
/// one turn a poll like any other, and the rest of the thread's work gets its share in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(pub usize);

impl Budget {
    /// All that are queued when the poll begins.
    pub const ALL: Self = Self(usize::MAX);
}

impl Default for Budget {
    /// 64 tasks.
    fn default() -> Self {
        Self(64)
    }
}

/// What a poll found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "poll again while it is busy, or pass it on as the poller's result"]
pub enum Polled {
    /// No task was queued.
    Idle,
    /// Tasks were queued; if the budget was not enough for all, the rest still are.
    Busy,
}

impl Polled {
    /// Whether it is [`Busy`](Self::Busy).
    pub const fn is_busy(self) -> bool {
        matches!(self, Self::Busy)
    }
}

/// An executor that a `static` can hold: bind it on the thread that is to run its tasks.
///
/// # Examples
/// ```
/// use spdk_exec::{Budget, Executor, TaskSpace};
///
/// static EXECUTOR: Executor = Executor::new();
/// static BLINK: TaskSpace<256> = TaskSpace::new();
///
/// let executor = EXECUTOR.bind()?;
/// executor.spawn_in(&BLINK, async { /* ... */ })?.detach();
/// while executor.poll(Budget(64)).is_busy() {}
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Executor {
    engine: Engine,
}

impl Executor {
    const_fn! {
        /// An executor that no thread has bound yet.
        pub fn new() -> Self {
            Self { engine: Engine::new() }
        }
    }

    /// Binds it to this OS thread, which is from now on the only one that runs its tasks, until the
    /// [`LocalExecutor`] is dropped.
    ///
    /// # Errors
    /// [`BindError::AlreadyBound`] until the last one that was bound has been dropped.
    #[cfg(feature = "std")]
    pub fn bind(&'static self) -> Result<LocalExecutor, BindError> {
        self.bind_to(Host::thread())
    }

    /// As `bind`, to the thread that runs now in the eyes of `host`.
    ///
    /// # Errors
    /// As [`BindError`] says.
    pub fn bind_to(&'static self, host: Host) -> Result<LocalExecutor, BindError> {
        let epoch = self.engine.bind(host, false)?;
        // INVARIANT: bound above, by this thread.
        Ok(LocalExecutor {
            spawner: Spawner::new(&self.engine, epoch),
        })
    }
}

impl Default for Executor {
    fn default() -> Self {
        Self::new()
    }
}

/// Why an executor could not be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BindError {
    /// A [`LocalExecutor`] of it exists: drop that first, or use another executor.
    AlreadyBound,
    /// The host's [`ThreadIdentity`](crate::ThreadIdentity) names no thread here: bind it on a
    /// thread of that kind.
    NoThread,
    /// It was bound by a host with another [`ThreadIdentity`](crate::ThreadIdentity) before, which
    /// wakers of that time may still ask: use another executor.
    OtherIdentity,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyBound => {
                "the executor is bound already: drop its `LocalExecutor`, or use another executor"
            }
            Self::NoThread => {
                "the executor's host names no thread here: bind it on a thread of that kind"
            }
            Self::OtherIdentity => {
                "the executor was bound with another thread identity before: use another executor"
            }
        })
    }
}

impl core::error::Error for BindError {}

/// An executor on its home thread: it runs the tasks, and dropping it drops them.
///
/// It can't leave its thread, so its tasks' futures need not be `Send`. What spawns tasks and sets
/// timers is its [`Spawner`], to which it dereferences.
///
/// # Closing
/// Dropping it drops all live futures, in the order in which they were spawned, on this thread;
/// their handles give [`JoinError::Aborted`](crate::JoinError::Aborted); wakers, spawners and
/// handles that are left do no harm. It waits for other threads only while they are between two
/// instructions of a wake or inside [`Notify::notify_remote`](crate::Notify::notify_remote). If a
/// task drops the executor that it runs on, that happens when the task's turn is over.
pub struct LocalExecutor {
    spawner: Spawner,
}

impl LocalExecutor {
    /// An executor for this OS thread.
    #[cfg(feature = "std")]
    pub fn new() -> Self {
        Self::with_host(Host::thread()).expect("every OS thread has a name")
    }

    /// An executor for the thread that runs now in the eyes of `host`.
    ///
    /// # Errors
    /// [`BindError::NoThread`] if none does.
    #[cfg(feature = "alloc")]
    pub fn with_host(host: Host) -> Result<Self, BindError> {
        let engine = crate::raw::shelf::take(host.identity);
        match engine.bind(host, true) {
            // INVARIANT: bound by this thread.
            Ok(epoch) => Ok(Self {
                spawner: Spawner::new(engine, epoch),
            }),
            Err(error) => {
                crate::raw::shelf::put(engine);
                Err(error)
            }
        }
    }

    /// Runs at most `budget` tasks, and only those that are queued now, after having queued what
    /// other threads woke and what timers are due for.
    ///
    /// [`Busy`](Polled::Busy) and [`Idle`](Polled::Idle) are what an SPDK poller returns. A call
    /// from within a task does nothing and says idle.
    #[inline]
    pub fn poll(&self, budget: Budget) -> Polled {
        self.spawner.engine().poll(budget.0)
    }

    /// Whether a poll would find tasks to run, timers aside: for a host that is about to sleep.
    pub fn has_ready(&self) -> bool {
        self.spawner.engine().has_ready()
    }

    /// When the next timer is due, in the clock's ticks: for a host that is about to sleep.
    pub fn next_deadline(&self) -> Option<u64> {
        self.spawner.engine().next_deadline()
    }

    /// What it has done so far.
    pub fn stats(&self) -> Stats {
        self.spawner.engine().stats()
    }

    /// Makes headers for `count` more tasks now, so that starting them allocates none.
    #[cfg(feature = "alloc")]
    pub fn reserve(&self, count: usize) {
        self.spawner.engine().pool.reserve(count);
    }

    /// Runs tasks until `future` is done, which is not a task itself and may borrow; sleeps while
    /// there is nothing to do.
    ///
    /// For an executor whose host is [`Host::thread`]; with another it still works, but only a wake
    /// of `future` itself and timers end its sleep, which it then cuts to a millisecond at most.
    ///
    /// # Panics
    /// If `future` panics, or from within a task of this executor.
    #[cfg(feature = "std")]
    pub fn block_on<F: core::future::Future>(&self, future: F) -> F::Output {
        crate::block_on::block_on(self, future)
    }
}

#[cfg(feature = "std")]
impl Default for LocalExecutor {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for LocalExecutor {
    type Target = Spawner;

    fn deref(&self) -> &Spawner {
        &self.spawner
    }
}

impl Drop for LocalExecutor {
    fn drop(&mut self) {
        self.spawner.engine().close();
    }
}

impl fmt::Debug for LocalExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalExecutor")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Marks what belongs to the thread that runs an executor, and so is neither `Send` nor `Sync`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HomeThreadOnly(PhantomData<*const ()>);

impl HomeThreadOnly {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}
