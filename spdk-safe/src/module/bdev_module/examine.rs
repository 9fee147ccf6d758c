//! SPDK shows a module a new bdev (contract M-10 to M-12).

use std::rc::Rc;
use std::sync::Mutex;

use super::driver::{self, Caught, Kind};
use super::lifecycle::{self, TellInit};
use super::{BdevModule, State};
use crate::app::Spdk;
use crate::bdev::BdevInfo;
use crate::inside;
use crate::panic::contain;
use crate::sync::lock;
use crate::thread::app_thread;

/// Bdevs that were shown to a module before its init was done, by the module's name. SPDK sets its count of what is under
/// way to one before the init, so no examine may be then.
static EARLY: Mutex<Vec<(&'static str, BdevInfo)>> = Mutex::new(Vec::new());

/// Tells SPDK, when it is dropped, that one examine is done: once, whatever the user's code does.
struct Done(*mut spdk_sys::spdk_bdev_module);

// SAFETY: the pointer is to a static of SPDK's by now, and is only given to SPDK.
unsafe impl Send for Done {}

impl Done {
    /// For an examine that SPDK counts for `module`.
    fn of(module: &'static BdevModule) -> Option<Self> {
        module.raw().map(Self)
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        // SAFETY: SPDK calls only modules that are in its list, and counted this call.
        unsafe { spdk_sys::spdk_bdev_module_examine_done(self.0) };
    }
}

/// `examine_config`: done before it returns.
///
/// # Safety
///
/// SPDK registers `bdev`, which stays until this returns, and counts the call.
pub(super) unsafe fn config(module: &'static BdevModule, bdev: *mut spdk_sys::spdk_bdev) {
    let _done = Done::of(module);
    contain("examine_config", || {
        // Elsewhere, where SPDK up to 22.09 lets bdevs be registered, nothing of ours can be opened.
        if module.state() < State::Up || app_thread::check_open().is_err() {
            return;
        }
        // SAFETY: by this function's contract; the app thread is current.
        show_config(module, &unsafe { BdevInfo::read(bdev) });
    });
}

fn show_config(module: &'static BdevModule, info: &BdevInfo) {
    if let Some(examiner) = module.examiner {
        let _inside = inside::enter();
        examiner.examine_config(&Spdk::of_app_thread(), info);
    }
}

/// Shows `module`, whose init is over, the bdevs that came before; `tell` waits for it.
pub(super) fn show_early(module: &'static BdevModule, tell: &Rc<TellInit>) {
    let (mine, others): (Vec<_>, Vec<_>) = std::mem::take(&mut *lock(&EARLY))
        .into_iter()
        .partition(|(name, _)| *name == module.name());
    lock(&EARLY).extend(others);
    for (_, info) in mine {
        contain("examine_config", || show_config(module, &info));
        begin(module, info, Rc::clone(tell));
    }
}

/// `examine_disk`: done when the user's future is, or is dropped.
///
/// # Safety
///
/// As [`config`].
pub(super) unsafe fn disk(module: &'static BdevModule, bdev: *mut spdk_sys::spdk_bdev) {
    let done = Done::of(module);
    contain("examine_disk", || {
        if module.state() < State::Up {
            if !lifecycle::is_over() {
                // SAFETY: by this function's contract; SPDK starts, on the app thread.
                let info = unsafe { BdevInfo::read(bdev) };
                lock(&EARLY).push((module.name(), info));
            }
            return;
        }
        if app_thread::check_open().is_ok() {
            // SAFETY: by this function's contract; the app thread is current.
            let info = unsafe { BdevInfo::read(bdev) };
            return begin(module, info, done);
        }
        if lifecycle::is_over() || !app_thread::is_open() {
            return;
        }
        // SAFETY: by this function's contract. SPDK up to 22.09 registers bdevs anywhere, and does not remove one from
        // below its own registration.
        let info = unsafe { BdevInfo::read(bdev) };
        // Refused, it drops `done`.
        let _ = app_thread::run_later(Box::new(move || begin(module, info, done)));
    });
}

/// Examines `info`; `done` is dropped afterwards. The first poll is on the spot: SPDK logs an error when an examine is
/// counted below an `examine_config`, whose module registers a bdev over the one it is shown, and still is when that
/// returns.
fn begin(module: &'static BdevModule, info: BdevInfo, done: impl Sized + 'static) {
    let Some(examiner) = module.examiner else {
        return;
    };
    if app_thread::check_open().is_err() {
        return;
    }
    let future = async move {
        let _done = done;
        // A panic was said and counted.
        let _ = Caught::new(examiner.examine_disk(Spdk::of_app_thread(), info)).await;
    };
    driver::start(Kind::Examine, module.name(), Box::pin(future));
}
