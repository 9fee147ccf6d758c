//! Calls about a whole bdev that SPDK answers later.
//!
//! ```text
//!             1                        2                      3
//!  (nothing) ─────► SPDK has a Ticket ─────► message to ourselves ─────► the future is ready, the descriptor may close
//!  1: call   2: a callback of SPDK's, Ticket::answer   3: finish_callback
//! ```
//!
//! SPDK looks at the bdev's channels meanwhile, and some of its calls still touch the bdev after they have called back
//! (setting limits does, up to 26.05). So the descriptor stays open until a message later. SPDK 20.07 would refuse to
//! unregister a bdev whose channels are being looked at, and that for ever.

use std::ffi::c_void;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::core::DescCore;
use crate::error::{BdevCallError, Errno};
use crate::inside;
use crate::panic::contain;
use crate::sync::lock;
use crate::thread::{Home, app_thread};

/// A call about a bdev under way. It begins at once; dropping this does not take it back.
#[must_use = "await it to have the answer"]
pub struct BdevCall<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T>(Mutex<Slot<T>>);

struct Slot<T> {
    result: Option<Result<T, BdevCallError>>,
    waker: Option<Waker>,
}

/// Stands for a call that SPDK has not answered. It keeps the descriptor open.
pub(super) struct Ticket<T> {
    desc: Arc<DescCore>,
    /// What is done, for errors.
    what: &'static str,
    shared: Arc<Shared<T>>,
}

/// Begins a call: `start` hands the ticket to SPDK.
pub(super) fn call<T: Send + 'static>(
    desc: &Arc<DescCore>,
    what: &'static str,
    start: impl FnOnce(Ticket<T>, NonNull<spdk_sys::spdk_bdev>),
) -> BdevCall<T> {
    if let Err(error) = app_thread::check() {
        return BdevCall::failed(error.into());
    }
    if desc.begin_call().is_none() {
        return BdevCall::failed(removed(desc));
    }
    let ticket = Ticket::new(desc, what);
    let shared = Arc::clone(&ticket.shared);
    start(ticket, desc.bdev());
    BdevCall { shared }
}

pub(super) fn removed(desc: &DescCore) -> BdevCallError {
    BdevCallError::Removed {
        name: desc.info.name.clone(),
    }
}

impl<T> BdevCall<T> {
    /// One that failed before SPDK had it.
    pub(super) fn failed(error: BdevCallError) -> Self {
        Self {
            shared: Arc::new(Shared(Mutex::new(Slot {
                result: Some(Err(error)),
                waker: None,
            }))),
        }
    }
}

impl<T: Send + 'static> Ticket<T> {
    /// For a call that `DescCore` counts already.
    pub(super) fn new(desc: &Arc<DescCore>, what: &'static str) -> Self {
        Self {
            desc: Arc::clone(desc),
            what,
            shared: Arc::new(Shared(Mutex::new(Slot {
                result: None,
                waker: None,
            }))),
        }
    }

    /// For SPDK, as the argument of its callback.
    pub(super) fn into_raw(self) -> *mut c_void {
        Box::into_raw(Box::new(self)).cast()
    }

    /// # Safety
    ///
    /// `raw` is from [`into_raw`](Self::into_raw) of a ticket of this type, and this is the first call with it.
    pub(super) unsafe fn from_raw(raw: *mut c_void) -> Self {
        // SAFETY: by this function's contract.
        *unsafe { Box::from_raw(raw.cast()) }
    }

    pub(super) fn name(&self) -> String {
        self.desc.info.name.clone()
    }

    pub(super) fn desc(&self) -> &DescCore {
        &self.desc
    }

    /// What a return code of SPDK's means, unless it is 0.
    pub(super) fn check(&self, rc: i32) -> Result<(), BdevCallError> {
        let (name, what) = (self.name(), self.what);
        Errno::check(rc).map_err(|errno| match errno.code() {
            libc::EAGAIN => BdevCallError::Busy { name, what },
            libc::ENOMEM => BdevCallError::NoMemory { name, what },
            _ => BdevCallError::Refused { name, what, errno },
        })
    }

    /// SPDK is done, or about to be: tells whoever waits, and lets go of the descriptor, by message. On any SPDK thread.
    pub(super) fn answer(self, result: Result<T, BdevCallError>) {
        match Home::current() {
            // First a message to the same thread, since SPDK may be in the middle of something here.
            Ok(home) if app_thread::check().is_err() => {
                home.send(Box::new(move || self.finish(result)));
            }
            _ => self.finish(result),
        }
    }

    fn finish(self, result: Result<T, BdevCallError>) {
        let ctx = Box::into_raw(Box::new((self, result))).cast();
        if app_thread::send(finish_callback::<T>, ctx).is_err() {
            // SAFETY: the message was not sent, so the pointer is still ours, for this one call.
            unsafe { finish_callback::<T>(ctx) };
        }
    }
}

/// # Safety
///
/// Called once, on the app thread, with the pointer that [`Ticket::answer`] made.
unsafe extern "C" fn finish_callback<T: Send + 'static>(ctx: *mut c_void) {
    let _inside = inside::enter();
    contain("the answer to a call about a bdev", || {
        // SAFETY: by this function's contract.
        let message = unsafe { Box::from_raw(ctx.cast::<(Ticket<T>, Result<T, BdevCallError>)>()) };
        let (ticket, result) = *message;
        // First, so that a close that waits for it can go on.
        ticket.desc.end_call();
        let waker = {
            let mut slot = lock(&ticket.shared.0);
            slot.result = Some(result);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    });
}

/// Answers `ticket` after a visit of all channels of the bdev, which goes from thread to thread behind those that SPDK
/// has under way.
///
/// # Safety
///
/// The descriptor is open, and its thread is current.
pub(super) unsafe fn visit_channels(ticket: Ticket<()>) {
    let (bdev, keep) = (
        ticket.desc().bdev().as_ptr(),
        spdk_sys::spdk_shim_reset_stats::SPDK_SHIM_RESET_STATS_NONE,
    );
    let ctx = ticket.into_raw();
    // SAFETY: the descriptor is open, and the ticket keeps it so.
    let rc = unsafe { spdk_sys::spdk_shim_bdev_stats(bdev, keep, Some(visited_callback), ctx) };
    if rc != 0 {
        // SAFETY: SPDK did not take it.
        unsafe { Ticket::<()>::from_raw(ctx) }.answer(Ok(()));
    }
}

/// # Safety
///
/// SPDK calls this once, on the thread that asked, with the ticket that it was given.
unsafe extern "C" fn visited_callback(
    ctx: *mut c_void,
    _rc: i32,
    _stats: *const spdk_sys::spdk_shim_stats,
) {
    contain("the end of a visit of all channels", || {
        // SAFETY: by this function's contract.
        unsafe { Ticket::<()>::from_raw(ctx) }.answer(Ok(()));
    });
}

impl<T> Future for BdevCall<T> {
    type Output = Result<T, BdevCallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Cloned, and the last one dropped, while nothing is locked: a waker is somebody's code.
        let waker = cx.waker().clone();
        let last = {
            let mut slot = lock(&self.shared.0);
            if let Some(result) = slot.result.take() {
                return Poll::Ready(result);
            }
            slot.waker.replace(waker)
        };
        drop(last);
        Poll::Pending
    }
}

impl<T> fmt::Debug for BdevCall<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BdevCall").finish_non_exhaustive()
    }
}
