//! All threads of ours that are not gone, by their ids.

use std::cell::RefCell;
use std::ffi::c_void;
use std::num::NonZeroU64;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::local::Local;
use super::shared::{Phase, Shared};
use super::{Home, Poller, PollerStatus, app_thread, local, registry, releases};
use crate::error::ThreadError;
use crate::panic::contain;
use crate::sync::lock;

/// How often the app thread looks after threads that exit, and messages that SPDK had no room for, while there are any.
const OFTEN: Duration = Duration::from_micros(500);

/// How often it looks whether there are any. SPDK up to 25.09 may have no room for the message that says so.
const SELDOM: Duration = Duration::from_millis(100);

/// How many messages may be in flight to the app thread, and to others if nothing else was said.
pub(super) const ROOM: usize = 1024;

static TABLE: Mutex<Vec<Arc<Shared>>> = Mutex::new(Vec::new());
/// Somebody in the table wants to be looked after.
static ATTENTION: AtomicBool = AtomicBool::new(false);
/// Messages that SPDK has for all its threads.
static MESSAGES: AtomicU64 = AtomicU64::new(spdk_sys::MESSAGES);

/// The id of the app thread; 0 while there is none.
static APP_THREAD: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// On the app's OS thread while the app runs.
    static LOOKS_SELDOM: RefCell<Option<Poller>> = const { RefCell::new(None) };
    /// While somebody wants attention.
    static LOOKS_OFTEN: RefCell<Option<Poller>> = const { RefCell::new(None) };
}

pub(super) fn add(shared: &Arc<Shared>) {
    lock(&TABLE).push(Arc::clone(shared));
}

pub(super) fn remove(id: NonZeroU64) {
    let mut table = lock(&TABLE);
    let gone = table.iter().position(|shared| shared.id == id);
    let gone = gone.map(|at| table.remove(at));
    drop(table);
    drop(gone);
}

pub(super) fn get(id: NonZeroU64) -> Option<Arc<Shared>> {
    lock(&TABLE).iter().find(|shared| shared.id == id).cloned()
}

/// The current thread, if it is one of ours.
pub(super) fn current() -> Option<Arc<Shared>> {
    match local::current() {
        Some(local) => Some(Arc::clone(local.shared())),
        None => super::current_id().and_then(get),
    }
}

/// All of them, by id.
pub(super) fn all() -> Vec<Arc<Shared>> {
    let mut all = lock(&TABLE).clone();
    all.sort_by_key(|shared| shared.id);
    all
}

/// Whether something new may belong to `home`, which is current.
pub(super) fn may_hold(home: Home) -> Result<(), ThreadError> {
    let shared = match local::current() {
        Some(local) => Arc::clone(local.shared()),
        None => match get(home.id()) {
            // It has let go of all, and SPDK is about to stop.
            None if is_app_thread(home.id()) => return Err(ThreadError::Exiting),
            // Somebody else's.
            None => return Ok(()),
            Some(shared) if !shared.pinned => return Err(ThreadError::Migratable),
            Some(shared) if shared.phase() < Phase::Left => return Err(ThreadError::Moved),
            Some(shared) => shared,
        },
    };
    match shared.phase() {
        Phase::Open | Phase::Closing => Ok(()),
        Phase::Draining | Phase::Left | Phase::Gone => Err(ThreadError::Exiting),
    }
}

/// The app thread is to look at the table, until nobody in it wants that.
pub(super) fn want_attention() {
    if !ATTENTION.swap(true, Ordering::AcqRel) {
        // Refused, it is seen a little later.
        let _ = app_thread::send_one(attend_callback, ptr::null_mut());
    }
}

/// # Safety
///
/// SPDK calls this on the app thread, in a message that [`want_attention`] sent.
unsafe extern "C" fn attend_callback(_ctx: *mut c_void) {
    contain("the care for threads", || {
        attend();
    });
}

