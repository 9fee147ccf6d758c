//! The executor itself: queues, turns, and the end.
//!
//! ```text
//!                       1 bind                                   2 close
//!   ┌───────────────┐ ─────────► ┌───────────────────────────┐ ─────────► ┌──────────────────┐
//!   │ unbound       │            │ bound to its home thread  │            │ closing          │
//!   └───────────────┘ ◄───────┐  └───────────────────────────┘            │ no spawns        │
//!                             └───────────────────────────────────────────┤ tasks dropped    │
//!                                3 all wakes under way have arrived       └──────────────────┘
//! ```
//!
//! An engine's memory is an engine for ever: part of a static `Executor`, or taken from a shelf and
//! put back. So a waker or a spawner that outlives it reads an engine, finds another epoch or
//! generation there, and does nothing.

mod close;
mod counts;
mod stack;

#[cfg(feature = "std")]
pub(crate) use stack::current_engine;

use core::fmt;
use core::ptr;
use core::task::{Context, Waker};

use self::counts::{Counts, bump};
use self::stack::{Frame, OnUnwind};
use super::cell::Step;
use super::gate::{Epoch, Gate};
use super::header::HeaderRef;
use super::owned::OwnedList;
#[cfg(feature = "alloc")]
use super::pool::Pool;
use super::remote_queue::RemoteQueue;
use super::run_queue::{Batch, RunQueue};
use super::state::{Kind, RemoteWake, Snapshot};
use super::timers::TimerHeap;
use super::waker;
use crate::host::{Host, Identity, Notifier};
use crate::loom::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::*};
use crate::loom::{Cell, UnsafeCell, const_fn};
use crate::{BindError, Clock, JoinError, Polled, Stats};

/// How deep turns of one executor's tasks may nest on the stack: a task that starts another in
/// borrowed memory, a completion that runs the task it wakes.
pub(crate) const MAX_DEPTH: usize = 8;

/// See the [module](self).
///
/// # Invariants
/// - It is `'static`.
/// - `home` and what only the home thread touches (all but `shared`, and `pool`'s shared lists) is
///   touched by the thread that bound it, from bind to the end of closing; `notifier` is read by
///   other threads too, which the end of closing waits for.
pub(crate) struct Engine {
    shared: Shared,
    home: Home,
    #[cfg(feature = "alloc")]
    pub(crate) pool: Pool,
    /// Link on the shelf, under its lock.
    #[cfg(feature = "alloc")]
    pub(crate) shelf_next: Cell<*const Engine>,
}

/// What other threads write; on cache lines of its own.
#[repr(align(128))]
struct Shared {
    remote: RemoteQueue,
    gate: Gate,
}

#[repr(align(128))]
struct Home {
    /// The home thread's name, 0 while there is none or it has none.
    thread: AtomicUsize,
    /// How to ask for the name: null, or a `fn() -> usize`. Set once and for all by the first bind
    /// that names its thread, so that no reader can pair a name with another namer.
    identity: AtomicPtr<()>,
    /// The only OS thread on which its tasks run, if the host said so, else 0.
    #[cfg(feature = "std")]
    os_thread: AtomicUsize,
    bound: AtomicBool,
    notifier: UnsafeCell<Notifier>,
    /// The notifier unparks the home thread.
    #[cfg(feature = "std")]
    unparks: Cell<bool>,
    /// The notifier may want to know of wakes on the home thread.
    tells_local: Cell<bool>,
    clock: Cell<Option<&'static dyn Clock>>,
    queue: RunQueue,
    owned: OwnedList,
    timers: TimerHeap,
    /// Frames of this executor on the stack.
    depth: Cell<usize>,
    /// Whether one of them is inside a future, or where no task may start on the spot.
    in_future: Cell<bool>,
    /// Complete tasks that the remote queue still holds, or will.
    zombies: Cell<usize>,
    close_requested: Cell<bool>,
    /// Goes back to the shelf when it is closed.
    on_loan: Cell<bool>,
    counts: Counts,
}

// SAFETY: `shared`, `pool`'s shared lists and the atomics in `home` are for everyone; the rest is
// touched by one thread at a time, by the type's invariant.
unsafe impl Sync for Engine {}

