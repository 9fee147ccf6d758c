//! One open `spdk_bdev_desc`, shared by everything that needs it to stay open.
//!
//! ```text
//!               1                        2                        3
//!  (opening) ───────► open, holders > 0 ───► closing, channels > 0 ───► closed
//!                            │                      ▲
//!                            └── 4: removed ────────┘   (holders keep their handles; each call is an error)
//!  1: open   2: last holder dropped, `settle`   3: last channel put, `settle`   4: `event_callback`, `revoke`
//! ```
//!
//! SPDK wants a descriptor closed on the thread that opened it, after its last channel was put and its last I/O
//! freed (contract B-04, B-05), and it does not check. Here the raw pointer is taken out of the shared state by
//! [`DescCore::settle`] alone, and only when there is neither holder (or the bdev was removed) nor channel, nor a call
//! that SPDK has not answered; it is then closed on the app thread, which is where descriptors are opened.

use std::collections::VecDeque;
use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::task::Waker;

use super::call::{self, Ticket};
use super::channel_core::ChannelLink;
use super::claim::{Claim, ClaimKind};
use super::events::{Events, MediaEvent};
use super::info::BdevInfo;
use super::lookup;
use super::needs;
use super::qos::QosLimits;
use super::timeout;
use crate::error::{ChannelError, ClaimError, Errno, OpenError, ThreadError};
use crate::inside;
use crate::module::BdevModule;
use crate::panic::{contain, wake_all};
use crate::sync::lock;
use crate::thread::app_thread;
use crate::units::Blocks;

/// Every core that was opened and is not gone.
static CORES: Mutex<Vec<Weak<DescCore>>> = Mutex::new(Vec::new());

/// Something was quiesced: SPDK locks blocks for that without a descriptor.
static QUIESCES: AtomicBool = AtomicBool::new(false);

/// SPDK is about to lock blocks of some bdev, to quiesce it.
pub(crate) fn quiesces() {
    QUIESCES.store(true, Ordering::Relaxed);
}

/// One open descriptor.
///
/// # Invariants
///
/// - `State::raw` is an open descriptor until it is taken, which `settle` alone does, and then closed once.
/// - SPDK has a pointer to `events` until the descriptor is closed, and the core is not dropped before that: a
///   holder, a channel or the job that closes it has a strong count.
pub(crate) struct DescCore {
    pub(crate) info: BdevInfo,
    /// Follows the RESIZE event.
    num_blocks: AtomicU64,
    /// Read on the path of each I/O; `State` has the rest, which no I/O touches.
    removed: AtomicBool,
    /// Blocks of the bdev were locked through it, and it was not settled since.
    locked: AtomicBool,
    bdev: NonNull<spdk_sys::spdk_bdev>,
    /// SPDK's event context points to it.
    events: Arc<EventSink>,
    /// For those who listen.
    pub(super) happened: Events,
    state: Mutex<State>,
}

/// Where SPDK's events of a descriptor arrive.
#[derive(Default)]
struct EventSink {
    core: OnceLock<Weak<DescCore>>,
}

struct State {
    raw: Option<NonNull<spdk_sys::spdk_bdev_desc>>,
    /// Owner and shared handles.
    holders: usize,
    /// Channels that were not put yet, on all threads.
    channels: VecDeque<ChannelLink>,
    next_link: u64,
    /// Holds an exclusive claim, which does not end with the descriptor.
    must_release: bool,
    /// What SPDK has not answered yet.
    calls: usize,
    /// Whether it looks for slow I/O.
    watch: Watch,
    /// How many visits of all channels are left before it is closed.
    laps: u8,
    /// Woken when the descriptor is closed.
    closing: Vec<(u64, Waker)>,
}

impl State {
    /// Whether somebody would be in the middle of something when the descriptor is closed.
    fn is_used(&self) -> bool {
        !self.channels.is_empty() || self.calls != 0
    }
}

/// Whether SPDK looks for slow I/O of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    Never,
    Now,
    /// No more, but a last look, or some other walk over the channels that we don't hear of, may be under way.
    Before,
}

