//! I/O that takes too long.
//!
//! C function: `spdk_bdev_set_timeout` (contract B-93). SPDK looks at the descriptor's I/O once a second, on the threads
//! of its channels, and calls back for each that is old; it does nothing about it. What it says is put into a queue
//! here, and no code of the user's runs in the callback: SPDK is walking over its list of I/Os, which that code could
//! change.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::fmt;
use std::future::poll_fn;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::call::{self, Ticket, removed};
use super::core::CloseWaiter;
use super::core::DescCore;
use super::stats::duration;
use super::{BdevDesc, DescMode, DescState};
use crate::error::{BdevCallError, Errno, IoType};
use crate::panic::contain;
use crate::sync::lock;
use crate::thread::{ThreadBound, app_thread, current_id, spdk_ticks};
use crate::units::{Blocks, Lba};

/// How many reports wait at most; then the oldest ones go.
const MOST: usize = 1024;

/// Who gets the reports, by the number that SPDK has. It has no pointer: its last calls may come when the descriptor is
/// closed.
static SINKS: Mutex<BTreeMap<usize, Arc<Sink>>> = Mutex::new(BTreeMap::new());
/// The number of the last sink.
static LAST: Mutex<usize> = Mutex::new(0);

/// An I/O that is older than it should be, and not done yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlowIo {
    /// What it does; `None` for raw NVMe commands and the like.
    pub io: Option<IoType>,
    /// Where, if that means something.
    pub lba: Option<Lba>,
    /// How much, likewise.
    pub blocks: Option<Blocks>,
    /// How long ago it was submitted, when SPDK looked.
    pub age: Duration,
    /// The SPDK thread of its channel.
    pub thread: Option<NonZeroU64>,
}

/// Reports of I/O that takes too long; see [`BdevDesc::io_timeouts`]. Dropping it ends them.
#[must_use = "call `next` for the reports; dropping it ends them"]
pub struct IoTimeouts {
    desc: Arc<DescCore>,
    closed: CloseWaiter,
    sink: Arc<Sink>,
    key: usize,
    _bound: ThreadBound,
}

#[derive(Default)]
struct Sink {
    queue: Mutex<Queue>,
    /// A message that wakes is under way.
    waking: AtomicBool,
}

#[derive(Default)]
struct Queue {
    reports: VecDeque<SlowIo>,
    missed: u64,
    waker: Option<Waker>,
}

impl<M: DescMode, S: DescState> BdevDesc<M, S> {
    /// Has SPDK look, once a second, for I/O of this descriptor that is older than `after` (`spdk_bdev_set_timeout`),
    /// in whole seconds, rounded up, one at least. Nothing happens to that I/O; to give up on it, reset the bdev.
    ///
    /// An I/O that is not done when SPDK looks again is reported again. Not reported is what waits for memory before
    /// the bdev layer takes it, nor the parts into which SPDK splits a large I/O.
    ///
    /// # Errors
    ///
    /// [`BdevCallError::Busy`] while the descriptor has another [`IoTimeouts`].
    pub fn io_timeouts(&self, after: Duration) -> Result<IoTimeouts, BdevCallError> {
        const WHAT: &str = "looking for slow I/O";
        app_thread::check()?;
        let desc = self.core();
        let busy = || BdevCallError::Busy {
            name: desc.info.name.clone(),
            what: WHAT,
        };
        let raw = desc
            .watch()
            .ok_or_else(|| removed(desc))?
            .ok_or_else(busy)?;
        let key = {
            let mut last = lock(&LAST);
            *last += 1;
            *last
        };
        let sink = Arc::new(Sink::default());
        lock(&SINKS).insert(key, Arc::clone(&sink));
        // INVARIANT: the descriptor is being watched, for this one.
        let timeouts = IoTimeouts {
            desc: Arc::clone(desc),
            closed: desc.waiter(),
            sink,
            key,
            _bound: ThreadBound::new(),
        };
        let rest = u64::from(after.subsec_nanos() != 0);
        let seconds = after.as_secs().saturating_add(rest);
        // More would overflow when SPDK counts it in ticks.
        let seconds = seconds.clamp(1, u64::from(u32::MAX));
        // SAFETY: the descriptor is open, and this is its thread. The context is a number.
        let rc = unsafe {
            spdk_sys::spdk_bdev_set_timeout(
                raw.as_ptr(),
                seconds,
                Some(timeout_callback),
                std::ptr::without_provenance_mut(key),
            )
        };
        match rc {
            0 => Ok(timeouts),
            _ => Err(BdevCallError::Refused {
                name: desc.info.name.clone(),
                what: WHAT,
                errno: Errno::new(libc::ENOMEM),
            }),
        }
    }
}

impl IoTimeouts {
    /// The next report; `None` when the descriptor is closed.
    pub async fn next(&mut self) -> Option<SlowIo> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`next`](Self::next), for code that polls by hand.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<SlowIo>> {
        // Cloned, and the last one dropped, while nothing is locked: a waker is somebody's code.
        let waker = cx.waker().clone();
        let last = {
            let mut queue = lock(&self.sink.queue);
            if let Some(report) = queue.reports.pop_front() {
                return Poll::Ready(Some(report));
            }
            queue.waker.replace(waker)
        };
        drop(last);
        match self.closed.poll(cx.waker()) {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    }

    /// How many reports were lost because nobody took them: the oldest go, when more than 1024 wait.
    #[must_use]
    pub fn missed(&self) -> u64 {
        lock(&self.sink.queue).missed
    }
}