/// What became of a task that was to run on the spot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunNow {
    /// It had its turn.
    Ran,
    /// It waits in the run queue: it did so already, or a task of this executor is below on the
    /// stack, or turns nest too deep.
    Queued,
    /// This is not its home thread, or the waker is not this crate's: woken the ordinary way.
    Woken,
    /// It is over.
    Stale,
}

impl Engine {
    const_fn! {
        pub(crate) fn new() -> Self {
            Self {
                shared: Shared { remote: RemoteQueue::new(), gate: Gate::new() },
                home: Home {
                    thread: AtomicUsize::new(0),
                    identity: AtomicPtr::new(ptr::null_mut()),
                    #[cfg(feature = "std")]
                    os_thread: AtomicUsize::new(0),
                    bound: AtomicBool::new(false),
                    notifier: UnsafeCell::new(Notifier::None),
                    #[cfg(feature = "std")]
                    unparks: Cell::new(false),
                    tells_local: Cell::new(false),
                    clock: Cell::new(None),
                    queue: RunQueue::new(),
                    owned: OwnedList::new(),
                    timers: TimerHeap::new(),
                    depth: Cell::new(0),
                    in_future: Cell::new(false),
                    zombies: Cell::new(0),
                    close_requested: Cell::new(false),
                    on_loan: Cell::new(false),
                    counts: Counts::new(),
                },
                #[cfg(feature = "alloc")]
                pool: Pool::new(),
                #[cfg(feature = "alloc")]
                shelf_next: Cell::new(ptr::null()),
            }
        }
    }

    /// 1
    pub(crate) fn bind(&'static self, host: Host, on_loan: bool) -> Result<Epoch, BindError> {
        let thread = host.identity.current();
        if thread == 0 && !matches!(host.identity, Identity::Unknown) {
            return Err(BindError::NoThread);
        }
        // Acquire: pairs with the end of `close`; from here on the fields are this thread's.
        if self
            .home
            .bound
            .compare_exchange(false, true, Acquire, Relaxed)
            .is_err()
        {
            return Err(BindError::AlreadyBound);
        }
        if let Err(error) = self.set_identity(host.identity) {
            self.home.bound.store(false, Release);
            return Err(error);
        }
        #[cfg(feature = "std")]
        self.home.unparks.set(host.unparks);
        self.home
            .tells_local
            .set(host.notifier.get().is_some() && !host.unparks());
        self.home.notifier.with_mut(|notifier| {
            // SAFETY: no other thread reads it while there are no tasks and no visitors.
            unsafe { *notifier = host.notifier }
        });
        self.home.clock.set(host.clock);
        self.home.on_loan.set(on_loan);
        self.home.counts.reset();
        #[cfg(feature = "std")]
        self.home.os_thread.store(host.os_thread, Relaxed);
        // Release: the identity is visible to whoever reads the name.
        self.home.thread.store(thread, Release);
        Ok(self.shared.gate.open())
    }

    fn set_identity(&self, identity: Identity) -> Result<(), BindError> {
        if !self.accepts(identity) {
            return Err(BindError::OtherIdentity);
        }
        if let Some(code) = identity_code(identity) {
            self.home.identity.store(code, Relaxed);
        }
        Ok(())
    }

    /// Whether no other way to name threads was ever used with this engine.
    pub(crate) fn accepts(&self, identity: Identity) -> bool {
        let now = self.home.identity.load(Relaxed);
        now.is_null() || identity_code(identity).is_none_or(|code| code == now)
    }

    /// Whether the caller is on the home thread.
    #[inline(always)]
    pub(crate) fn is_home(&self) -> bool {
        // Acquire: pairs with `bind`.
        let thread = self.home.thread.load(Acquire);
        thread != 0 && thread == self.current_thread() && self.is_os_thread() != Some(false)
    }

    /// Whether a wake by the caller may touch what is the home thread's: on the home thread, or on the only OS thread
    /// that runs its tasks.
    #[inline(always)]
    pub(crate) fn takes_wakes_here(&self) -> bool {
        match self.is_os_thread() {
            Some(is_here) => is_here,
            None => self.is_home(),
        }
    }

    /// Whether this is the OS thread that the host named; `None` if it named none.
    #[inline(always)]
    fn is_os_thread(&self) -> Option<bool> {
        #[cfg(feature = "std")]
        {
            // Relaxed: no other thread has the number that the caller has, so only the thread that stored it, or stored
            // something else since, finds its own.
            let stays = self.home.os_thread.load(Relaxed);
            (stays != 0).then(|| stays == crate::host::thread_id())
        }
        #[cfg(not(feature = "std"))]
        None
    }