/// Looks after those who want it. On the app thread; again in the same turn does nothing new.
pub(crate) fn attend() -> PollerStatus {
    if !ATTENTION.swap(false, Ordering::AcqRel) {
        return PollerStatus::Idle;
    }
    let mut again = releases::retry();
    for shared in all() {
        again |= shared.look_after();
    }
    if again {
        ATTENTION.store(true, Ordering::Release);
    }
    // Nothing is borrowed where a poller is made or dropped.
    let often = LOOKS_OFTEN.take();
    let often = match (again || ATTENTION.load(Ordering::Acquire), often) {
        (true, None) if app_thread::check().is_ok() => Poller::unlisted(OFTEN, attend).ok(),
        (true, often) => often,
        (false, often) => {
            drop(often);
            None
        }
    };
    LOOKS_OFTEN.set(often);
    PollerStatus::Busy
}

/// Takes in the app thread, `home`, which is current.
pub(super) fn open_app_thread(home: Home) {
    // SAFETY: the app thread runs, and SPDK tells it to exit after `close_app_thread`.
    let shared = unsafe { Shared::new((home.raw(), home.id()), "app thread".into(), true, ROOM) };
    APP_THREAD.store(home.id().get(), Ordering::Release);
    local::begin(&shared, home);
    add(&shared);
    match Poller::unlisted(SELDOM, attend) {
        Ok(poller) => LOOKS_SELDOM.set(Some(poller)),
        Err(error) => crate::log::error(&format!("nobody looks after threads: {error}")),
    }
}

/// Runs the last messages to the app thread, which is current, and lets go of what it holds; it takes nothing new.
pub(crate) fn drain_app_thread() {
    if let Some(local) = local::of_id(APP_THREAD.load(Ordering::Acquire)) {
        local.shared().run_last(true);
        registry::drain(local.home());
        releases::run_all(local.home().id());
    }
}

/// What was to be released on the app thread, which takes nothing any more: it is done if the thread is current.
pub(super) fn lose_releases() {
    let Some(id) = app_thread_id() else {
        return;
    };
    match super::current_id() == Some(id) {
        true => releases::run_all(id),
        false => releases::lose_all(id),
    }
}

/// Lets the app thread go: what was sent to it is run if it is current, else dropped.
pub(super) fn close_app_thread() {
    let Some(local) = local::of_id(APP_THREAD.load(Ordering::Acquire)) else {
        return;
    };
    let is_current = local.home().check().is_ok();
    if is_current {
        drop(LOOKS_SELDOM.take());
        drop(LOOKS_OFTEN.take());
    }
    local.shared().close_for_good(is_current);
    local::forget(local.home().raw());
}

pub(super) fn is_app_thread(id: NonZeroU64) -> bool {
    id.get() == APP_THREAD.load(Ordering::Acquire)
}

/// The app thread, while an app runs.
pub(super) fn app_thread() -> Option<Arc<Shared>> {
    app_thread_id().and_then(get)
}

/// Its id, also when it is closed.
pub(super) fn app_thread_id() -> Option<NonZeroU64> {
    NonZeroU64::new(APP_THREAD.load(Ordering::Acquire))
}

/// Whether there is an app thread, or was one.
pub(crate) fn app_thread_was_there() -> bool {
    app_thread_id().is_some()
}

/// The local half of the current thread, or why it has none.
pub(super) fn current_local() -> Result<Rc<Local>, ThreadError> {
    if let Some(local) = local::current() {
        return Ok(local);
    }
    may_hold(Home::running()?)?;
    Err(ThreadError::Foreign)
}

/// Asks all of them but the app thread to exit.
pub(crate) fn exit_all() {
    for shared in all() {
        if !is_app_thread(shared.id) {
            shared.ask_to_exit();
        }
    }
}

/// Those that are not gone, but for the app thread, for a report.
pub(crate) fn names() -> Vec<String> {
    all()
        .into_iter()
        .filter(|shared| !is_app_thread(shared.id))
        .map(|shared| format!("SPDK thread {:?}", shared.name))
        .collect()
}

/// Notes how many messages SPDK has: `chosen`, or its own number for 0.
pub(crate) fn set_messages(chosen: u64) {
    if chosen != 0 && spdk_sys::MESSAGE_POOL_CAN_BE_SET {
        MESSAGES.store(chosen, Ordering::Relaxed);
    }
}

/// How many messages SPDK has.
pub(super) fn messages() -> u64 {
    MESSAGES.load(Ordering::Relaxed)
}
