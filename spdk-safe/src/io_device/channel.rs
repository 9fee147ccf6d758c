//! The channel of one SPDK thread to a device, and the context behind it.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::IoDevice;
use super::core::Core;
use crate::error::DeviceChannelError;
use crate::inside;
use crate::panic::contain;
use crate::thread::registry::{self, Held};
use crate::thread::{Bound, Home};

/// Said when SPDK's scheduler has moved a thread that has a channel (design rule 2).
pub(super) const MOVED: &str =
    "an SPDK thread with a device's channel was moved to another OS thread; its context leaks";

/// The current SPDK thread's channel to a device (`struct spdk_io_channel`).
///
/// All that were got on one thread lead to the same context, as in SPDK. Dropping one puts it; when none is left, SPDK
/// destroys the channel in a later poll, and drops the context, unless it was got again before (contract T-42). It may
/// be dropped anywhere: elsewhere than on its SPDK thread it travels home.
#[must_use = "dropping a channel puts it back"]
pub struct DeviceChannel<D: IoDevice> {
    core: Bound<Rc<ChannelCore<D>>>,
    /// Of `core` when this was got: if that has a later one, this was put already.
    epoch: u64,
}

impl<D: IoDevice> DeviceChannel<D> {
    pub(super) fn get(device: &Arc<Core<D>>) -> Result<Self, DeviceChannelError> {
        let home = Home::current()?;
        let name = || device.name.clone();
        let Some(inner) = device.device() else {
            return Err(DeviceChannelError::Unregistered { device: name() });
        };
        // SAFETY: any SPDK thread may ask; an unknown key is an answer too.
        let raw = unsafe { spdk_sys::spdk_get_io_channel(device.key()) };
        if raw.is_null() {
            return Err(match device.device() {
                Some(_) => DeviceChannelError::Refused { device: name() },
                // Meanwhile, by another thread.
                None => DeviceChannelError::Unregistered { device: name() },
            });
        }
        // SAFETY: the channel was just got, and is put below or by the handle.
        let got = unsafe { ChannelCore::of(raw, home, device, inner) };
        let core = got.inspect_err(|_| {
            // SAFETY: got on this thread a moment ago, and nobody else puts it.
            unsafe { spdk_sys::spdk_put_io_channel(raw) };
        })?;
        core.gets.set(core.gets.get() + 1);
        Ok(Self {
            epoch: core.epoch.get(),
            core: Bound::new(core),
        })
    }

    /// The context of the channel (`spdk_io_channel_get_ctx`). Who keeps it keeps the context alive, also when the
    /// channel is gone.
    ///
    /// # Errors
    ///
    /// [`DeviceChannelError::Thread`] where the channel's thread is not current, and
    /// [`DeviceChannelError::Released`] when that has let go of its channels, since it ends.
    pub fn context(&self) -> Result<Rc<D::Channel>, DeviceChannelError> {
        self.core.home.check()?;
        let context = if self.is_live() {
            self.core.context()
        } else {
            None
        };
        context.ok_or_else(|| DeviceChannelError::Released {
            device: self.core.shared.name.clone(),
        })
    }

    fn is_live(&self) -> bool {
        self.epoch == self.core.epoch.get()
    }
}

impl<D: IoDevice> Drop for DeviceChannel<D> {
    fn drop(&mut self) {
        if !self.is_live() {
            return;
        }
        let core = &self.core;
        core.gets.set(core.gets.get() - 1);
        let raw = core.raw;
        // Never at once: SPDK sends a message for each last put, and the next get may come before. One job takes all
        // home.
        if core.away.fetch_add(1, Ordering::AcqRel) != 0 {
            return;
        }
        let away = Arc::clone(&core.away);
        let put = move || {
            for _ in 0..away.swap(0, Ordering::AcqRel) {
                // SAFETY: got once for each handle that was counted; on its SPDK thread.
                unsafe { spdk_sys::spdk_put_io_channel(raw) };
            }
        };
        // SAFETY: the channel is not put, so its thread has not exited (T-09). The closure has the raw channel, which
        // belongs to the SPDK thread, and a count that may travel.
        unsafe { core.home.run_later(Box::new(put)) };
    }
}

/// What SPDK keeps behind each channel. It is touched on the channel's SPDK thread only.
pub(super) struct Context<D: IoDevice> {
    /// From `create_channel` on.
    made: Cell<Option<Made<D>>>,
    /// `create_channel` is running.
    making: Cell<bool>,
}

struct Made<D: IoDevice> {
    /// With a strong count of the context's. Only followed on `home`.
    core: *const ChannelCore<D>,
    home: Home,
    /// Of the thread.
    id: u64,
}

impl<D: IoDevice> Clone for Made<D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: IoDevice> Copy for Made<D> {}

/// A channel that was made.
///
/// # Invariants
///
/// - `gets` is how often SPDK's channel `raw` was got by handles of this `epoch` that are alive, on thread `home`; while
///   it is not 0, `raw` is a channel of `home`, whose context has a strong count of this core.
/// - `away` is how often `raw` was got by handles that were dropped, and is not put.
pub(super) struct ChannelCore<D: IoDevice> {
    /// Until SPDK destroys the channel.
    context: RefCell<Option<Rc<D::Channel>>>,
    shared: Arc<Core<D>>,
    raw: *mut spdk_sys::spdk_io_channel,
    home: Home,
    gets: Cell<usize>,
    epoch: Cell<u64>,
    away: Arc<AtomicUsize>,
}

