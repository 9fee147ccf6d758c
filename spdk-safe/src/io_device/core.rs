//! One registered `io_device`, shared by its handles, its channels and SPDK.
//!
//! ```text
//!              1                 2                        3
//!  (nothing) ─────► Registered ─────► Unregistering ──────────► Gone
//!                                     no new channels           after the last channel on every thread
//!  1: Core::register   2: the owner was dropped, or the app ends   3: gone_callback
//! ```
//!
//! SPDK's own `spdk_for_each_channel` is not used. It can't say that it had no memory for its iterator (T-45, on all
//! versions); in 20.07 it also hands out a channel that may be freed by then, and has the device's unregistration
//! refused instead of put off. Here each device lists its channels, and sends messages to their threads by itself.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CStr, c_void};
use std::mem::size_of;
use std::ops::{Bound, Deref, DerefMut};
use std::ptr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::Waker;

use super::IoDevice;
use super::channel::{ChannelCore, Context, create_callback, destroy_callback};
use super::for_each::{End, Visit};
use crate::log;
use crate::panic::{contain, wake_all};
use crate::sync::lock;
use crate::thread::registry::Held;
use crate::thread::{Home, app_thread};

/// Every device that was registered and is not gone, in that order.
static REGISTERED: Mutex<VecDeque<Weak<dyn Registered>>> = Mutex::new(VecDeque::new());

/// What the end of the app does with a device of any type.
trait Registered: Send + Sync {
    fn begin_unregister(self: Arc<Self>);
    fn revoke(self: Arc<Self>);
    fn is_gone(&self) -> bool;
    fn describe(&self) -> String;
}

/// One registered device. Its address is SPDK's key.
///
/// # Invariants
///
/// - SPDK has the key, with a strong count of its own, from `register` to `gone_callback`.
/// - Each link in `State::links` stands for a channel that SPDK has not destroyed: its thread has not exited (T-09),
///   and can't while the state is locked, since `destroy_callback` takes the lock to unlist it.
pub(super) struct Core<D: IoDevice> {
    pub(super) name: String,
    state: Mutex<State<D>>,
}

struct State<D: IoDevice> {
    /// Until it is gone.
    device: Option<Arc<D>>,
    stage: Stage,
    /// SPDK was told to unregister the device, or is about to be.
    asked: bool,
    /// SPDK has forced a thread out with a channel, which leaks (T-10), and the device with it: it will never be gone.
    lost: bool,
    /// The channels that are made, by the id of their thread; ids are never used again.
    links: BTreeMap<u64, Link<D>>,
    /// Woken when the device is gone: of the one future that the owner became.
    waiting: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Registered,
    Unregistering,
    Gone,
}

/// A channel as its device knows it: how to reach it from another thread.
struct Link<D: IoDevice> {
    home: Home,
    /// Followed on the home thread alone.
    channel: *const ChannelCore<D>,
    /// Who wants to look at the channel. They are listed here, and not in the message, so that they go on if the
    /// channel goes first, or the thread with the message.
    visitors: VecDeque<Box<dyn Visit<D::Channel>>>,
    /// What was got of it is to be put.
    revoked: bool,
    /// A message is under way: there is never more than one.
    posted: bool,
}

// SAFETY: the pointer is followed on its home thread alone.
unsafe impl<D: IoDevice> Send for Link<D> {}

impl<D: IoDevice> Core<D> {
    /// Registers `device`. On the app thread. `None` if SPDK had no memory.
    pub(super) fn register(name: &str, c_name: &CStr, device: D) -> Option<Arc<Self>> {
        let core = Arc::new(Self {
            name: name.to_owned(),
            state: Mutex::new(State {
                device: Some(Arc::new(device)),
                stage: Stage::Registered,
                asked: false,
                lost: false,
                links: BTreeMap::new(),
                waiting: None,
            }),
        });
        // INVARIANT: this count is SPDK's until `gone_callback`.
        let key = Arc::into_raw(Arc::clone(&core)).cast_mut().cast::<c_void>();
        // SAFETY: an SPDK thread is current, and the key is alive until `gone_callback`. The name is copied.
        unsafe {
            spdk_sys::spdk_io_device_register(
                key,
                Some(create_callback::<D>),
                Some(destroy_callback::<D>),
                size_of::<Context<D>>() as u32,
                c_name.as_ptr(),
            );
        }
        // The only way to know (T-40). The channel stays empty.
        // SAFETY: an SPDK thread is current.
        let probe = unsafe { spdk_sys::spdk_get_io_channel(key) };
        if probe.is_null() {
            // SPDK may know the key all the same, so its count is lost; the device is not.
            core.set_gone();
            return None;
        }
        let probe = Probe(probe);
        // Later: SPDK sends a message for it. If the app is over, SPDK's thread goes with it.
        let _ = app_thread::run_later(Box::new(move || probe.put()));
        let entry: Weak<dyn Registered> = Arc::downgrade(&core) as Weak<dyn Registered>;
        lock(&REGISTERED).push_back(entry);
        Some(core)
    }

