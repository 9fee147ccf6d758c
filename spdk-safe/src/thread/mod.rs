//! SPDK threads: making them, sending them work, and what belongs to whom.
//!
//! C header: `include/spdk/thread.h`. An SPDK thread is not an OS thread: several share one, and only one of them
//! is *current* while it is polled. What SPDK ties to a thread is `!Send` here (through [`ThreadBound`], which the
//! compiler's message names), remembers its SPDK thread, and checks it with one pointer compare wherever SPDK
//! itself would abort, leak or corrupt (contract 0.2).
//!
//! A [`Thread`] owns its thread, and is made by [`Thread::builder`]; [`ThreadHandle`]s send it messages, calls and
//! tasks, from anywhere. [`current`], [`app`] and [`by_id`] find handles. SPDK threads that other code made (C, or
//! SPDK itself, for a rebuild say) have none: SPDK frees them when their owners please, tells nobody, and aborts the
//! process on a message to one that has exited. Code of ours that runs there, such as a block device's, may have
//! channels and pollers; what it forgets there leaks when SPDK forces the thread out.
//!
//! | here | C |
//! | --- | --- |
//! | [`Thread`], [`ThreadHandle`] | `struct spdk_thread` |
//! | [`Cores`] | `struct spdk_cpuset` |
//! | [`ThreadHandle::send`] and its like | `spdk_thread_send_msg` |
//! | [`for_each_thread`] | `spdk_for_each_thread`, for threads of ours |
//! | [`ThreadStats`] | `struct spdk_thread_stats` |
//! | [`Poller`] | `struct spdk_poller` |
//! | `Home` | `struct spdk_thread *`, and that it is current |
//! | `app_thread` | the app thread, and messages to it |

pub(crate) mod app_thread;
mod bound;
mod builder;
mod cores;
mod for_each;
mod gate;
mod handle;
mod home;
mod join;
mod kind;
mod local;
mod mailbox;
mod outcome;
mod owner;
mod poller;
pub(crate) mod registry;
mod releases;
mod resume;
mod shared;
mod spawner;
mod stats;
mod storage;
pub(crate) mod table;
mod task;

use std::future::Future;
use std::marker::PhantomData;
use std::num::NonZeroU64;

pub(crate) use bound::Bound;
pub use builder::ThreadBuilder;
pub use cores::Cores;
pub use for_each::for_each_thread;
pub use handle::{Call, Exited, JoinHandle, SendMessage, Spawn, Stats, ThreadHandle};
pub(crate) use home::Home;
pub use kind::{Any, MayMove, Migratable, Pinned, ThreadKind, Travels};
pub use owner::Thread;
pub use poller::{Poller, PollerStatus};
pub(crate) use resume::resume;
#[doc(hidden)]
pub use resume::resume_with;
pub use spawner::{LocalTask, Spawner};
pub use stats::ThreadStats;
pub use storage::ThreadStorage;

use crate::error::ThreadError;

/// Marks what belongs to one SPDK thread: neither `Send` nor `Sync`.
///
/// To use such a thing elsewhere, send a closure to its thread, or make another one there.
///
/// The compiler can't be given a message about `Send`, but it names the type inside, and quotes the line with it.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThreadBound(PhantomData<*const StaysOnItsSpdkThread>); // use it there; other threads get their own

/// See [`ThreadBound`].
#[derive(Debug)]
enum StaysOnItsSpdkThread {}

impl ThreadBound {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

/// The id of the SPDK thread that is current on this OS thread (`spdk_thread_get_id`); `None` if none is.
///
/// Ids are never used again, unlike the addresses of threads.
#[must_use]
pub fn current_id() -> Option<NonZeroU64> {
    // SAFETY: the thread is current, so it exists.
    home::current_raw().and_then(|thread| unsafe { home::id_of(thread) })
}

/// The thread that is current, if it is one of ours.
#[must_use]
pub fn current() -> Option<ThreadHandle> {
    table::current().map(ThreadHandle::new)
}

/// The app thread, while an app runs.
#[must_use]
pub fn app() -> Option<ThreadHandle<Pinned>> {
    table::app_thread().map(ThreadHandle::new)
}

/// The thread of ours that has this id, if it is not gone.
#[must_use]
pub fn by_id(id: NonZeroU64) -> Option<ThreadHandle> {
    table::get(id).map(ThreadHandle::new)
}

/// Starts a task on the current thread, which must stay where it is.
///
/// # Errors
///
/// [`ThreadError::NoThread`]; [`ThreadError::Foreign`], [`ThreadError::Migratable`], [`ThreadError::Exiting`] on
/// threads that take no such task. The future is dropped then.
pub fn spawn_local<F>(future: F) -> Result<JoinHandle<F::Output>, ThreadError>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let local = table::current_local()?;
    if !local.takes_tasks() {
        return Err(ThreadError::Exiting);
    }
    let (link, handle) = join::pair(local.shared());
    local.spawn(LocalTask::new(link.run(future)));
    Ok(handle)
}

/// Runs `hook` on the current thread when it exits, before its tasks are dropped; the last one first. On the app
/// thread that is when main has ended ([`app::at_exit`](crate::app::at_exit)).
///
/// # Errors
///
/// [`ThreadError::NoThread`]; [`ThreadError::Foreign`], [`ThreadError::Migratable`] on threads that have no hooks;
/// [`ThreadError::Exiting`] when they were run.
pub fn at_exit(hook: impl FnOnce() + 'static) -> Result<(), ThreadError> {
    let local = table::current_local()?;
    if table::is_app_thread(local.home().id()) {
        return crate::app::at_exit(hook);
    }
    local.at_exit(Box::new(hook))
}

/// Busy and idle times of the current thread.
///
/// # Errors
///
/// [`ThreadError::NoThread`]; [`ThreadError::Foreign`] on a thread that is not ours.
pub fn stats() -> Result<ThreadStats, ThreadError> {
    stats::current()
}

/// Whether the SPDK thread that is current exits. A thread of ours has let go of its tasks then, or does so now. What
/// runs on another one (`spdk_thread_exit`) should let go of it, or SPDK forces it out after five seconds and leaks what
/// it held (T-10); before SPDK 23.01 that can't be known, and the answer is no.
#[must_use]
pub fn is_exiting() -> bool {
    if let Some(shared) = table::current() {
        return shared.is_exiting();
    }
    home::current_raw().is_some_and(|thread| {
        // SAFETY: the thread is current, so it exists.
        !unsafe { spdk_sys::spdk_shim_thread_is_running(thread.as_ptr()) }
    })
}

/// The time in ticks (`spdk_get_ticks`).
///
/// Under a `SeededHarness` it is a time of that: it goes on with each turn, so that what sleeps is in the seed too.
#[must_use]
pub fn ticks() -> u64 {
    #[cfg(feature = "test")]
    if let Some(ticks) = crate::test::seeded_ticks() {
        return ticks;
    }
    spdk_ticks()
}

/// The time in ticks by SPDK's own clock.
pub(crate) fn spdk_ticks() -> u64 {
    // SAFETY: reads the CPU's counter.
    unsafe { spdk_sys::spdk_get_ticks() }
}

/// Ticks in a second (`spdk_get_ticks_hz`); 0 before SPDK is up.
#[must_use]
pub fn ticks_per_second() -> u64 {
    // SAFETY: reads a number that DPDK measured when it started.
    unsafe { spdk_sys::spdk_get_ticks_hz() }
}