impl<D: IoDevice> ChannelCore<D> {
    /// The core behind `raw`; made now, if that is empty.
    ///
    /// # Safety
    ///
    /// `raw` is a channel of `shared`, got and not put on `home`, which is current.
    unsafe fn of(
        raw: *mut spdk_sys::spdk_io_channel,
        home: Home,
        shared: &Arc<Core<D>>,
        device: Arc<D>,
    ) -> Result<Rc<Self>, DeviceChannelError> {
        // SAFETY: by this function's contract.
        let context = unsafe { spdk_sys::spdk_shim_channel_ctx(raw) };
        // SAFETY: `create_callback` wrote it, and the channel is not destroyed before it was put.
        let context = unsafe { &*context.cast::<Context<D>>() };
        let name = || shared.name.clone();
        if let Some(made) = context.made.get() {
            if made.home != home {
                return Err(DeviceChannelError::Moved { device: name() });
            }
            // SAFETY: the context has a count, and this is the core's thread.
            unsafe { Rc::increment_strong_count(made.core) };
            // SAFETY: the count just added is handed to this `Rc`.
            return Ok(unsafe { Rc::from_raw(made.core) });
        }
        if context.making.replace(true) {
            return Err(DeviceChannelError::Cycle { device: name() });
        }
        let created = {
            let _inside = inside::enter();
            contain("IoDevice::create_channel", || device.create_channel())
        };
        context.making.set(false);
        let created = match created {
            Some(Ok(created)) => created,
            Some(Err(error)) => {
                return Err(DeviceChannelError::Create {
                    device: name(),
                    error,
                });
            }
            None => return Err(DeviceChannelError::Panicked { device: name() }),
        };
        // SAFETY: by this function's contract.
        let thread = unsafe { spdk_sys::spdk_io_channel_get_thread(raw) };
        // SAFETY: the thread is current, so it exists.
        let id = unsafe { spdk_sys::spdk_thread_get_id(thread) };
        // INVARIANT: nothing was got by handles yet.
        let core = Rc::new(Self {
            context: RefCell::new(Some(Rc::new(created))),
            shared: Arc::clone(shared),
            raw,
            home,
            gets: Cell::new(0),
            epoch: Cell::new(0),
            away: Arc::default(),
        });
        context.made.set(Some(Made {
            core: Rc::into_raw(Rc::clone(&core)),
            home,
            id,
        }));
        shared.link(id, home, Rc::as_ptr(&core));
        registry::add(&core);
        Ok(core)
    }

    /// The context, until the channel is destroyed.
    pub(super) fn context(&self) -> Option<Rc<D::Channel>> {
        self.context.borrow().clone()
    }
}

impl<D: IoDevice> Held for ChannelCore<D> {
    fn home(&self) -> Home {
        self.home
    }

    /// Puts what handles have; they are inert from now on.
    fn release(&self) {
        self.epoch.set(self.epoch.get() + 1);
        for _ in 0..self.gets.replace(0) {
            // SAFETY: got once for each handle that was counted; on its thread.
            unsafe { spdk_sys::spdk_put_io_channel(self.raw) };
        }
    }

    /// Until SPDK has destroyed it, which is later than the last put.
    fn is_held(&self) -> bool {
        self.context.borrow().is_some()
    }

    fn what(&self) -> String {
        format!("channel of device {:?}", self.shared.name)
    }
}

/// # Safety
///
/// SPDK calls this on the thread of the new channel; `ctx` has room for a [`Context`].
pub(super) unsafe extern "C" fn create_callback<D: IoDevice>(
    _key: *mut c_void,
    ctx: *mut c_void,
) -> c_int {
    const {
        assert!(
            align_of::<Context<D>>() <= 8,
            "SPDK, up to 20.07, aligns a channel's context to 8 bytes"
        );
    }
    let empty = Context::<D> {
        made: Cell::new(None),
        making: Cell::new(false),
    };
    // SAFETY: SPDK allocated as many bytes as the device was registered with, aligned to 8.
    unsafe { ctx.cast::<Context<D>>().write(empty) };
    0
}

/// # Safety
///
/// SPDK calls this once for each channel that was created, on its thread, when nobody has it; `ctx` is its [`Context`],
/// and `key` the [`Core`].
pub(super) unsafe extern "C" fn destroy_callback<D: IoDevice>(key: *mut c_void, ctx: *mut c_void) {
    let _inside = inside::enter();
    contain("the destructor of a device's channel", || {
        // SAFETY: `create_callback` wrote it, and nobody will use it again.
        let context = unsafe { ctx.cast::<Context<D>>().read() };
        let Some(made) = context.made.get() else {
            return;
        };
        // SAFETY: SPDK has a count of the key, which outlives the device's channels.
        unsafe { Arc::increment_strong_count(key.cast_const().cast::<Core<D>>()) };
        // SAFETY: the count just added is handed to this `Arc`.
        let shared = unsafe { Arc::from_raw(key.cast_const().cast::<Core<D>>()) };
        shared.unlink(made.id);
        if made.home.check().is_err() {
            return crate::log::error(MOVED);
        }
        // SAFETY: the pointer is from `Rc::into_raw`, and this is its thread.
        let core = unsafe { Rc::from_raw(made.core) };
        // Handles that were forgotten, or are where nobody drops them, don't keep it.
        let context = core.context.take();
        drop(context);
    });
}

impl<D: IoDevice> fmt::Debug for DeviceChannel<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceChannel")
            .field("device", &self.core.shared.name)
            .field("home", &self.core.home)
            .field("live", &self.is_live())
            .finish_non_exhaustive()
    }
}