    pub(super) fn key(&self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// The device, as long as it is registered.
    pub(super) fn device(&self) -> Option<Arc<D>> {
        let state = self.state();
        (state.stage == Stage::Registered)
            .then(|| state.device.clone())
            .flatten()
    }

    /// Begins the unregistration, unless it is under way. From any thread.
    pub(super) fn unregister(self: &Arc<Self>) {
        {
            let mut state = self.state();
            if state.stage == Stage::Registered {
                state.stage = Stage::Unregistering;
            }
            if state.stage == Stage::Gone || std::mem::replace(&mut state.asked, true) {
                return;
            }
        }
        let this = Arc::clone(self);
        let job = Box::new(move || {
            // SAFETY: the key is registered: this runs once, since `asked` is set. The callback will come to this
            // thread, the app thread, which does not exit before all devices are gone.
            unsafe { spdk_sys::spdk_io_device_unregister(this.key(), Some(gone_callback::<D>)) };
        });
        // Later: SPDK sends a message for it.
        if app_thread::run_later(job).is_err() {
            // The app is over.
            self.state().asked = false;
        }
    }

    /// Has `waker` woken when the device is gone; `true` if it is.
    pub(super) fn poll_gone(&self, waker: &Waker) -> bool {
        // Cloned, and dropped, while nothing is locked: a waker is somebody's code.
        let waker = waker.clone();
        let (is_gone, unused) = {
            let mut state = self.state();
            match state.stage == Stage::Gone {
                true => (true, Some(waker)),
                false => (false, state.waiting.replace(waker)),
            }
        };
        drop(unused);
        is_gone
    }

    /// Nobody waits any more.
    pub(super) fn leave(&self) {
        let waker = self.state().waiting.take();
        drop(waker);
    }

    fn set_gone(&self) {
        let (device, waiting) = {
            let mut state = self.state();
            state.stage = Stage::Gone;
            (state.device.take(), state.waiting.take())
        };
        // First, so that what it holds is free when the waiters hear of it.
        contain("the destructor of a device", || drop(device));
        wake_all(waiting.into_iter().collect());
    }

    /// Lists a channel that was just made. On its thread.
    pub(super) fn link(&self, id: u64, home: Home, channel: *const ChannelCore<D>) {
        let link = Link {
            home,
            channel,
            visitors: VecDeque::new(),
            revoked: false,
            posted: false,
        };
        self.state().links.insert(id, link);
    }

    /// Unlists a channel that is being destroyed, and sends its visitors on. On its thread.
    pub(super) fn unlink(self: &Arc<Self>, id: u64) {
        let link = {
            let mut state = self.state();
            let link = state.links.remove(&id);
            if state.links.is_empty() {
                // An empty one would keep its memory: a KiB for each device that somebody has looked at.
                state.links = BTreeMap::new();
            }
            link
        };
        for visitor in link.into_iter().flat_map(|link| link.visitors) {
            self.forward(visitor);
        }
    }

    /// Sends `visitor` to the next channel that it has not seen; the end of the list is the end of its way. From any
    /// thread.
    pub(super) fn forward(self: &Arc<Self>, mut visitor: Box<dyn Visit<D::Channel>>) {
        if log::in_receiver() {
            // SPDK may have its list of threads locked below us.
            let delayed = Delayed(Some((Arc::clone(self), visitor)));
            let _ = app_thread::run_later(Box::new(move || delayed.go_on()));
            return;
        }
        let end = loop {
            let mut state = self.state();
            let rest = match visitor.last() {
                None => Bound::Unbounded,
                Some(id) => Bound::Excluded(id),
            };
            let Some((id, link)) = state.links.range_mut((rest, Bound::Unbounded)).next() else {
                break End::Seen;
            };
            visitor.set_last(*id);
            match self.post(*id, link) {
                Ok(()) => return link.visitors.push_back(visitor),
                Err(NotPosted::NoRoom) => break End::NoRoom,
                Err(NotPosted::ThreadGone) => {}
            }
        };
        visitor.end(&self.name, end);
    }

    /// Sends the one message that has `attend` run on the thread of `link`; the state is locked.
    ///
    /// (A call into SPDK under a lock: it puts a message into a ring and runs nobody's code, since a line that it logs is
    /// kept until the lock is free. Without the lock the thread could exit under our hands.)
    fn post(self: &Arc<Self>, id: u64, link: &mut Link<D>) -> Result<(), NotPosted> {
        // SAFETY: only looks the id up, under SPDK's lock.
        let thread = unsafe { spdk_sys::spdk_thread_get_by_id(id) };
        // By the type invariant it has not exited, unless SPDK has forced it out.
        // SAFETY: the thread was found.
        if thread.is_null() || unsafe { spdk_sys::spdk_thread_is_exited(thread) } {
            return Err(NotPosted::ThreadGone);
        }
        if link.posted {
            return Ok(());
        }
        let ctx = Box::into_raw(Box::new((Arc::clone(self), id)));
        // SAFETY: the thread has not exited. `ctx` is what the callback expects.
        let rc = unsafe {
            spdk_sys::spdk_thread_send_msg(thread, Some(attend_callback::<D>), ctx.cast())
        };
        if rc != 0 {
            // SAFETY: the message was not sent, so the pointer that `Box::into_raw` gave us is ours again.
            drop(unsafe { Box::from_raw(ctx) });
            return Err(NotPosted::NoRoom);
        }
        link.posted = true;
        Ok(())
    }

    /// Does what is to be done with the channel of thread `id`, which is current: at most one visit, so that others
    /// on the thread get their turn.
    fn attend(self: &Arc<Self>, id: u64) {
        let (here, channel, revoked, visitor, refused) = {
            let mut state = self.state();
            let Some(link) = state.links.get_mut(&id) else {
                return;
            };
            link.posted = false;
            let visitor = link.visitors.pop_front();
            let refused = match !link.visitors.is_empty() && self.post(id, link).is_err() {
                true => std::mem::take(&mut link.visitors),
                false => VecDeque::new(),
            };
            let revoked = std::mem::take(&mut link.revoked);
            (
                link.home.check().is_ok(),
                link.channel,
                revoked,
                visitor,
                refused,
            )
        };
        for visitor in refused {
            visitor.end(&self.name, End::NoRoom);
        }
        if !here {
            // The thread was moved to another OS thread, and the context need not be `Send`.
            if let Some(mut visitor) = visitor {
                visitor.pass_by();
                self.forward(visitor);
            }
            if revoked {
                crate::log::error(super::channel::MOVED);
            }
            return;
        }
        // SAFETY: the channel was listed a moment ago, so it is not destroyed: that happens on this thread.
        unsafe { Rc::increment_strong_count(channel) };
        // SAFETY: the count just added is handed to this `Rc`, on the channel's home thread.
        let channel = unsafe { Rc::from_raw(channel) };
        if revoked {
            channel.release();
        }
        if let Some(mut visitor) = visitor {
            let context = channel.context();
            let visit = || context.is_none_or(|context| visitor.visit(&context));
            match contain("a visitor of channels", visit) {
                Some(false) => visitor.end(&self.name, End::Stopped),
                Some(true) | None => self.forward(visitor),
            }
        }
    }

    fn state(&self) -> Locked<'_, D> {
        let lines = log::hold();
        Locked {
            state: lock(&self.state),
            _lines: lines,
        }
    }
}

