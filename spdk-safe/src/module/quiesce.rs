//! A bdev that holds still.
//!
//! ```text
//!            1                     2                 3
//!  (nothing) ──► asked ──────────────► held ───────────────► let go of
//!                  └── 4: nobody wants it any more ────────────▲
//!  1: RegisteredBdev::quiesce   2: quiesced_callback   3: Quiesced::drop, or the bdev is unregistered
//! ```
//!
//! C functions: `spdk_bdev_quiesce_range`, `spdk_bdev_unquiesce_range` (contract M-40 to M-43).

use std::ffi::c_void;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use super::register::{RegisteredBdev, Registration};
use crate::error::{BdevError, Errno};
use crate::inside;
use crate::panic::contain;
use crate::sync::lock;
use crate::thread::app_thread;
use crate::units::{Blocks, Lba};

impl RegisteredBdev {
    /// Has I/O to all of the bdev wait (`spdk_bdev_quiesce`; SPDK 23.05 and newer). Done when what was in flight has
    /// ended.
    ///
    /// Reads, writes, unmaps, zeroes and copies wait until the [`Quiesced`] is dropped; flushes, resets, compares, aborts
    /// and seeks do not (M-41). Reads on channels that are made meanwhile wait, too, though SPDK forgets them (M-43).
    pub fn quiesce(&self) -> Quiesce {
        self.quiesce_asked(None)
    }

    /// As [`quiesce`](Self::quiesce), for `blocks` blocks from `lba` on. One that overlaps another waits for it.
    pub fn quiesce_range(&self, lba: Lba, blocks: Blocks) -> Quiesce {
        self.quiesce_asked(Some((lba, blocks)))
    }

    fn quiesce_asked(&self, range: Option<(Lba, Blocks)>) -> Quiesce {
        let core = Arc::new(QuiesceCore {
            registration: Arc::clone(self.registration()),
            state: Mutex::new(State {
                phase: Phase::Asked,
                range: range.unwrap_or_default(),
                at_spdk: AtSpdk::No,
                answer: None,
                waker: None,
            }),
        });
        let asked = Arc::clone(&core);
        let is_all = range.is_none();
        let job = Box::new(move || asked.ask(is_all));
        if app_thread::run(job).is_err() {
            let gone = core.gone();
            core.answer(Err(gone));
        }
        Quiesce { core: Some(core) }
    }
}

impl Registration {
    /// Those that somebody has: a handle, or SPDK. Dropped with nothing locked, since each may be the last count.
    fn known_quiesces(&self) -> Vec<Arc<QuiesceCore>> {
        let mut quiesces = lock(&self.quiesces);
        quiesces.retain(|quiesce| quiesce.strong_count() != 0);
        quiesces.iter().filter_map(Weak::upgrade).collect()
    }

    /// Whether SPDK has a range that ends past `blocks`.
    pub(super) fn is_quiesced_past(&self, blocks: Blocks) -> bool {
        self.known_quiesces().iter().any(|quiesce| {
            let state = lock(&quiesce.state);
            let (lba, count) = state.range;
            state.at_spdk == AtSpdk::Locked && lba.0.saturating_add(count.0) > blocks.0
        })
    }

    /// Whether SPDK has any range.
    pub(super) fn has_ranges(&self) -> bool {
        self.known_quiesces()
            .iter()
            .any(|quiesce| lock(&quiesce.state).at_spdk != AtSpdk::No)
    }

    /// Has all be let go of.
    pub(super) fn release_quiesces(&self) {
        self.known_quiesces().iter().for_each(QuiesceCore::release);
    }

    /// Whether some of these blocks are quiesced; `None` if nothing is, nor is to be.
    pub(super) fn is_quiesced(&self, lba: Lba, blocks: Blocks) -> Option<bool> {
        let all = self.known_quiesces();
        let mut found = None;
        for quiesce in &all {
            let (phase, (first, count)) = {
                let state = lock(&quiesce.state);
                (state.phase, state.range)
            };
            if phase != Phase::Released {
                let apart = first.0.saturating_add(count.0) <= lba.0
                    || lba.0.saturating_add(blocks.0) <= first.0;
                let held = phase == Phase::Held && !apart;
                found = Some(held || found == Some(true));
            }
        }
        found
    }
}

/// What a guard, its future and SPDK share.
pub(super) struct QuiesceCore {
    registration: Arc<Registration>,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Asked,
    Held,
    /// It was let go of, or will be as soon as it is held.
    Released,
}

