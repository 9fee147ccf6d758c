//! Which SPDK thread a handle belongs to, and whether it is the one that runs.

use std::num::NonZeroU64;
use std::ptr::NonNull;

use super::releases::{self, Job};
use super::table;
use crate::calls::{self, Call};
use crate::error::ThreadError;
use crate::inside::os_thread;

/// The SPDK thread that a handle belongs to.
///
/// SPDK uses the addresses of threads again. [`check`](Self::check), on the path of each I/O, compares the address
/// alone, and may take a new thread for one that is gone; it is right because what a thread of ours held is inert by
/// then: it was drained before the thread was told to exit, and [`current`](Self::current) makes nothing new after
/// that. What has no such guarantee, since the thread is somebody else's, is looked at by its id, which is never used
/// again: by [`run`](Self::run) and its like, which are not on that path.
///
/// # Invariants
///
/// Made only from the thread that was current. The pointer is compared, and used after a look at whether the thread
/// is there; SPDK keeps the thread while it has the channel or poller that the handle stands for (T-09).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home {
    thread: NonNull<spdk_sys::spdk_thread>,
    /// Tells OS threads apart: SPDK's scheduler may move an SPDK thread, and what is `!Send` must not go along.
    os_thread: usize,
    id: NonZeroU64,
}

/// The SPDK thread that is current on this OS thread.
#[inline]
pub(super) fn current_raw() -> Option<NonNull<spdk_sys::spdk_thread>> {
    calls::count(Call::Thread);
    // SAFETY: spdk_get_thread() reads a thread-local and may be called anywhere, also before SPDK is up.
    NonNull::new(unsafe { spdk_sys::spdk_get_thread() })
}

/// The id of `thread`.
///
/// # Safety
///
/// The thread exists.
pub(super) unsafe fn id_of(thread: NonNull<spdk_sys::spdk_thread>) -> Option<NonZeroU64> {
    // SAFETY: by this function's contract.
    NonZeroU64::new(unsafe { spdk_sys::spdk_thread_get_id(thread.as_ptr()) })
}

impl Home {
    /// The thread that is current, for something new that is to belong to it.
    ///
    /// # Errors
    ///
    /// [`ThreadError::NoThread`]; [`ThreadError::Exiting`] when the thread has begun to let go of what it holds;
    /// [`ThreadError::Migratable`] on a thread of ours that may be moved; [`ThreadError::Moved`] on one that should
    /// not have been.
    pub(crate) fn current() -> Result<Self, ThreadError> {
        let home = Self::running()?;
        table::may_hold(home)?;
        Ok(home)
    }

    /// The thread that is current, whatever its state.
    pub(crate) fn running() -> Result<Self, ThreadError> {
        let thread = current_raw().ok_or(ThreadError::NoThread)?;
        // SAFETY: the thread is current, so it exists.
        let id = unsafe { id_of(thread) }.ok_or(ThreadError::NoThread)?;
        Ok(Self {
            thread,
            os_thread: os_thread(),
            id,
        })
    }

    /// The thread's id, which no other thread ever has.
    #[inline]
    pub(crate) fn id(self) -> NonZeroU64 {
        self.id
    }

    /// The thread's address.
    pub(super) fn raw(self) -> NonNull<spdk_sys::spdk_thread> {
        self.thread
    }

    /// Whether this thread is current: the check of design rule 2.
    #[inline]
    pub(crate) fn check(self) -> Result<(), ThreadError> {
        match current_raw() {
            Some(thread) if thread == self.thread && os_thread() == self.os_thread => Ok(()),
            Some(_) => Err(ThreadError::WrongThread),
            None => Err(ThreadError::NoThread),
        }
    }

    /// The same, for who does not say what is wrong.
    #[inline]
    pub(crate) fn is_here(self) -> bool {
        self.is_current() && self.is_this_os_thread()
    }

    /// Whether this is its OS thread: enough where SPDK says that the SPDK thread is current.
    #[inline]
    pub(crate) fn is_this_os_thread(self) -> bool {
        self.is_os_thread(os_thread())
    }

    /// The same for who knows already that this OS thread's name is `os_thread`.
    #[inline]
    pub(crate) fn is_os_thread(self, os_thread: usize) -> bool {
        os_thread == self.os_thread
    }

    /// Whether both are the same: equal ids are those of one SPDK thread.
    #[inline]
    pub(crate) fn is_same(self, other: Self) -> bool {
        self.id == other.id && self.os_thread == other.os_thread
    }

    /// Whether the SPDK thread is current, on whichever OS thread: enough for what touches nothing but SPDK's own.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        current_raw() == Some(self.thread)
    }

    /// As [`check`](Self::check), for what the thread may have lost by force: also that it is not a new one at the same
    /// address.
    pub(super) fn check_id(self) -> Result<(), ThreadError> {
        match Self::running()? == self {
            true => Ok(()),
            false => Err(ThreadError::WrongThread),
        }
    }

    /// Runs `job` on this thread: now if it is current, else by message. Not at all if the thread is gone.
    ///
    /// # Safety
    ///
    /// The thread must not exit before the job was run: SPDK aborts the process on a message to such a thread (T-20). It
    /// does not while it holds a channel or a poller (T-09), so pass on only what releases one there, or keeps one.
    pub(crate) unsafe fn run(self, job: Box<dyn FnOnce()>) {
        if self.check_id().is_ok() {
            job();
            return;
        }
        // SAFETY: by this function's contract.
        unsafe { releases::push(self.thread, self.id, Job::Bound(self, job)) };
    }

    /// As [`run`](Self::run), for a job that touches nothing but what belongs to the SPDK thread: right on whichever OS
    /// thread that runs.
    ///
    /// # Safety
    ///
    /// As [`run`](Self::run); and the job may run, and be dropped, on another OS thread.
    pub(crate) unsafe fn run_anywhere(self, job: Box<dyn FnOnce()>) {
        if Self::running().is_ok_and(|now| now.id == self.id) {
            job();
            return;
        }
        // SAFETY: by this function's contract.
        unsafe { self.run_later(job) };
    }

    /// As [`run_anywhere`](Self::run_anywhere), always after what runs now.
    ///
    /// # Safety
    ///
    /// As [`run_anywhere`](Self::run_anywhere).
    pub(crate) unsafe fn run_later(self, job: Box<dyn FnOnce()>) {
        // SAFETY: by this function's contract.
        unsafe { releases::push(self.thread, self.id, Job::Anywhere(job)) };
    }

    /// Runs `job` on this thread, which is current, after what runs now.
    pub(crate) fn send(self, job: Box<dyn FnOnce()>) {
        debug_assert!(self.check().is_ok());
        // SAFETY: the thread is current, so it has not exited.
        unsafe { releases::push(self.thread, self.id, Job::Bound(self, job)) };
    }
}