/// The state, while nobody else has it, and no receiver of log lines runs on this OS thread.
struct Locked<'a, D: IoDevice> {
    // Let go of first.
    state: MutexGuard<'a, State<D>>,
    _lines: log::Held,
}

impl<D: IoDevice> Deref for Locked<'_, D> {
    type Target = State<D>;

    fn deref(&self) -> &State<D> {
        &self.state
    }
}

impl<D: IoDevice> DerefMut for Locked<'_, D> {
    fn deref_mut(&mut self) -> &mut State<D> {
        &mut self.state
    }
}

/// A visitor that waits in a message. If that is never run, the visit ends with it.
struct Delayed<D: IoDevice>(Option<Visitor<D>>);

type Visitor<D> = (Arc<Core<D>>, Box<dyn Visit<<D as IoDevice>::Channel>>);

impl<D: IoDevice> Delayed<D> {
    fn go_on(mut self) {
        if let Some((core, visitor)) = self.0.take() {
            core.forward(visitor);
        }
    }
}

impl<D: IoDevice> Drop for Delayed<D> {
    fn drop(&mut self) {
        if let Some((core, visitor)) = self.0.take() {
            visitor.end(&core.name, End::Over);
        }
    }
}

/// A channel of the app thread.
struct Probe(*mut spdk_sys::spdk_io_channel);

