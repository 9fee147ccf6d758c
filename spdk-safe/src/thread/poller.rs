//! Pollers: a closure that SPDK calls again and again on one thread.
//!
//! C functions: `spdk_poller_register_named`, `spdk_poller_unregister`, `spdk_poller_pause`, `spdk_poller_resume`
//! (contract T-30 to T-36).

use std::cell::{Cell, UnsafeCell};
use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr;
use std::rc::Rc;
use std::time::Duration;

use super::registry::{self, Held};
use super::{Bound, Home};
use crate::error::ThreadError;
use crate::panic::contain;

/// What a poller did in one call; SPDK's busy and idle statistics count it (T-31).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollerStatus {
    /// Nothing to do.
    Idle,
    /// Did some work.
    Busy,
}

/// A registered poller; dropping it unregisters it.
///
/// It may be dropped anywhere: inside its own closure, on another SPDK thread (the unregistration travels home),
/// or after its thread has let go of it. A panic in the closure is contained and logged, and the poller does not
/// run again.
#[must_use = "a poller runs until it is dropped"]
pub struct Poller {
    inner: Bound<Rc<Inner>>,
}

/// # Invariants
///
/// While `raw` is not null, SPDK holds a pointer to this `Inner` that owns one strong count. Afterwards that count is
/// `poll_callback`'s as long as it is inside, which `running` says.
struct Inner {
    raw: Cell<*mut spdk_sys::spdk_poller>,
    home: Home,
    name: CString,
    /// Whether it is to be paused. From inside the closure SPDK is told when that returns: 20.07 takes a poller that is
    /// paused and unregistered in its own callback off the wrong list.
    paused: Cell<bool>,
    /// Touched only where `running` was false: by `poll_callback`, which does not nest, and by `drop_closure`.
    /// Gone when the poller is not registered any more.
    closure: UnsafeCell<Option<Box<dyn FnMut() -> PollerStatus>>>,
    running: Cell<bool>,
    faulted: Cell<bool>,
}

impl Poller {
    /// Registers `closure` on the current SPDK thread, to be called in every iteration of its loop, or, with a
    /// `period`, that often. Periods are whole microseconds; shorter ones become one.
    ///
    /// # Errors
    ///
    /// [`ThreadError::NoThread`] when no SPDK thread is current; [`ThreadError::Migratable`] on a thread that may be
    /// moved, since the closure need not be `Send`; [`ThreadError::Exiting`] on one that exits.
    pub fn register(
        period: Option<Duration>,
        closure: impl FnMut() -> PollerStatus + 'static,
    ) -> Result<Self, ThreadError> {
        Self::register_named(c"rust", period, closure)
    }

    /// As [`register`](Self::register), with a name that statistics and logs show. SPDK keeps 256 bytes of it.
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register).
    pub fn register_named(
        name: &CStr,
        period: Option<Duration>,
        closure: impl FnMut() -> PollerStatus + 'static,
    ) -> Result<Self, ThreadError> {
        let poller = Self::new(Home::current()?, name, period, Box::new(closure))?;
        registry::add(&poller.inner);
        Ok(poller)
    }

    /// As [`register`](Self::register), for a poller that the end of its thread leaves alone: whoever has it drops it.
    pub(super) fn unlisted(
        period: Duration,
        closure: impl FnMut() -> PollerStatus + 'static,
    ) -> Result<Self, ThreadError> {
        Self::new(
            Home::running()?,
            c"rust threads",
            Some(period),
            Box::new(closure),
        )
    }

    fn new(
        home: Home,
        name: &CStr,
        period: Option<Duration>,
        closure: Box<dyn FnMut() -> PollerStatus>,
    ) -> Result<Self, ThreadError> {
        let inner = Rc::new(Inner {
            raw: Cell::new(ptr::null_mut()),
            home,
            name: name.to_owned(),
            paused: Cell::new(false),
            closure: UnsafeCell::new(Some(closure)),
            running: Cell::new(false),
            faulted: Cell::new(false),
        });
        let micros = period.map_or(0, |p| {
            let micros = u64::try_from(p.as_micros()).unwrap_or(u64::MAX);
            micros.clamp(1, longest_period())
        });
        let ctx = Rc::into_raw(Rc::clone(&inner)).cast_mut().cast::<c_void>();
        // SAFETY: an SPDK thread is current, and `ctx` stays valid until `unregister` gives its count back. The name is
        // copied.
        let raw = unsafe {
            spdk_sys::spdk_poller_register_named(Some(poll_callback), ctx, micros, name.as_ptr())
        };
        if raw.is_null() {
            // SAFETY: SPDK took no pointer, so the count that `into_raw` leaked is ours again.
            drop(unsafe { Rc::from_raw(ctx.cast::<Inner>()) });
            return Err(ThreadError::NoThread);
        }
        // INVARIANT: SPDK has `ctx` now.
        inner.raw.set(raw);
        Ok(Self {
            inner: Bound::new(inner),
        })
    }

    /// Has SPDK call the closure no more until [`resume`](Self::resume) (`spdk_poller_pause`). One that is paused
    /// already stays so, as does one that is not registered any more.
    ///
    /// # Errors
    ///
    /// [`ThreadError`] on another thread.
    pub fn pause(&self) -> Result<(), ThreadError> {
        self.set_paused(true)
    }

    /// Has SPDK call the closure again (`spdk_poller_resume`); a period starts anew.
    ///
    /// # Errors
    ///
    /// [`ThreadError`] on another thread.
    pub fn resume(&self) -> Result<(), ThreadError> {
        self.set_paused(false)
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.inner.paused.get()
    }

    fn set_paused(&self, paused: bool) -> Result<(), ThreadError> {
        self.inner.home.check_id()?;
        self.inner.paused.set(paused);
        if !self.inner.running.get() {
            self.inner.tell_paused();
        }
        Ok(())
    }

    /// Whether SPDK still calls the closure: not after a panic in it, nor after its thread has let go of it.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        !self.inner.raw.get().is_null()
    }

    /// Whether the closure panicked; it has not been called since.
    #[must_use]
    pub fn is_faulted(&self) -> bool {
        self.inner.faulted.get()
    }
}