impl Drop for IoTimeouts {
    fn drop(&mut self) {
        lock(&SINKS).remove(&self.key);
        let desc = Arc::clone(&self.desc);
        // When the app is over, the descriptor is closed.
        let _ = app_thread::run(Box::new(move || {
            if let Some(raw) = desc.unwatch() {
                // SAFETY: the descriptor is open, and this is its thread, the only one that closes it.
                unsafe {
                    spdk_sys::spdk_bdev_set_timeout(raw.as_ptr(), 0, None, std::ptr::null_mut())
                };
            }
        }));
    }
}

/// Before a descriptor is closed that was ever watched: ends that, and answers `ticket` when a look at all channels that
/// may be under way is over. SPDK 20.07 would else never unregister the bdev, if this was its last descriptor.
///
/// # Safety
///
/// `raw` is open, and its thread is current.
pub(super) unsafe fn stop(raw: *mut spdk_sys::spdk_bdev_desc, ticket: Ticket<()>) {
    // SAFETY: by this function's contract.
    unsafe { spdk_sys::spdk_bdev_set_timeout(raw, 0, None, std::ptr::null_mut()) };
    // Another look at all channels: it goes from thread to thread behind the one before.
    // SAFETY: the descriptor is open, and the ticket keeps it so.
    unsafe { call::visit_channels(ticket) };
}

/// # Safety
///
/// SPDK calls this on the thread of the I/O's channel; the I/O is not completed.
unsafe extern "C" fn timeout_callback(key: *mut c_void, bdev_io: *mut spdk_sys::spdk_bdev_io) {
    contain("a report of slow I/O", || {
        let Some(sink) = lock(&SINKS).get(&key.addr()).cloned() else {
            return;
        };
        let mut info = std::mem::MaybeUninit::zeroed();
        // SAFETY: by this function's contract the I/O may be read, and `info` is written to.
        unsafe { spdk_sys::spdk_shim_io_info(bdev_io, info.as_mut_ptr()) };
        // SAFETY: integers and a boolean, zeroed and then written by C.
        let info = unsafe { info.assume_init() };
        sink.report(SlowIo {
            io: io_type(info.type_),
            lba: info.has_range.then_some(Lba(info.offset_blocks)),
            blocks: info.has_range.then_some(Blocks(info.num_blocks)),
            age: duration(spdk_ticks().saturating_sub(info.submit_ticks)),
            thread: current_id(),
        });
    });
}

impl Sink {
    fn report(self: &Arc<Self>, report: SlowIo) {
        let waits = {
            let mut queue = lock(&self.queue);
            if queue.reports.len() == MOST {
                queue.reports.pop_front();
                queue.missed += 1;
            }
            queue.reports.push_back(report);
            queue.waker.is_some()
        };
        // By message: a waker is somebody's code, and SPDK is in the middle of its list of I/Os.
        if waits && !self.waking.swap(true, Ordering::AcqRel) {
            let ctx = Arc::into_raw(Arc::clone(self)).cast_mut().cast();
            if app_thread::send(wake_callback, ctx).is_err() {
                self.waking.store(false, Ordering::Release);
                // SAFETY: the message was not sent, so the count that `into_raw` leaked is ours again.
                drop(unsafe { Arc::from_raw(ctx.cast::<Self>()) });
            }
        }
    }
}

/// # Safety
///
/// SPDK calls this once, on the app thread, with the count of a [`Sink`] that `report` sent.
unsafe extern "C" fn wake_callback(ctx: *mut c_void) {
    contain("a waker", || {
        // SAFETY: by this function's contract.
        let sink = unsafe { Arc::from_raw(ctx.cast_const().cast::<Sink>()) };
        sink.waking.store(false, Ordering::Release);
        let waker = lock(&sink.queue).waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    });
}

fn io_type(raw: i32) -> Option<IoType> {
    use spdk_sys::spdk_bdev_io_type as ty;
    Some(match ty(raw as u32) {
        ty::SPDK_BDEV_IO_TYPE_READ => IoType::Read,
        ty::SPDK_BDEV_IO_TYPE_WRITE => IoType::Write,
        ty::SPDK_BDEV_IO_TYPE_UNMAP => IoType::Unmap,
        ty::SPDK_BDEV_IO_TYPE_WRITE_ZEROES => IoType::WriteZeroes,
        ty::SPDK_BDEV_IO_TYPE_FLUSH => IoType::Flush,
        ty::SPDK_BDEV_IO_TYPE_RESET => IoType::Reset,
        ty::SPDK_BDEV_IO_TYPE_COMPARE => IoType::Compare,
        ty::SPDK_BDEV_IO_TYPE_COMPARE_AND_WRITE => IoType::CompareAndWrite,
        ty::SPDK_BDEV_IO_TYPE_ZCOPY => IoType::ZeroCopy,
        ty::SPDK_BDEV_IO_TYPE_ABORT => IoType::Abort,
        _ => return None,
    })
}

impl fmt::Debug for IoTimeouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoTimeouts")
            .field("bdev", &self.desc.info.name)
            .finish_non_exhaustive()
    }
}