/// Whether SPDK has the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtSpdk {
    No,
    /// It holds it, or is about to.
    Locked,
    /// It is letting go of it, channel by channel. Asked to unregister the bdev meanwhile, it would do so twice (26.05).
    Unlocking,
}

struct State {
    phase: Phase,
    /// Remembered: a resize must not change it (M-42).
    range: (Lba, Blocks),
    at_spdk: AtSpdk,
    answer: Option<Result<(), BdevError>>,
    waker: Option<Waker>,
}

impl QuiesceCore {
    fn gone(&self) -> BdevError {
        BdevError::NotFound {
            name: self.registration.name().into(),
        }
    }

    fn answer(&self, answer: Result<(), BdevError>) {
        let waker = {
            let mut state = lock(&self.state);
            state.answer = Some(answer);
            state.waker.take()
        };
        if let Some(waker) = waker {
            contain("a waker", || waker.wake());
        }
    }

    /// On the app thread.
    fn ask(self: &Arc<Self>, is_all: bool) {
        if lock(&self.state).phase == Phase::Released {
            return;
        }
        let Some(bdev) = self
            .registration
            .bdev()
            .filter(|_| !self.registration.is_unregistering())
        else {
            return self.answer(Err(self.gone()));
        };
        let bdev = bdev.as_ptr();
        // SAFETY: the bdev is there, on the app thread.
        let capacity = Blocks(unsafe { spdk_sys::spdk_bdev_get_num_blocks(bdev) });
        let (lba, blocks) = {
            let mut state = lock(&self.state);
            if is_all {
                state.range = (Lba(0), capacity);
            }
            state.range
        };
        if blocks == Blocks(0) || !lba.fits(blocks, capacity) {
            return self.answer(Err(BdevError::Geometry {
                name: self.registration.name().into(),
                what: "the end of the range to quiesce",
                got: lba.0.saturating_add(blocks.0),
                allowed: "within the bdev, and the range at least a block",
            }));
        }
        lock(&self.state).at_spdk = AtSpdk::Locked;
        crate::bdev::quiesces();
        lock(&self.registration.quiesces).push(Arc::downgrade(self));
        let ctx = Arc::into_raw(Arc::clone(self)).cast_mut().cast::<c_void>();
        let (module, callback) = (self.registration.module, quiesced_callback);
        // SAFETY: the bdev is there, and of this module, on the app thread. SPDK has a count until it calls back, once.
        let rc = unsafe {
            spdk_sys::spdk_shim_bdev_quiesce_range(
                bdev,
                module,
                lba.0,
                blocks.0,
                Some(callback),
                ctx,
            )
        };
        if let Err(errno) = Errno::check(rc) {
            // SAFETY: SPDK did not take it, so the count that `into_raw` leaked is ours again.
            drop(unsafe { Arc::from_raw(ctx.cast_const().cast::<Self>()) });
            self.gone_from_spdk();
            let name = self.registration.name().into();
            self.answer(Err(match errno.code() {
                libc::ENOTSUP => BdevError::NeedsVersion {
                    what: "quiescing a bdev",
                    needs: "23.05",
                },
                libc::ENODEV => BdevError::NotFound { name },
                libc::ENOMEM => BdevError::NoMemory { name },
                _ => BdevError::Refused { name, errno },
            }));
        }
    }

    /// Lets go of it now, or as soon as it is held. On any thread.
    pub(super) fn release(self: &Arc<Self>) {
        let was = {
            let mut state = lock(&self.state);
            std::mem::replace(&mut state.phase, Phase::Released)
        };
        if was == Phase::Held {
            let this = Arc::clone(self);
            // Otherwise the app is over, and its bdevs with it.
            let _ = app_thread::run(Box::new(move || this.unquiesce()));
        }
    }

    /// SPDK does not have the range, or not any more: a bdev that waits for that is unregistered. On the app thread.
    fn gone_from_spdk(&self) {
        lock(&self.state).at_spdk = AtSpdk::No;
        if self.registration.is_unregistering() {
            let registration = Arc::clone(&self.registration);
            // Not in here: SPDK may not be done with the bdev.
            let _ = app_thread::run_later(Box::new(move || registration.unregister_if_unlocked()));
        }
    }