    #[inline(always)]
    fn current_thread(&self) -> usize {
        let code = self.home.identity.load(Relaxed);
        // The common case inline; were the function to have two addresses, the call says the same.
        #[cfg(feature = "std")]
        if ptr::eq(code, os_thread as fn() -> usize as *mut ()) {
            return crate::host::thread_id();
        }
        // SAFETY: a name is set, so `set_identity` stored a `fn() -> usize` before it.
        let current = unsafe { core::mem::transmute::<*mut (), fn() -> usize>(code) };
        current()
    }

    #[inline]
    pub(crate) fn is_open(&self, epoch: Epoch) -> bool {
        self.shared.gate.is_open(epoch)
    }

    pub(crate) fn clock(&self) -> Option<&'static dyn Clock> {
        self.home.clock.get()
    }

    pub(crate) fn timers(&self) -> &TimerHeap {
        &self.home.timers
    }

    /// Links a task that was just published on the home thread, and gives it its first turn.
    #[inline]
    pub(crate) fn start(&self, header: HeaderRef) {
        self.adopt(header);
        self.enqueue(header);
    }

    #[inline]
    pub(crate) fn adopt(&self, header: HeaderRef) {
        self.home.owned.push_back(header);
        bump(&self.home.counts.spawned, 1);
    }

    /// A wake on the home thread, for a live task of this executor.
    #[inline(always)]
    pub(crate) fn schedule(&self, header: HeaderRef) {
        bump(&self.home.counts.local_wakes, 1);
        self.enqueue(header);
    }

    #[inline(always)]
    fn enqueue(&self, header: HeaderRef) {
        let first = self.home.queue.len() == 0;
        let queued = self.home.queue.push(header);
        if self.home.tells_local.get() && queued && first && self.home.depth.get() == 0 {
            self.notify_local();
        }
    }

    #[cold]
    fn notify_local(&self) {
        self.home.notifier.with(|notifier| {
            // SAFETY: the home thread writes it only in `bind` and `close`.
            if let Some(notify) = unsafe { &*notifier }.get() {
                notify.notify_local();
            }
        });
    }

    /// Hands a header to the home thread; the caller has set REMOTE in its state.
    pub(crate) fn push_remote(&self, header: HeaderRef) {
        let has_notifier = self.home.notifier.with(|notifier| {
            // SAFETY: REMOTE is set, so the executor does not close before it got the header.
            unsafe { &*notifier }.get().is_some()
        });
        let mut visit = None;
        let first = self.shared.remote.push(header, || {
            if has_notifier && visit.is_none() {
                visit = Some(self.shared.gate.enter());
            }
        });
        // From here on only the visit keeps the executor from closing.
        if first && visit.is_some() {
            self.home.notifier.with(|notifier| {
                // SAFETY: the executor does not close before the visit has ended.
                if let Some(notify) = unsafe { &*notifier }.get() {
                    notify.notify_remote();
                }
            });
        }
    }

    /// Hands a task that was published with REMOTE to the home thread, if the executor is open.
    #[cfg(feature = "alloc")]
    pub(crate) fn spawn_remote(
        &'static self,
        epoch: Epoch,
        publish: impl FnOnce(&'static Self) -> HeaderRef,
    ) -> Result<HeaderRef, crate::SpawnError> {
        let _visit = self
            .shared
            .gate
            .try_enter(epoch)
            .ok_or(crate::SpawnError::Closed)?;
        let header = publish(self);
        self.push_remote(header);
        Ok(header)
    }

    /// One poll by the host.
    pub(crate) fn poll(&'static self, budget: usize) -> Polled {
        if self.home.depth.get() > 0 {
            return Polled::Idle;
        }
        let _frame = Frame::enter(self);
        self.take_remote();
        if !self.home.timers.is_empty() {
            self.fire_timers(budget);
        }
        let queued = self.home.queue.len();
        let mut turns = queued.min(budget);
        if queued > budget {
            bump(&self.home.counts.exhausted, 1);
        }
        while turns > 0 {
            let Some(header) = self.home.queue.pop() else {
                break;
            };
            turns -= 1;
            self.turn(header);
        }
        if queued > 0 {
            Polled::Busy
        } else {
            Polled::Idle
        }
    }

    #[inline(always)]
    fn take_remote(&self) {
        if !self.shared.remote.is_empty() {
            self.take_remote_slow();
        }
    }

    #[cold]
    #[inline(never)]
    fn take_remote_slow(&self) {
        let mut batch = Batch::new();
        let mut fresh = false;
        for header in self.shared.remote.take_all() {
            bump(&self.home.counts.remote_wakes, 1);
            let now = header.state.take_remote();
            if now.is_complete() {
                self.home.zombies.set(self.home.zombies.get() - 1);
                self.release_if_last(header, now);
                continue;
            }
            fresh |= !OwnedList::contains(header);
            batch.push_front(header);
        }
        if fresh {
            // In the order in which they were spawned.
            batch
                .iter()
                .filter(|header| !OwnedList::contains(header))
                .for_each(|header| self.adopt(header));
        }
        self.home.queue.append(batch);
    }

    fn fire_timers(&self, budget: usize) {
        let Some(clock) = self.home.clock.get() else {
            return;
        };
        let now = clock.now();
        for _ in 0..budget {
            let Some(waker) = self.home.timers.pop_due(now) else {
                return;
            };
            bump(&self.home.counts.timers, 1);
            if let Some(waker) = waker {
                self.wake_contained(waker);
            }
        }
    }

    /// Wakes what may be another crate's waker, and so may panic.
    fn wake_contained(&self, waker: Waker) {
        if super::panic::contain(|| waker.wake()).is_err() {
            self.count_panic(Step::Panicked);
        }
    }

    /// The turn of a header that was just taken off the run queue.
    #[inline(always)]
    fn turn(&'static self, header: HeaderRef) {
        let now = header.state.load();
        if now.is_complete() {
            let now = header.state.unlink();
            self.release_if_last(header, now);
        } else {
            self.run(header, now);
        }
    }

    /// Polls or drops one live task that is not being polled.
    #[inline(always)]
    fn run(&'static self, header: HeaderRef, now: Snapshot) {
        let (vtable, data) = header.task();
        bump(&self.home.counts.turns, 1);
        let was_in_future = self.home.in_future.replace(true);
        let unwinding = OnUnwind {
            engine: self,
            header,
            was_in_future,
        };
        let step = if now.is_aborted() {
            // SAFETY: the task is live, this is its home thread, and it is not being polled.
            unsafe { (vtable.abort)(data, JoinError::Aborted) }
        } else {
            let waker = waker::waker(header, now);
            // SAFETY: as above.
            unsafe { (vtable.poll)(data, &mut Context::from_waker(&waker)) }
        };
        core::mem::forget(unwinding);
        self.home.in_future.set(was_in_future);
        if step != Step::Pending {
            self.finish(header, step);
        }
    }

    /// The future is gone: tells the handle, or throws the output away, and lets go of the header.
    fn finish(&'static self, header: HeaderRef, step: Step) {
        let (vtable, data) = header.task();
        self.count_panic(step);
        self.home.owned.remove(header);
        let (now, join_waker) = header.state.complete(header.is_queued(), || {
            // SAFETY: `complete` calls this when the join waker is ours, and full.
            unsafe { super::cell::take_join_waker(data) }
        });
        if now.is_remote() {
            self.home.zombies.set(self.home.zombies.get() + 1);
        }
        if let Some(waker) = join_waker {
            self.wake_contained(waker);
        }
        if !now.has_handle() {
            // SAFETY: the task is complete and nobody else wants the output.
            let step = unsafe { (vtable.discard)(data) };
            self.count_panic(step);
            self.release_if_last(header, now);
        }
    }

    #[inline]
    fn count_panic(&self, step: Step) {
        if step == Step::Panicked {
            bump(&self.home.counts.panics, 1);
        }
    }

    /// On the home thread.
    #[inline]
    fn release_if_last(&self, header: HeaderRef, now: Snapshot) {
        if now.is_releasable() {
            header.state.vacate();
            match now.kind() {
                Kind::Static => {}
                #[cfg(feature = "alloc")]
                Kind::Pool => self.pool.release(header),
                #[cfg(feature = "alloc")]
                Kind::Depot => self.pool.release_depot(header),
                #[cfg(not(feature = "alloc"))]
                Kind::Pool | Kind::Depot => unreachable!("there is no pool"),
            }
        }
    }

    /// For the handle of a complete task, on any thread, when it is done with the output.
    pub(crate) fn release_handle(&self, header: HeaderRef) {
        let now = header.state.release_handle();
        if !now.is_releasable() {
            return;
        }
        if self.is_home() {
            return self.release_if_last(header, now);
        }
        header.state.vacate();
        match now.kind() {
            Kind::Static => {}
            #[cfg(feature = "alloc")]
            Kind::Pool => self.pool.release_remote(header),
            #[cfg(feature = "alloc")]
            Kind::Depot => self.pool.release_depot(header),
            #[cfg(not(feature = "alloc"))]
            Kind::Pool | Kind::Depot => unreachable!("there is no pool"),
        }
    }

    /// Asks for a task to be dropped; the caller holds its handle.
    pub(crate) fn abort(&self, header: HeaderRef) {
        if self.is_home() {
            if header.state.abort_home() {
                self.schedule(header);
            }
        } else if header.state.abort_remote() == RemoteWake::Push {
            self.push_remote(header);
        }
    }

    /// Gives a live task of this executor its turn now, if nothing below it on the stack forbids.
    pub(crate) fn run_now(&'static self, header: HeaderRef) -> RunNow {
        if header.is_queued() {
            return RunNow::Queued;
        }
        if self.home.in_future.get() || self.home.depth.get() >= MAX_DEPTH {
            self.schedule(header);
            return RunNow::Queued;
        }
        bump(&self.home.counts.run_now, 1);
        let _frame = Frame::enter(self);
        self.run(header, header.state.load());
        RunNow::Ran
    }

    /// The first turn of a task that was just adopted, at once unless turns nest too deep; true if
    /// it had one.
    #[cfg(feature = "alloc")]
    pub(crate) fn run_first(&'static self, header: HeaderRef) -> bool {
        if self.home.depth.get() >= MAX_DEPTH {
            self.enqueue(header);
            return false;
        }
        let _frame = Frame::enter(self);
        self.run(header, header.state.load());
        true
    }

    /// As `abort`, for the home thread and a task that is live.
    #[cfg(feature = "alloc")]
    pub(crate) fn abort_at_home(&self, header: HeaderRef) {
        if header.state.abort_home() {
            self.schedule(header);
        }
    }

    #[cfg(feature = "std")]
    pub(crate) fn is_running(&self) -> bool {
        self.home.depth.get() > 0
    }

    /// Whether wakes from other threads unpark the home thread.
    #[cfg(feature = "std")]
    pub(crate) fn unparks(&self) -> bool {
        self.home.unparks.get()
    }

    #[cfg(feature = "std")]
    pub(crate) fn epoch(&self) -> Epoch {
        self.shared.gate.epoch()
    }

    /// Whether a poll would find a task to run, timers aside.
    pub(crate) fn has_ready(&self) -> bool {
        self.home.queue.len() > 0 || !self.shared.remote.is_empty()
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.home.timers.next_deadline()
    }

    pub(crate) fn stats(&self) -> Stats {
        let counts = &self.home.counts;
        Stats {
            alive: self.home.owned.len(),
            queued: self.home.queue.len(),
            spawned: counts.spawned.get(),
            turns: counts.turns.get(),
            local_wakes: counts.local_wakes.get(),
            remote_wakes: counts.remote_wakes.get(),
            run_now: counts.run_now.get(),
            timers_fired: counts.timers.get(),
            budget_exhausted: counts.exhausted.get(),
            panics: counts.panics.get(),
        }
    }

    #[cfg(all(test, feature = "std", not(loom)))]
    pub(crate) fn assert_valid(&self) {
        self.home.queue.assert_valid();
        self.home.owned.assert_valid();
        self.home.timers.assert_valid();
    }
}

impl fmt::Debug for Engine {
    /// Only what any thread may read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("gate", &self.shared.gate)
            .finish_non_exhaustive()
    }
}

/// What stands for an identity in `Home::identity`: the function that names the thread.
fn identity_code(identity: Identity) -> Option<*mut ()> {
    match identity {
        Identity::Unknown => None,
        #[cfg(feature = "std")]
        Identity::OsThread => Some(os_thread as fn() -> usize as *mut ()),
        Identity::Custom(current) => Some(current as *mut ()),
    }
}

#[cfg(feature = "std")]
fn os_thread() -> usize {
    crate::host::thread_id()
}
