//! Starting tasks: at home, and from other threads.

use core::fmt;
use core::future::Future;
use core::task::Waker;

use crate::JoinHandle;
use crate::executor::HomeThreadOnly;
use crate::raw::engine::{Engine, RunNow};
use crate::raw::gate::Epoch;
#[cfg(feature = "alloc")]
use crate::raw::header::HeaderRef;
use crate::raw::waker;
use crate::storage::Place;

/// Starts tasks and sets timers on the thread's own executor; copy it into tasks.
///
/// It may outlive its executor: then it says [`SpawnError::Closed`].
///
/// # Examples
/// ```
/// # use spdk_exec::LocalExecutor;
/// use std::rc::Rc;
///
/// let executor = LocalExecutor::new();
/// let spawner = executor.spawner();
/// let local = Rc::new(5);
/// let outer = executor.spawn(async move {
///     let inner = spawner.spawn(async move { *local });
///     inner.await
/// });
/// assert_eq!(executor.block_on(outer)??, 5);
/// # Ok::<(), spdk_exec::JoinError>(())
/// ```
#[derive(Clone, Copy)]
pub struct Spawner {
    engine: &'static Engine,
    epoch: Epoch,
    _home: HomeThreadOnly,
}

impl Spawner {
    /// # Invariants
    /// The thread that holds it is the home thread of `engine`'s life `epoch`, if that is open.
    pub(crate) fn new(engine: &'static Engine, epoch: Epoch) -> Self {
        Self {
            engine,
            epoch,
            _home: HomeThreadOnly::new(),
        }
    }

    #[inline(always)]
    pub(crate) fn engine(&self) -> &'static Engine {
        self.engine
    }

    /// The engine, for its home thread: the caller.
    #[inline(always)]
    pub(crate) fn open(&self) -> Result<&'static Engine, SpawnError> {
        if self.engine.is_open(self.epoch) {
            Ok(self.engine)
        } else {
            Err(SpawnError::Closed)
        }
    }

    /// Itself: for code that has a [`LocalExecutor`](crate::LocalExecutor) and wants a copy.
    pub fn spawner(&self) -> Self {
        *self
    }

    /// The spawner of the executor whose task runs now on this thread, if one does.
    #[cfg(feature = "std")]
    pub fn current() -> Option<Self> {
        let engine = crate::raw::engine::current_engine()?;
        // INVARIANT: a frame of `engine` is on this thread's stack.
        Some(Self::new(engine, engine.epoch()))
    }

    /// Starts a task in a box.
    ///
    /// If the executor is closed the future is dropped, and the handle gives
    /// [`JoinError::Aborted`](crate::JoinError::Aborted).
    #[cfg(feature = "alloc")]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
    {
        match self.open() {
            Ok(engine) => JoinHandle::new(start_boxed(engine, future, true)),
            Err(_) => JoinHandle::refused(),
        }
    }

    /// Starts a task in a `static` place, without an allocation.
    ///
    /// # Errors
    /// [`SpawnError::Busy`] while an earlier task there is not over, or its handle still exists.
    pub fn spawn_in<F, P>(
        &self,
        place: &'static P,
        future: F,
    ) -> Result<JoinHandle<F::Output>, SpawnError>
    where
        F: Future + 'static,
        P: Place<F>,
    {
        let engine = self.open()?;
        let header = place.header();
        if !header.state.claim() {
            return Err(SpawnError::Busy);
        }
        let (vtable, data) = place.fill(future);
        // SAFETY: `data` is a cell in a `'static` place, and `vtable` that for its type.
        unsafe { header.set_task(engine, vtable, data) };
        header.state.publish(true, false);
        engine.start(header);
        Ok(JoinHandle::new(header))
    }

    /// The half that other threads may have.
    #[cfg(feature = "alloc")]
    pub fn remote(&self) -> RemoteSpawner {
        RemoteSpawner {
            engine: self.engine,
            epoch: self.epoch,
        }
    }
}

#[cfg(feature = "alloc")]
fn start_boxed<F: Future + 'static>(engine: &'static Engine, future: F, handle: bool) -> HeaderRef {
    let header = engine.pool.acquire();
    set_boxed(engine, header, future);
    header.state.publish(handle, false);
    engine.start(header);
    header
}

#[cfg(feature = "alloc")]
fn set_boxed<F: Future + 'static>(engine: &'static Engine, header: HeaderRef, future: F) {
    use crate::raw::cell::TaskCell;

    let cell = alloc::boxed::Box::new(TaskCell::<F>::empty());
    cell.fill(future);
    let data = core::ptr::NonNull::from(alloc::boxed::Box::leak(cell)).cast();
    // SAFETY: `data` is a cell in a box, and the table that for its type.
    unsafe { header.set_task(engine, &TaskCell::<F>::BOXED, data) };
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner")
            .field("open", &self.open().is_ok())
            .finish_non_exhaustive()
    }
}

/// Starts tasks on an executor from any thread.
///
/// It takes a closure that may be sent, which makes on the home thread a future that need not be.
///
/// # Examples
/// ```
/// # use spdk_exec::LocalExecutor;
/// use std::rc::Rc;
///
/// let executor = LocalExecutor::new();
/// let remote = executor.remote();
/// let handle = std::thread::spawn(move || {
///     remote.spawn(|| async {
///         let at_home = Rc::new(7);
///         *at_home
///     })
/// }).join().unwrap()?;
/// assert_eq!(executor.block_on(handle)?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "alloc")]
#[derive(Clone, Copy)]
pub struct RemoteSpawner {
    engine: &'static Engine,
    epoch: Epoch,
}