    /// On the app thread, once, after it was held.
    fn unquiesce(self: &Arc<Self>) {
        let (lba, blocks) = {
            let mut state = lock(&self.state);
            state.at_spdk = AtSpdk::Unlocking;
            state.range
        };
        let Some(bdev) = self.registration.bdev() else {
            return;
        };
        let ctx = Arc::into_raw(Arc::clone(self)).cast_mut().cast::<c_void>();
        // SAFETY: a bdev with a quiesced range is not gone (M-24); its module, this thread and the range are those of the
        // quiesce. SPDK has a count until it calls back, once.
        let rc = unsafe {
            spdk_sys::spdk_shim_bdev_unquiesce_range(
                bdev.as_ptr(),
                self.registration.module,
                lba.0,
                blocks.0,
                Some(unquiesced_callback),
                ctx,
            )
        };
        if let Err(errno) = Errno::check(rc) {
            // SAFETY: SPDK did not take it, so the count that `into_raw` leaked is ours again.
            drop(unsafe { Arc::from_raw(ctx.cast_const().cast::<Self>()) });
            self.gone_from_spdk();
            let name = self.registration.name();
            crate::log::error(&format!("bdev {name:?} stays quiesced: {errno}"));
        }
    }
}

/// # Safety
///
/// SPDK calls this once, on the app thread, with the pointer that `unquiesce` gave it.
unsafe extern "C" fn unquiesced_callback(ctx: *mut c_void, _status: std::ffi::c_int) {
    let _inside = inside::enter();
    contain("the end of a quiesce", || {
        // SAFETY: by this function's contract the count is handed to this `Arc`.
        let core = unsafe { Arc::from_raw(ctx.cast_const().cast::<QuiesceCore>()) };
        core.gone_from_spdk();
    });
}

/// # Safety
///
/// SPDK calls this once, on the app thread, with the pointer that `ask` gave it.
unsafe extern "C" fn quiesced_callback(ctx: *mut c_void, status: std::ffi::c_int) {
    let _inside = inside::enter();
    contain("the answer to a quiesce", || {
        // SAFETY: by this function's contract the count is handed to this `Arc`.
        let core = unsafe { Arc::from_raw(ctx.cast_const().cast::<QuiesceCore>()) };
        if let Err(errno) = Errno::check(status) {
            core.gone_from_spdk();
            let name = core.registration.name().into();
            return core.answer(Err(BdevError::Refused { name, errno }));
        }
        let wanted = {
            let mut state = lock(&core.state);
            let wanted = state.phase == Phase::Asked && !core.registration.is_unregistering();
            state.phase = if wanted { Phase::Held } else { Phase::Released };
            wanted
        };
        match wanted {
            true => core.answer(Ok(())),
            false => {
                // Not in here: SPDK is not done with the range.
                let this = Arc::clone(&core);
                let _ = app_thread::run_later(Box::new(move || this.unquiesce()));
                core.answer(Err(core.gone()));
            }
        }
    });
}

/// A bdev that is to hold still; see [`RegisteredBdev::quiesce`]. It begins at once. Dropped before it is done, it is
/// taken back.
#[must_use = "await it to know when the bdev holds still"]
pub struct Quiesce {
    core: Option<Arc<QuiesceCore>>,
}

impl Future for Quiesce {
    type Output = Result<Quiesced, BdevError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = cx.waker().clone();
        let Some(core) = self.core.clone() else {
            return Poll::Pending;
        };
        let (answer, last) = {
            let mut state = lock(&core.state);
            match state.answer.take() {
                None => (None, state.waker.replace(waker)),
                answer => (answer, None),
            }
        };
        drop(last);
        let Some(answer) = answer else {
            return Poll::Pending;
        };
        self.core = None;
        Poll::Ready(answer.map(|()| Quiesced { core }))
    }
}

impl Drop for Quiesce {
    fn drop(&mut self) {
        if let Some(core) = self.core.take() {
            core.release();
        }
    }
}

/// The bdev, or a range of it, holds still until this is dropped, on whichever thread.
///
/// Its unregistration does not wait for it: that lets go of all such ranges first.
#[must_use = "dropping it lets the I/O go on"]
pub struct Quiesced {
    core: Arc<QuiesceCore>,
}

impl Quiesced {
    /// Where it begins, and how many blocks hold still.
    #[must_use]
    pub fn range(&self) -> (Lba, Blocks) {
        lock(&self.core.state).range
    }

    /// Lets the I/O go on.
    pub fn unquiesce(self) {}
}

impl Drop for Quiesced {
    fn drop(&mut self) {
        self.core.release();
    }
}

impl fmt::Debug for Quiesce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quiesce").finish_non_exhaustive()
    }
}

impl fmt::Debug for Quiesced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quiesced")
            .field("range", &self.range())
            .finish_non_exhaustive()
    }
}
