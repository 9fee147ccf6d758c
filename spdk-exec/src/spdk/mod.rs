//! The executor on an SPDK thread: attached as a poller, told apart by SPDK's thread, timed by its ticks.
//!
//! ```text
//!                 1                          2
//!  (no executor) ───► attached, n handles ──────► detached: live tasks dropped, later spawns say Closed
//!                          │      ▲                   ▲
//!                          └──────┘ attach again      │
//!                          └── the app or thread ends ─┘
//!  1: attach   2: the last `Attached` is dropped
//! ```
//!
//! There is one executor on each SPDK thread. Its futures need not be `Send`, so the SPDK thread must stay on the
//! OS thread on which the executor was attached: a thread of `spdk-safe`'s that may be moved gets none, and if somebody
//! moves another one, the poller sees that before it touches anything, says so in the log once, and runs nothing any
//! more.
//!
//! [`attach`] is what a thread is given as its spawner: [`Attached`] is a [`Spawner`](spdk_safe::thread::Spawner).
//!
//! # Examples
//! ```no_run
//! use spdk_safe::prelude::*;
//!
//! App::builder("workers").no_huge().no_pci().cores(Cores::of([0, 1])).run(async |spdk| {
//!     let worker = Thread::builder("worker").core(1).spawner(spdk_exec::spdk::attach).create(&spdk).await?;
//!     let task = worker.spawn(|| async { "run by an executor on core 1" }).await?;
//!     println!("{}", task.await?);
//!     worker.exit().await; // drops what still runs
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! On the app thread, or any other:
//! ```no_run
//! use spdk_safe::prelude::*;
//!
//! App::builder("tasks").no_huge().no_pci().run(async |_spdk| {
//!     let executor = spdk_exec::spdk::attach()?;
//!     let one = executor.spawn(async { 1 });
//!     let two = executor.spawn(async { 2 });
//!     println!("{}", one.await? + two.await?);
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod device;

pub use device::{Async, AsyncBlockDevice, AsyncChannel};

use core::cell::RefCell;
use core::fmt;
use core::future::Future;
use core::num::{NonZeroU64, NonZeroUsize};
use core::ops::Deref;
use std::rc::{Rc, Weak};
use std::thread_local;
use std::vec::Vec;

use spdk_safe::error::ThreadError;
use spdk_safe::thread::{
    LocalTask, Poller, PollerStatus, at_exit, current_id, is_exiting, resume_with, ticks,
    ticks_per_second,
};

use crate::{Budget, Clock, Host, JoinHandle, LocalExecutor, LocalSpawn, Spawner, ThreadIdentity};

/// How many tasks one call of the poller runs at most: other pollers of the thread wait meanwhile.
const BUDGET: Budget = Budget(64);

/// After how many passes of the loop the poller looks whether the thread was told to exit.
const LOOK_EVERY: u32 = 256;

/// A handle to the executor of this SPDK thread; spawn through it.
///
/// It belongs to the thread that made it. When the last one is dropped the executor is detached, and drops the tasks
/// that still live. Handles that survive the app are harmless: their spawns say closed.
#[must_use = "the executor is detached when the last handle is dropped"]
#[derive(Clone)]
pub struct Attached {
    attachment: Rc<Attachment>,
    spawner: Spawner,
}

/// Attaches an executor to the current SPDK thread, or finds the one that is attached to it.
///
/// # Errors
/// [`ThreadError::NoThread`] when no SPDK thread is current; [`ThreadError::Migratable`] on one that may be moved;
/// [`ThreadError::Exiting`] on one that exits.
pub fn attach() -> Result<Attached, ThreadError> {
    let thread = current_id().ok_or(ThreadError::NoThread)?;
    let found = ATTACHED.with_borrow_mut(|list| {
        list.retain(|(_, attachment)| attachment.strong_count() != 0);
        let mine = list.iter().find(|(id, _)| *id == thread);
        mine.and_then(|(_, attachment)| attachment.upgrade())
    });
    // One whose poller is gone would never run a task: it is replaced.
    if let Some(attachment) = &found {
        let is_driven = attachment
            .poller
            .borrow()
            .as_ref()
            .is_some_and(Poller::is_registered);
        if !is_driven {
            attachment.detach();
        }
    }
    if let Some(attached) = found.and_then(Attached::of) {
        return Ok(attached);
    }
    resume_with(|waker| {
        crate::run_now(waker);
    });
    let host = Host::bare()
        .identity::<SpdkThread>()
        .on_this_os_thread()
        .clock(&SPDK_TICKS);
    let executor = LocalExecutor::with_host(host).map_err(|_| ThreadError::NoThread)?;
    let attachment = Rc::new(Attachment::default());
    attachment.executor.replace(Some(Rc::new(executor)));
    attachment.poller.replace(Some(poller(&attachment)?));
    // On a thread that `spdk-safe` did not make nobody says when it ends; the poller looks.
    if !HOOKED.with_borrow(|ids| ids.contains(&thread)) && at_exit(detach_mine).is_ok() {
        HOOKED.with_borrow_mut(|ids| ids.push(thread));
    }
    ATTACHED.with_borrow_mut(|list| {
        list.retain(|(id, _)| *id != thread);
        list.push((thread, Rc::downgrade(&attachment)));
    });
    Attached::of(attachment).ok_or(ThreadError::NoThread)
}