// SAFETY: the raw pointers are used by `open`, `claim` and `close`, on the app thread, and handed out to channels,
// which SPDK lets any thread make (B-04). Everything else is atomics and a mutex.
unsafe impl Send for DescCore {}
// SAFETY: as for `Send`.
unsafe impl Sync for DescCore {}

impl DescCore {
    /// Opens `name`, with one holder. On the app thread.
    pub(super) fn open(name: &str, write: bool) -> Result<Arc<Self>, OpenError> {
        app_thread::check_open()?;
        let not_found = || OpenError::NotFound {
            name: name.to_owned(),
        };
        // SAFETY: this is the app thread.
        let c_name = unsafe { lookup::resolve(name) }.ok_or_else(not_found)?;
        let events = Arc::new(EventSink::default());
        let mut raw = ptr::null_mut();
        let sink = Arc::as_ptr(&events).cast_mut().cast();
        // SAFETY: the app thread is current; `c_name` lives across the call; `events` will live in the core, which
        // is there until the descriptor is closed (`settle`).
        let rc = unsafe {
            spdk_sys::spdk_shim_bdev_open(
                c_name.as_ptr(),
                write,
                Some(event_callback),
                sink,
                &raw mut raw,
            )
        };
        if let Err(errno) = Errno::check(rc) {
            return Err(match errno.code() {
                libc::ENODEV => not_found(),
                libc::EPERM => {
                    let claim = claim_of(&c_name);
                    OpenError::Claimed {
                        name: name.to_owned(),
                        by: holder(&claim),
                        claim: claim.map(|claim| claim.kind),
                    }
                }
                _ => OpenError::Refused {
                    name: name.to_owned(),
                    errno,
                },
            });
        }
        let raw = NonNull::new(raw).ok_or_else(not_found)?;
        // SAFETY: `raw` is open.
        let bdev = NonNull::new(unsafe { spdk_sys::spdk_bdev_desc_get_bdev(raw.as_ptr()) })
            .ok_or_else(not_found)?;
        // SAFETY: a descriptor of `bdev` is open and its thread is current.
        let info = unsafe { BdevInfo::read(bdev.as_ptr()) };
        // SAFETY: as for the info.
        let limited = unsafe { QosLimits::of(bdev.as_ptr()) } != QosLimits::NONE;
        // INVARIANT: `raw` is open, and SPDK's event context is in the core.
        let core = Arc::new(Self {
            num_blocks: AtomicU64::new(info.num_blocks.0),
            info,
            removed: AtomicBool::new(false),
            locked: AtomicBool::new(false),
            bdev,
            events,
            happened: Events::default(),
            state: Mutex::new(State {
                raw: Some(raw),
                holders: 1,
                channels: VecDeque::new(),
                next_link: 0,
                must_release: false,
                calls: 0,
                // Opening a bdev that has limits may set off a walk over its channels, as a look for slow I/O does.
                watch: if limited { Watch::Before } else { Watch::Never },
                laps: 0,
                closing: Vec::new(),
            }),
        });
        // No event is lost in between: they come by message to this thread (B-07).
        let _ = core.events.core.set(Arc::downgrade(&core));
        lock(&CORES).push(Arc::downgrade(&core));
        Ok(core)
    }

    /// Logical blocks of the bdev, after the last resize that was told.
    #[inline]
    pub(crate) fn num_blocks(&self) -> Blocks {
        Blocks(self.num_blocks.load(Ordering::Relaxed))
    }

