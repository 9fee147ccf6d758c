//! SPDK threads: who runs, and what belongs to whom.
//!
//! C header: `include/spdk/thread.h`. An SPDK thread is not an OS thread: several share one, and only one of them
//! is *current* while it is polled. What SPDK ties to a thread is `!Send` here (through [`ThreadBound`], which the
//! compiler's message names), remembers its SPDK thread, and checks it with one pointer compare wherever SPDK
//! itself would abort, leak or corrupt (contract 0.2).
//!
//! | here | C |
//! | --- | --- |
//! | [`Poller`] | `struct spdk_poller` |
//! | `Home` | `struct spdk_thread *`, and that it is current |
//! | `app_thread` | the app thread, and messages to it |

pub(crate) mod app_thread;
mod poller;
pub(crate) mod registry;

use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::ptr::NonNull;

pub use poller::{Poller, PollerStatus};

use crate::calls::{self, Call};
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

/// The SPDK thread that a handle belongs to.
///
/// # Invariants
///
/// Made only from the thread that was current. The pointer is compared and sent to, never dereferenced by us;
/// SPDK keeps the thread while it has the channel or poller that the handle stands for (T-09).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home {
    thread: NonNull<spdk_sys::spdk_thread>,
    /// Tells OS threads apart: SPDK's scheduler may move an SPDK thread, and what is `!Send` must not go along.
    os_thread: usize,
}

thread_local! {
    /// Its address names the OS thread.
    static OS_THREAD: u8 = const { 0 };
}

impl Home {
    /// The thread that is current on this OS thread.
    pub(crate) fn current() -> Result<Self, ThreadError> {
        calls::count(Call::Thread);
        // SAFETY: spdk_get_thread() reads a thread-local and may be called anywhere, also before SPDK is up.
        let raw = unsafe { spdk_sys::spdk_get_thread() };
        let thread = NonNull::new(raw).ok_or(ThreadError::NoThread)?;
        let os_thread = OS_THREAD.with(|here| std::ptr::from_ref(here).addr());
        Ok(Self { thread, os_thread })
    }

    /// Whether this thread is current: the check of design rule 2.
    pub(crate) fn check(self) -> Result<(), ThreadError> {
        if Self::current()? == self {
            Ok(())
        } else {
            Err(ThreadError::WrongThread)
        }
    }

    /// Whether the SPDK thread is current, on whichever OS thread: enough for what touches nothing but SPDK's own.
    pub(crate) fn is_current(self) -> bool {
        Self::current().is_ok_and(|now| now.thread == self.thread)
    }

    /// Runs `job` on this thread: now if it is current, else by message.
    ///
    /// # Safety
    ///
    /// The thread must not have exited: SPDK aborts the process on a message to such a thread (T-20). It has not
    /// while it holds a channel or a poller (T-09), so pass on only while you hold one there.
    pub(crate) unsafe fn run(self, job: Box<dyn FnOnce()>) {
        if self.check().is_ok() {
            job();
            return;
        }
        // SAFETY: by this function's contract.
        unsafe { self.post(Some(self), job) };
    }

    /// As [`run`](Self::run), for a job that touches nothing but what belongs to the SPDK thread: right on whichever OS
    /// thread that runs.
    ///
    /// # Safety
    ///
    /// As [`run`](Self::run); and the job may run, and be dropped, on another OS thread.
    pub(crate) unsafe fn run_anywhere(self, job: Box<dyn FnOnce()>) {
        if self.is_current() {
            job();
            return;
        }
        // SAFETY: by this function's contract.
        unsafe { self.post(None, job) };
    }

    /// Runs `job` on this thread, which is current, after what runs now.
    pub(crate) fn send(self, job: Box<dyn FnOnce()>) {
        debug_assert!(self.check().is_ok());
        // SAFETY: the thread is current, so it has not exited.
        unsafe { self.post(Some(self), job) };
    }

    /// # Safety
    ///
    /// The thread has not exited. Without a `bound`, the job may run on another OS thread.
    unsafe fn post(self, bound: Option<Self>, job: Box<dyn FnOnce()>) {
        let ctx = Box::into_raw(Box::new((bound, job))).cast();
        // SAFETY: by this function's contract. `ctx` is what `run_job_callback` expects.
        let rc = unsafe {
            spdk_sys::spdk_thread_send_msg(self.thread.as_ptr(), Some(run_job_callback), ctx)
        };
        if rc != 0 {
            // Only old versions answer; the job, and what it was to release, is lost rather than run elsewhere.
            crate::log::error(&format!(
                "a message to an SPDK thread was refused ({rc}); a handle leaks"
            ));
        }
    }
}

/// # Safety
///
/// SPDK calls this once, on the thread that the message was sent to, with the `ctx` of that message: a pointer
/// from `Box::into_raw(Box::new((bound, job)))`.
unsafe extern "C" fn run_job_callback(ctx: *mut std::ffi::c_void) {
    // SAFETY: by this function's contract.
    let job = unsafe { Box::from_raw(ctx.cast::<(Option<Home>, Box<dyn FnOnce()>)>()) };
    let (bound, job) = *job;
    if bound.is_some_and(|home| home.check().is_err()) {
        // The thread was moved to another OS thread, and the job need not be `Send`.
        std::mem::forget(job);
        return crate::log::error("an SPDK thread was moved to another OS thread; a handle leaks");
    }
    crate::panic::contain("a message", job);
}

/// The id of the SPDK thread that is current on this OS thread (`spdk_thread_get_id`); `None` if none is.
///
/// Ids are never used again, unlike the addresses of threads.
#[must_use]
pub fn current_id() -> Option<NonZeroU64> {
    let home = Home::current().ok()?;
    // SAFETY: the thread is current, so it exists.
    NonZeroU64::new(unsafe { spdk_sys::spdk_thread_get_id(home.thread.as_ptr()) })
}

/// Whether the SPDK thread that is current was told to exit (`spdk_thread_exit`): what runs on it should let go of it,
/// or SPDK forces it out after five seconds and leaks what it held (T-10). Before SPDK 23.01 that can't be known, and
/// the answer is no.
#[must_use]
pub fn is_exiting() -> bool {
    Home::current().is_ok_and(|home| {
        // SAFETY: the thread is current, so it exists.
        !unsafe { spdk_sys::spdk_shim_thread_is_running(home.thread.as_ptr()) }
    })
}

/// The time in ticks (`spdk_get_ticks`).
#[must_use]
pub fn ticks() -> u64 {
    // SAFETY: reads the CPU's counter.
    unsafe { spdk_sys::spdk_get_ticks() }
}

/// Ticks in a second (`spdk_get_ticks_hz`); 0 before SPDK is up.
#[must_use]
pub fn ticks_per_second() -> u64 {
    // SAFETY: reads a number that DPDK measured when it started.
    unsafe { spdk_sys::spdk_get_ticks_hz() }
}