/// The longest period in microseconds, about a century: SPDK adds it to the time in ticks, and neither may wrap.
fn longest_period() -> u64 {
    let seconds = u64::MAX / 2 / super::ticks_per_second().max(1);
    seconds.saturating_mul(1_000_000)
}

impl Drop for Poller {
    fn drop(&mut self) {
        if self.inner.raw.get().is_null() {
            return;
        }
        let inner = Rc::clone(&self.inner);
        // SAFETY: the poller is registered, so its thread has not exited (T-09).
        unsafe { self.inner.home.run(Box::new(move || inner.unregister())) };
    }
}

impl Held for Inner {
    fn home(&self) -> Home {
        self.home
    }

    fn release(&self) {
        self.unregister();
    }

    fn is_held(&self) -> bool {
        !self.raw.get().is_null()
    }

    fn what(&self) -> String {
        format!("poller {:?}", self.name)
    }
}

impl Inner {
    /// Tells SPDK whether the poller is paused; both calls change nothing that is so already. On the home thread only.
    fn tell_paused(&self) {
        let raw = self.raw.get();
        if raw.is_null() {
            return;
        }
        if self.paused.get() {
            // SAFETY: `raw` is registered and its thread is current.
            unsafe { spdk_sys::spdk_poller_pause(raw) };
        } else {
            // SAFETY: as above.
            unsafe { spdk_sys::spdk_poller_resume(raw) };
        }
    }

    /// On the home thread only. The caller holds a strong count, or is `poll_callback`: SPDK's is given up here.
    fn unregister(&self) {
        let mut raw = self.raw.replace(ptr::null_mut());
        if raw.is_null() {
            return;
        }
        // SAFETY: `raw` is registered and its thread is current: SPDK will not enter the callback again (T-32).
        unsafe { spdk_sys::spdk_poller_unregister(&raw mut raw) };
        if self.running.get() {
            // `poll_callback` is below us on the stack, and does the rest.
            return;
        }
        self.drop_closure();
        // SAFETY: by the type invariant SPDK owned one strong count, and it has let go of the pointer; the caller has
        // another.
        unsafe { Rc::decrement_strong_count(ptr::from_ref(self)) };
    }

    /// Drops the closure with what it has captured, also if somebody has forgotten the handle. Not from inside of it:
    /// `poll_callback` does it then.
    fn drop_closure(&self) {
        if self.running.get() {
            return;
        }
        // SAFETY: nothing runs the closure, and nobody else has a reference to it.
        let closure = unsafe { &mut *self.closure.get() }.take();
        contain("the destructor of a poller", || drop(closure));
    }
}

/// # Safety
///
/// SPDK calls this on the thread that registered the poller, with the `Inner` that it was registered with.
unsafe extern "C" fn poll_callback(ctx: *mut c_void) -> c_int {
    let raw = ctx.cast::<Inner>().cast_const();
    // SAFETY: by the type invariant `ctx` is alive; the field never changes.
    if !unsafe { (*raw).home }.is_this_os_thread() {
        // SPDK's scheduler has moved the thread to another OS thread, where the closure must not run: it need not be
        // `Send` (design rule 2).
        return 0;
    }
    // SAFETY: by the type invariant `ctx` is alive with a count of SPDK's, which is not given up before the end of this
    // function, also if the closure drops the `Poller`.
    let inner = unsafe { &*raw };
    if inner.faulted.get() || inner.running.replace(true) {
        return 0;
    }
    let status = contain("a poller", || {
        // SAFETY: `running` was false, so no other call is inside the closure; only this function touches it.
        let closure = unsafe { &mut *inner.closure.get() };
        closure.as_mut().map(|closure| closure())
    });
    if status.is_none() {
        inner.faulted.set(true);
        inner.unregister();
    }
    inner.running.set(false);
    if inner.raw.get().is_null() {
        inner.drop_closure();
        // SAFETY: it was unregistered meanwhile, so SPDK's count is ours; nothing uses `inner` after this.
        unsafe { Rc::decrement_strong_count(raw) };
    } else if inner.paused.get() {
        inner.tell_paused();
    }
    i32::from(status.flatten() == Some(PollerStatus::Busy))
}

impl std::fmt::Debug for Poller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poller")
            .field("name", &self.inner.name)
            .field("home", &self.inner.home)
            .field("faulted", &self.inner.faulted.get())
            .finish_non_exhaustive()
    }
}