thread_local! {
    /// The executors on the SPDK threads that this OS thread runs.
    static ATTACHED: RefCell<Vec<(NonZeroU64, Weak<Attachment>)>> = const { RefCell::new(Vec::new()) };
    /// Those that will call [`detach_mine`] when they exit.
    static HOOKED: RefCell<Vec<NonZeroU64>> = const { RefCell::new(Vec::new()) };
    /// Its address tells OS threads apart.
    static HERE: u8 = const { 0 };
}

/// The current thread exits: none of its tasks runs any more.
fn detach_mine() {
    let exits = current_id();
    HOOKED.with_borrow_mut(|ids| ids.retain(|id| Some(*id) != exits));
    let mine = ATTACHED.with_borrow(|list| {
        let mine = list.iter().find(|(id, _)| Some(*id) == exits);
        mine.and_then(|(_, attachment)| attachment.upgrade())
    });
    if let Some(attachment) = mine {
        attachment.detach();
    }
}

fn here() -> usize {
    HERE.with(|here| core::ptr::from_ref(here).addr())
}

/// Both are taken out before they are dropped, so nothing is borrowed while user code runs.
#[derive(Default)]
struct Attachment {
    executor: RefCell<Option<Rc<LocalExecutor>>>,
    poller: RefCell<Option<Poller>>,
}

impl Attachment {
    fn detach(&self) {
        let poller = self.poller.take();
        let executor = self.executor.take();
        drop(poller);
        // Drops the live tasks; if one of them is below us on the stack, its poll holds another count.
        drop(executor);
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.detach();
    }
}

/// The poller that drives `attachment`, on the current SPDK thread.
fn poller(attachment: &Rc<Attachment>) -> Result<Poller, ThreadError> {
    let weak = Rc::downgrade(attachment);
    let executor = attachment
        .executor
        .borrow()
        .as_ref()
        .map_or_else(Weak::new, Rc::downgrade);
    let home = here();
    let (mut moved, mut passes) = (false, 0_u32);
    Poller::register(None, move || {
        if here() != home {
            if !core::mem::replace(&mut moved, true) {
                std::eprintln!(
                    "spdk-exec: an SPDK thread with an executor was moved to another OS thread; its tasks stop"
                );
            }
            return PollerStatus::Idle;
        }
        passes = passes.wrapping_add(1);
        if passes % LOOK_EVERY == 0 && is_exiting() {
            if let Some(attachment) = weak.upgrade() {
                attachment.detach();
            }
            return PollerStatus::Busy;
        }
        // Gone once it is detached. Counted, since a task may detach it.
        match executor.upgrade() {
            Some(executor) if executor.poll(BUDGET).is_busy() => PollerStatus::Busy,
            _ => PollerStatus::Idle,
        }
    })
}

impl Attached {
    /// `None` if the executor is closed.
    fn of(attachment: Rc<Attachment>) -> Option<Self> {
        let spawner = attachment
            .executor
            .borrow()
            .as_ref()
            .map(|executor| executor.spawner())?;
        Some(Self {
            attachment,
            spawner,
        })
    }

    /// Starts a task: [`Spawner::spawn`](crate::Spawner::spawn), under this name also where the trait
    /// [`spdk_safe::thread::Spawner`] is imported.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
    {
        self.spawner.spawn(future)
    }

    /// What the executor has done so far; `None` once it is detached.
    pub fn stats(&self) -> Option<crate::Stats> {
        let executor = self.attachment.executor.borrow().clone();
        executor.map(|executor| executor.stats())
    }
}

impl spdk_safe::thread::Spawner for Attached {
    fn spawn(&self, task: LocalTask) {
        // A closed executor drops it, and its handle says so.
        let _ = self.spawner.spawn_local(task);
    }
}

impl Deref for Attached {
    type Target = Spawner;

    fn deref(&self) -> &Spawner {
        &self.spawner
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attached")
            .field("attached", &self.attachment.executor.borrow().is_some())
            .finish_non_exhaustive()
    }
}

/// SPDK's threads, by their ids.
struct SpdkThread;

// SAFETY: an SPDK thread is current on one OS thread at a time, moves between them only through SPDK's own
// synchronised rings, and its id is never given to another.
unsafe impl ThreadIdentity for SpdkThread {
    fn current() -> Option<NonZeroUsize> {
        current_id().and_then(|id| NonZeroUsize::new(usize::try_from(id.get()).ok()?))
    }
}

/// SPDK's clock.
struct SpdkTicks;

static SPDK_TICKS: SpdkTicks = SpdkTicks;

impl Clock for SpdkTicks {
    fn now(&self) -> u64 {
        ticks()
    }

    fn ticks_per_second(&self) -> u64 {
        ticks_per_second().max(1)
    }
}