// SAFETY: it is put on the app thread, in a message to that.
unsafe impl Send for Probe {}

impl Probe {
    fn put(self) {
        // SAFETY: got once, on the app thread, which is current.
        unsafe { spdk_sys::spdk_put_io_channel(self.0) };
    }
}

/// Why there is no message.
enum NotPosted {
    /// SPDK, up to 25.09, had no room for it.
    NoRoom,
    /// SPDK has forced the thread out.
    ThreadGone,
}

impl<D: IoDevice> Registered for Core<D> {
    fn begin_unregister(self: Arc<Self>) {
        self.unregister();
    }

    fn revoke(self: Arc<Self>) {
        let mut lost = Vec::new();
        {
            let mut state = self.state();
            for (id, link) in &mut state.links {
                link.revoked = true;
                // Without room it is tried again.
                if let Err(NotPosted::ThreadGone) = self.post(*id, link) {
                    lost.push(*id);
                }
            }
            state.lost |= !lost.is_empty();
        }
        for id in lost {
            crate::log::error(&format!(
                "SPDK thread {id} was forced out with a channel of device {:?}; the device leaks",
                self.name
            ));
            self.unlink(id);
        }
    }

    fn is_gone(&self) -> bool {
        let state = self.state();
        state.stage == Stage::Gone || (state.lost && state.links.is_empty())
    }

    fn describe(&self) -> String {
        let channels = self.state().links.len();
        format!("device {:?} ({channels} channels)", self.name)
    }
}

/// # Safety
///
/// SPDK calls this once, on the thread of the channel that the message is about, with the `ctx` that `post` sent.
unsafe extern "C" fn attend_callback<D: IoDevice>(ctx: *mut c_void) {
    contain("a message to a device's channel", || {
        // SAFETY: by this function's contract.
        let message = unsafe { Box::from_raw(ctx.cast::<(Arc<Core<D>>, u64)>()) };
        let (core, id) = *message;
        core.attend(id);
    });
}

/// # Safety
///
/// SPDK calls this once, on the app thread, after the device `key` was unregistered and its last channel destroyed.
unsafe extern "C" fn gone_callback<D: IoDevice>(key: *mut c_void) {
    contain("the end of a device", || {
        // SAFETY: by this function's contract SPDK lets go of the key, and with it of the count that `register` leaked.
        let core = unsafe { Arc::from_raw(key.cast_const().cast::<Core<D>>()) };
        core.set_gone();
    });
}

/// Begins to unregister every device, the last one first, and puts what was got of their channels, on every thread.
/// On the app thread, when the app ends; again and again, until there is none.
pub(crate) fn revoke_all() {
    for device in alive().into_iter().rev() {
        Arc::clone(&device).begin_unregister();
        device.revoke();
    }
}

/// Whether a device is not gone.
pub(crate) fn any_registered() -> bool {
    // The end of the app asks again and again, and mostly the first one has the answer.
    let mut list = lock(&REGISTERED);
    let first = loop {
        match list.front().map(Weak::upgrade) {
            None => return false,
            Some(Some(first)) => break first,
            Some(None) => drop(list.pop_front()),
        }
    };
    drop(list);
    !first.is_gone() || !alive().is_empty()
}

/// Their names, for a report.
pub(crate) fn names() -> Vec<String> {
    alive().iter().map(|device| device.describe()).collect()
}

fn alive() -> Vec<Arc<dyn Registered>> {
    let mut list = lock(&REGISTERED);
    list.retain(|device| device.strong_count() != 0);
    let all: Vec<_> = list.iter().filter_map(Weak::upgrade).collect();
    drop(list);
    all.into_iter().filter(|device| !device.is_gone()).collect()
}