#[cfg(feature = "alloc")]
impl RemoteSpawner {
    /// Starts the task whose future `make` makes.
    ///
    /// # Errors
    /// [`SpawnError::Closed`] if the executor is gone; `make` is dropped here then.
    pub fn spawn<C, F>(&self, make: C) -> Result<JoinHandle<F::Output>, SpawnError>
    where
        C: FnOnce() -> F + Travels + 'static,
        F: Future + 'static,
        F::Output: Travels + 'static,
    {
        let header = self.engine.spawn_remote(self.epoch, |engine| {
            let header = engine.pool.acquire_remote();
            set_boxed(engine, header, crate::lazy::Lazy::new(make));
            header.state.publish(true, true);
            header
        })?;
        Ok(JoinHandle::new(header))
    }

    /// Whether the executor still takes tasks.
    pub fn is_open(&self) -> bool {
        self.engine.is_open(self.epoch)
    }
}

#[cfg(feature = "alloc")]
impl fmt::Debug for RemoteSpawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSpawner")
            .field("open", &self.is_open())
            .finish_non_exhaustive()
    }
}

/// What can go from one thread to another: all that is `Send`.
///
/// It says what to do where that is not so, which `Send` itself can't.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't go to another thread",
    label = "something in it is not `Send`",
    note = "the closure runs on the executor's home thread: make there what is not `Send`, and give \
            it only what is; let the future's output be `Send`, or drop it at home"
)]
pub trait Travels: Send {}

#[diagnostic::do_not_recommend]
impl<T: Send> Travels for T {}

/// Why a task was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnError {
    /// The place still holds a task, or the handle of one: wait for it, abort it, or drop the
    /// handle.
    Busy,
    /// The executor is closed: its tasks were dropped, and it takes no new ones.
    Closed,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => {
                "the place still holds a task, or the handle of one: wait for it or abort it"
            }
            Self::Closed => "the executor is closed: spawn on one that is not",
        })
    }
}

impl core::error::Error for SpawnError {}

/// A spawner that a thread is given: what a library asks for when it needs to start tasks of its
/// own on the caller's thread, whichever executor runs there.
pub trait LocalSpawn {
    /// Starts a task that runs on this thread until it is done, or until the executor closes.
    ///
    /// # Errors
    /// [`SpawnError::Closed`] if the executor takes no tasks any more; the future is dropped then.
    fn spawn_local<F>(&self, future: F) -> Result<(), SpawnError>
    where
        F: Future<Output = ()> + 'static;
}

#[cfg(feature = "alloc")]
impl LocalSpawn for Spawner {
    fn spawn_local<F>(&self, future: F) -> Result<(), SpawnError>
    where
        F: Future<Output = ()> + 'static,
    {
        start_boxed(self.open()?, future, false);
        Ok(())
    }
}

#[cfg(feature = "alloc")]
impl LocalSpawn for crate::LocalExecutor {
    fn spawn_local<F>(&self, future: F) -> Result<(), SpawnError>
    where
        F: Future<Output = ()> + 'static,
    {
        (**self).spawn_local(future)
    }
}

/// Wakes a task and runs it on the spot, if nothing of its executor that forbids it is below on the
/// stack.
///
/// For completion callbacks: what the task waits for has happened, the host called this thread back,
/// and one more pass of its loop would be time lost. Call it last, with no lock held and nothing
/// borrowed that the task might want. From within a task of the same executor, or more than 8 turns
/// deep, it queues the task as `wake` does; with another crate's waker, or on another thread, it
/// *is* `wake`.
///
/// # Examples
/// ```
/// # use spdk_exec::{Budget, LocalExecutor, RunNow};
/// use std::{cell::Cell, future::poll_fn, rc::Rc, task::{Poll, Waker}};
///
/// let executor = LocalExecutor::new();
/// let slot = Rc::new(Cell::new(None::<Waker>));
/// let theirs = slot.clone();
/// let task = executor.spawn(poll_fn(move |cx| match theirs.replace(Some(cx.waker().clone())) {
///     None => Poll::Pending,
///     Some(_) => Poll::Ready(()),
/// }));
/// let _ = executor.poll(Budget::ALL);
///
/// // The completion callback:
/// let waker = slot.take().unwrap();
/// slot.set(Some(waker.clone()));
/// assert_eq!(spdk_exec::run_now(waker), RunNow::Ran);
/// assert!(task.is_finished());
/// ```
pub fn run_now(waker: Waker) -> RunNow {
    let Some((header, tag)) = waker::header_of(&waker) else {
        waker.wake();
        return RunNow::Woken;
    };
    let seen = header.state.load();
    if !seen.is_live(tag) {
        return RunNow::Stale;
    }
    let Some(engine) = header.engine() else {
        return RunNow::Stale;
    };
    if !engine.is_home() {
        waker.wake();
        return RunNow::Woken;
    }
    // As for a wake: the life that was seen is on this engine, and lives.
    engine.run_now(header)
}