    /// Whether the bdev is going or gone.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    pub(crate) fn bdev(&self) -> NonNull<spdk_sys::spdk_bdev> {
        self.bdev
    }

    /// Claims the bdev; `key` is that of a shared claim, else 0. On the app thread.
    pub(super) fn claim(
        &self,
        module: &'static BdevModule,
        kind: ClaimKind,
        key: u64,
    ) -> Result<(), ClaimError> {
        app_thread::check()?;
        let name = || self.info.name.clone();
        let Some(module_raw) = module.raw() else {
            return Err(ClaimError::ModuleNotAdded {
                module: module.name().into(),
            });
        };
        let raw = match self.state().raw {
            Some(raw) if !self.is_removed() => raw,
            _ => return Err(ClaimError::Removed { name: name() }),
        };
        let (bdev, desc) = (self.bdev.as_ptr(), raw.as_ptr());
        let mut needs = needs::none();
        let rc = match kind {
            ClaimKind::ExclusiveWrite => {
                // SAFETY: this is the app thread, the only one that closes descriptors, so `raw` is open across the
                // call.
                unsafe { spdk_sys::spdk_bdev_module_claim_bdev(bdev, desc, module_raw) }
            }
            _ => {
                // SAFETY: as above; `needs` lives across the call.
                unsafe {
                    spdk_sys::spdk_shim_claim_desc(
                        desc,
                        kind.raw(),
                        key,
                        module_raw,
                        &raw mut needs,
                    )
                }
            }
        };
        let Err(errno) = Errno::check(rc) else {
            if kind == ClaimKind::ExclusiveWrite {
                self.state().must_release = true;
            }
            return Ok(());
        };
        if let Some((what, needs)) = needs::read(&needs) {
            return Err(ClaimError::NeedsVersion { what, needs });
        }
        // Conflicts are -EPERM or -EBUSY (B-22).
        let is_conflict = matches!(errno.code(), libc::EPERM | libc::EBUSY);
        // SAFETY: the bdev has an open descriptor, on this thread.
        Err(match unsafe { Claim::read(bdev) } {
            Some(claim) if is_conflict && claim.kind == kind && key != 0 => ClaimError::OtherKey {
                name: name(),
                by: claim.by,
            },
            Some(claim) if is_conflict => ClaimError::Claimed {
                name: name(),
                by: claim.by,
                claim: Some(claim.kind),
            },
            None if is_conflict => ClaimError::Writers {
                name: name(),
                claim: kind,
            },
            _ => ClaimError::Refused {
                name: name(),
                errno,
            },
        })
    }

    /// Takes the media events that SPDK keeps for the descriptor.
    pub(super) fn media_events(&self) -> Result<Vec<MediaEvent>, ThreadError> {
        app_thread::check()?;
        let mut all = Vec::new();
        // Read each time: closed, there are none.
        loop {
            let raw = self.state().raw;
            let Some(raw) = raw else {
                break;
            };
            let mut some = [spdk_sys::spdk_bdev_media_event {
                offset: 0,
                num_blocks: 0,
            }; 16];
            // SAFETY: this is the app thread, the only one that closes descriptors and takes their events; `some` lives
            // across the call and has as many entries as it says.
            let count = unsafe {
                spdk_sys::spdk_bdev_get_media_events(raw.as_ptr(), some.as_mut_ptr(), some.len())
            };
            all.extend(some[..count].iter().map(MediaEvent::of));
            if count < some.len() {
                break;
            }
        }
        Ok(all)
    }

    /// SPDK is about to lock blocks of the bdev, for this descriptor. Whenever it unlocks some of a bdev that is to be
    /// unregistered, 25.09 and newer go on with that by a message, though it may be going on by itself; should the last
    /// descriptor be closed before both have come, they unregister the bdev twice.
    #[cold]
    pub(super) fn locks(&self) {
        self.locked.store(true, Ordering::Relaxed);
    }

    /// Whether [`locks`](Self::locks) was called, and it was not settled since.
    pub(super) fn has_locked(&self) -> bool {
        self.locked.load(Ordering::Relaxed)
    }

    /// Whether blocks of the bdev may be being locked, for whichever descriptor of ours.
    pub(super) fn may_be_locked(&self) -> bool {
        let same = |core: &Arc<Self>| core.bdev == self.bdev && core.has_locked();
        QUIESCES.load(Ordering::Relaxed) || cores().iter().any(same)
    }

    /// One more holder.
    pub(super) fn hold(&self) {
        self.state().holders += 1;
    }

    /// One holder less; closes the descriptor if nothing else needs it.
    pub(super) fn unhold(self: &Arc<Self>) {
        self.state().holders -= 1;
        self.settle();
    }

    /// Announces a channel, which keeps the descriptor open, and hands out the raw descriptor to make it with.
    pub(super) fn link(
        &self,
        make: impl FnOnce(u64) -> ChannelLink,
    ) -> Result<(u64, NonNull<spdk_sys::spdk_bdev_desc>), ChannelError> {
        let mut state = self.state();
        let (Some(raw), false) = (state.raw, self.is_removed()) else {
            return Err(ChannelError::Removed {
                name: self.info.name.clone(),
            });
        };
        let id = state.next_link;
        state.next_link += 1;
        state.channels.push_back(make(id));
        Ok((id, raw))
    }

    /// Whether the channel `id` was not put yet.
    pub(super) fn is_linked(&self, id: u64) -> bool {
        self.state().channels.iter().any(|link| link.id == id)
    }

    /// The channel `id` was put; closes the descriptor if nothing else needs it.
    pub(super) fn unlink(self: &Arc<Self>, id: u64) {
        {
            let mut state = self.state();
            // The one that was got first mostly goes first.
            let at = state.channels.iter().position(|link| link.id == id);
            let _ = at.and_then(|at| state.channels.remove(at));
        }
        self.settle();
    }

    /// Announces a call that SPDK answers later, which keeps the descriptor open.
    pub(super) fn begin_call(&self) -> Option<NonNull<spdk_sys::spdk_bdev_desc>> {
        let mut state = self.state();
        let raw = state.raw.filter(|_| !self.is_removed())?;
        state.calls += 1;
        Some(raw)
    }

    /// SPDK has answered; closes the descriptor if nothing else needs it.
    pub(super) fn end_call(self: &Arc<Self>) {
        self.state().calls -= 1;
        self.settle();
    }

    /// Whether the descriptor is open, and the bdev there.
    pub(super) fn is_open(&self) -> bool {
        self.state().raw.is_some() && !self.is_removed()
    }

    /// SPDK is to look for slow I/O. `None` if the descriptor is closed, `Some(None)` if it does already.
    pub(super) fn watch(&self) -> Option<Option<NonNull<spdk_sys::spdk_bdev_desc>>> {
        let mut state = self.state();
        let raw = state.raw.filter(|_| !self.is_removed())?;
        Some((std::mem::replace(&mut state.watch, Watch::Now) != Watch::Now).then_some(raw))
    }

    /// SPDK is to look no more, unless the descriptor is closed.
    pub(super) fn unwatch(&self) -> Option<NonNull<spdk_sys::spdk_bdev_desc>> {
        let mut state = self.state();
        if state.watch == Watch::Now {
            state.watch = Watch::Before;
        }
        state.raw
    }

    /// Lets go of the bdev without waiting for the handles: it was removed, somebody has had enough of waiting, or the app
    /// ends.
    pub(super) fn revoke(self: &Arc<Self>) {
        self.removed.store(true, Ordering::Relaxed);
        // Before the descriptor can be closed, which ends the streams; whoever waits is woken at the end.
        self.happened.removed();
        let mut here = Vec::new();
        {
            let state = self.state();
            for link in &state.channels {
                if link.is_here() {
                    here.push(link.clone());
                } else {
                    // SAFETY: the list is locked. (The one call into SPDK under a lock: it puts a message into a
                    // ring and runs nobody's code. Without the lock the thread could exit under our hands.)
                    unsafe { link.send_revoke(self) };
                }
            }
        }
        here.iter().for_each(|link| link.revoke(self));
        self.settle();
        self.happened.wake();
    }

    /// Somebody who may wait until the descriptor is closed.
    pub(super) fn waiter(self: &Arc<Self>) -> CloseWaiter {
        let mut state = self.state();
        let id = state.next_link;
        state.next_link += 1;
        drop(state);
        CloseWaiter {
            core: Arc::clone(self),
            id,
        }
    }

    /// Closes the descriptor if nothing needs it any more.
    fn settle(self: &Arc<Self>) {
        let core = Arc::clone(self);
        {
            let state = self.state();
            let wanted = state.holders != 0 && !self.is_removed();
            if state.raw.is_none() || wanted || state.is_used() {
                return;
            }
        }
        let job = Box::new(move || core.close_if_unneeded());
        if app_thread::run(job).is_err() {
            // The app is over, and SPDK frees the descriptor itself; until then it may still use `events`.
            std::mem::forget(Arc::clone(self));
        }
    }

    /// On the app thread. Looks again: a channel may have been made since the message was sent.
    fn close_if_unneeded(self: &Arc<Self>) {
        let (raw, must_release, wakers) = {
            let mut state = self.state();
            let wanted = state.holders != 0 && !self.is_removed();
            if wanted || state.is_used() {
                return;
            }
            if let (Some(raw), true) = (state.raw, state.watch != Watch::Never) {
                state.watch = Watch::Never;
                state.calls += 1;
                drop(state);
                let ticket = Ticket::new(self, "looking for slow I/O");
                // SAFETY: this is the app thread, and the call just counted keeps the descriptor open.
                return unsafe { timeout::stop(raw.as_ptr(), ticket) };
            }
            // SAFETY: reads a version.
            let is_new = unsafe { spdk_sys::spdk_shim_lock_keeps_channels() };
            if is_new && state.raw.is_some() && self.locked.swap(false, Ordering::Relaxed) {
                // The first is behind SPDK's own, which may be under way (`locks`); the other one's end is behind what
                // that and the unlocking have sent to this thread.
                state.laps = 2;
            }
            if state.raw.is_some() && state.laps != 0 {
                state.laps -= 1;
                state.calls += 1;
                drop(state);
                // SAFETY: this is the app thread, and the call just counted keeps the descriptor open.
                return unsafe { call::visit_channels(Ticket::new(self, "closing it")) };
            }
            let Some(raw) = state.raw.take() else {
                return;
            };
            (raw, state.must_release, std::mem::take(&mut state.closing))
        };
        // The lock is released: closing may run the module's code, and ours with it.
        if must_release {
            // SAFETY: the descriptor is still open, so the bdev is there; the claim is ours (v1: it outlives the
            // descriptor and must be given back by hand, B-20).
            unsafe { spdk_sys::spdk_bdev_module_release_bdev(self.bdev.as_ptr()) };
        }
        // SAFETY: taken out of the state, so this happens once; on the thread that opened it, with no channel left,
        // and so with no I/O in flight (B-05).
        unsafe { spdk_sys::spdk_bdev_close(raw.as_ptr()) };
        wake_all(wakers.into_iter().map(|(_, waker)| waker).collect());
        self.happened.closed();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Waits until a descriptor is closed. It has one waker at most in the list, and takes it along.
pub(super) struct CloseWaiter {
    pub(super) core: Arc<DescCore>,
    id: u64,
}

impl CloseWaiter {
    /// Has `waker` woken when the descriptor is closed; `true` if it is already.
    pub(super) fn poll(&self, waker: &Waker) -> bool {
        // Cloned, and the last one dropped, while nothing is locked: a waker is somebody's code.
        let waker = waker.clone();
        let mut state = self.core.state();
        let is_closed = state.raw.is_none();
        let mine = state.closing.iter_mut().find(|(id, _)| *id == self.id);
        let unused = match mine {
            _ if is_closed => Some(waker),
            Some((_, have)) => Some(std::mem::replace(have, waker)),
            None => {
                state.closing.push((self.id, waker));
                None
            }
        };
        drop(state);
        drop(unused);
        is_closed
    }
}

impl Drop for CloseWaiter {
    fn drop(&mut self) {
        let mut state = self.core.state();
        let at = state.closing.iter().position(|(id, _)| *id == self.id);
        let mine = at.map(|at| state.closing.swap_remove(at));
        drop(state);
        drop(mine);
    }
}

/// # Safety
///
/// SPDK calls this on the thread that opened the descriptor, in a message of its own, while the descriptor is open;
/// `ctx` is the [`EventSink`] given to `spdk_bdev_open_ext`.
unsafe extern "C" fn event_callback(
    event: spdk_sys::spdk_bdev_event_type,
    bdev: *mut spdk_sys::spdk_bdev,
    ctx: *mut c_void,
) {
    use spdk_sys::spdk_bdev_event_type as ty;
    let _inside = inside::enter();
    contain("a bdev event", || {
        // SAFETY: by this function's contract and the core's invariant the sink is alive.
        let sink = unsafe { &*ctx.cast::<EventSink>() };
        let Some(core) = sink.core.get().and_then(Weak::upgrade) else {
            return;
        };
        match event {
            ty::SPDK_BDEV_EVENT_REMOVE => core.revoke(),
            ty::SPDK_BDEV_EVENT_RESIZE => {
                // SAFETY: the bdev is registered, since SPDK just told us of it.
                let now = unsafe { spdk_sys::spdk_bdev_get_num_blocks(bdev) };
                core.num_blocks.store(now, Ordering::Relaxed);
                core.happened.resized();
            }
            ty::SPDK_BDEV_EVENT_MEDIA_MANAGEMENT => {
                core.happened.media();
                // 20.07 calls from the thread that tells of them, with the bdev's lock held: nobody's code may run here.
                let ctx = Weak::into_raw(Arc::downgrade(&core)).cast_mut();
                if app_thread::send(media_callback, ctx.cast()).is_err() {
                    // SAFETY: the message was not sent, so the weak count that `into_raw` leaked is ours again.
                    drop(unsafe { Weak::from_raw(ctx.cast_const()) });
                }
            }
            _ => {}
        }
    });
}

/// # Safety
///
/// SPDK calls this once, on the app thread, with the weak count that [`event_callback`] sent.
unsafe extern "C" fn media_callback(ctx: *mut c_void) {
    contain("a media event", || {
        // SAFETY: by this function's contract.
        let core = unsafe { Weak::from_raw(ctx.cast_const().cast::<DescCore>()) };
        if let Some(core) = core.upgrade() {
            core.happened.wake();
        }
    });
}

/// Revokes every descriptor that is still open. On the app thread, when the app ends.
pub(crate) fn revoke_all() {
    for core in cores() {
        core.revoke();
    }
}

/// How many descriptors are open.
pub(crate) fn open_descriptors() -> usize {
    cores()
        .iter()
        .filter(|core| core.state().raw.is_some())
        .count()
}

/// The bdevs whose descriptors are open, for a report.
pub(crate) fn open_names() -> Vec<String> {
    let open = |core: &Arc<DescCore>| {
        let state = core.state();
        state.raw.is_some().then(|| {
            format!(
                "descriptor of {:?} ({} handles, {} channels)",
                core.info.name,
                state.holders,
                state.channels.len()
            )
        })
    };
    cores().iter().filter_map(open).collect()
}

fn cores() -> Vec<Arc<DescCore>> {
    let mut list = lock(&CORES);
    list.retain(|core| core.strong_count() != 0);
    list.iter().filter_map(Weak::upgrade).collect()
}

/// The claim of the bdev named `name`. On the app thread.
fn claim_of(name: &CStr) -> Option<Claim> {
    // SAFETY: `name` lives across the call, on the app thread.
    let bdev = unsafe { spdk_sys::spdk_bdev_get_by_name(name.as_ptr()) };
    if bdev.is_null() {
        return None;
    }
    // SAFETY: bdevs go away on the app thread alone, and not while we are on it.
    unsafe { Claim::read(bdev) }
}

/// Who holds `claim`, for an error.
fn holder(claim: &Option<Claim>) -> String {
    claim
        .as_ref()
        .map_or("(unknown)", |claim| claim.by.as_str())
        .to_owned()
}
