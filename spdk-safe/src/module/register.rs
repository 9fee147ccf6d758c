//! Registration: from a [`BlockDevice`] to a bdev that everybody can open, and back.
//!
//! ```text
//!             1                   2                          3
//!  (built) ───────► Registered ───────► Unregistering ───────────────► Gone
//!                       │    descriptors of others close,      ▲
//!                       │    channels are put                  │
//!                       └──── SPDK ends, or an RPC deletes ────┘
//!  1: BlockDeviceBuilder::register   2: RegisteredBdev::unregister, or drop   3: destruct, device_gone_callback
//! ```

use std::ffi::{CStr, CString};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};

use super::bdev_module::{Boxed, spawn_destruct};
use super::quiesce::QuiesceCore;
use super::{BdevModule, BlockDevice, ConfigEntry};
use crate::error::{BdevError, Errno};
use crate::panic::{contain, wake_all};
use crate::sync::lock;
use crate::thread::app_thread;
use crate::units::Blocks;

/// Every bdev of ours that was registered and is not gone, in that order.
static REGISTERED: Mutex<Vec<Weak<Registration>>> = Mutex::new(Vec::new());

/// A registered bdev of ours. Dropping it unregisters it, without waiting.
#[derive(Debug)]
#[must_use = "dropping it unregisters the bdev"]
pub struct RegisteredBdev {
    registration: Arc<Registration>,
}

impl RegisteredBdev {
    pub(super) fn new(registration: Arc<Registration>) -> Self {
        Self { registration }
    }

    pub(super) fn registration(&self) -> &Arc<Registration> {
        &self.registration
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.registration.name
    }

    /// Says anew what recreates it, for a saved configuration. From any thread.
    pub fn set_config(&self, entries: Vec<ConfigEntry>) {
        let old = std::mem::replace(&mut *lock(&self.registration.config), entries);
        drop(old);
    }

    /// Changes its size (`spdk_bdev_notify_blockcnt_change`; contract B-10). Everybody who has it open is told. I/O that
    /// is in flight is not looked at again. On the app thread.
    ///
    /// # Errors
    ///
    /// [`BdevError::InUse`] if it is to shrink and somebody has it open; [`BdevError::Quiesced`] if a range past its new
    /// end is [quiesced](Self::quiesce); [`BdevError::Geometry`]; [`BdevError::NotFound`] if it is gone already.
    pub fn resize(&self, blocks: Blocks) -> Result<(), BdevError> {
        app_thread::check()?;
        let name = || self.registration.name.clone();
        let Some(bdev) = self.registration.bdev() else {
            return Err(BdevError::NotFound { name: name() });
        };
        // SAFETY: the bdev is there, on the app thread.
        let block_size = unsafe { spdk_sys::spdk_bdev_get_block_size(bdev.as_ptr()) };
        if blocks == Blocks(0) || blocks.bytes(block_size).is_none() {
            return Err(BdevError::Geometry {
                name: name(),
                what: "the number of blocks",
                got: blocks.0,
                allowed: "at least 1, and below 2^64 bytes in all",
            });
        }
        // SPDK would not unquiesce it any more.
        if self.registration.is_quiesced_past(blocks) {
            return Err(BdevError::Quiesced { name: name() });
        }
        let _lines = crate::log::hold();
        // SAFETY: as above. Events to descriptors come by message.
        let rc = unsafe { spdk_sys::spdk_bdev_notify_blockcnt_change(bdev.as_ptr(), blocks.0) };
        Errno::check(rc).map_err(|errno| match errno.code() {
            libc::EBUSY => BdevError::InUse { name: name() },
            _ => BdevError::Refused {
                name: name(),
                errno,
            },
        })
    }

    /// Unregisters the bdev, and waits until it is gone: everybody who has it open is told, and must close it first.
    /// The device is dropped then.
    pub fn unregister(self) -> UnregisterBdev {
        let registration = Arc::clone(&self.registration);
        registration.begin();
        UnregisterBdev { registration }
    }
}

impl Drop for RegisteredBdev {
    fn drop(&mut self) {
        self.registration.begin();
    }
}

/// Done when a bdev is gone; see [`RegisteredBdev::unregister`].
#[derive(Debug)]
#[must_use = "await it to know when the bdev is gone"]
pub struct UnregisterBdev {
    registration: Arc<Registration>,
}

impl Future for UnregisterBdev {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Cloned, and dropped, while nothing is locked: a waker is somebody's code.
        let waker = cx.waker().clone();
        let mut state = self.registration.state();
        let is_gone = state.is_gone;
        let is_new = !state.waiting.iter().any(|have| have.will_wake(&waker));
        let unused = match !is_gone && is_new {
            true => {
                state.waiting.push(waker);
                None
            }
            false => Some(waker),
        };
        drop(state);
        drop(unused);
        match is_gone {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// What the handles and the device know of a registration.
pub(super) struct Registration {
    name: String,
    of: &'static BdevModule,
    pub(super) module: *mut spdk_sys::spdk_bdev_module,
    state: Mutex<State>,
    unregistering: AtomicBool,
    /// Read while SPDK holds a lock: nothing is called while it is locked.
    config: Mutex<Vec<ConfigEntry>>,
    /// Ranges that are quiesced, or to be: the bdev can't go before they are let go of (M-24).
    pub(super) quiesces: Mutex<Vec<Weak<QuiesceCore>>>,
}

#[derive(Default)]
struct State {
    /// The bdev until it is freed.
    bdev: Option<NonNull<spdk_sys::spdk_bdev>>,
    waiting: Vec<Waker>,
    is_gone: bool,
}

// SAFETY: the pointers are followed on the app thread alone; the rest is mutexes and an atomic.
unsafe impl Send for Registration {}
// SAFETY: as for `Send`.
unsafe impl Sync for Registration {}

impl Registration {
    pub(super) fn new(
        name: &str,
        of: &'static BdevModule,
        module: *mut spdk_sys::spdk_bdev_module,
        config: Vec<ConfigEntry>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            of,
            module,
            state: Mutex::new(State::default()),
            unregistering: AtomicBool::new(false),
            config: Mutex::new(config),
            quiesces: Mutex::new(Vec::new()),
        })
    }

    /// SPDK is about to know the bdev.
    pub(super) fn list(self: &Arc<Self>, bdev: Option<NonNull<spdk_sys::spdk_bdev>>) {
        self.state().bdev = bdev;
        lock(&REGISTERED).push(Arc::downgrade(self));
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn set_unregistering(&self) {
        self.unregistering.store(true, Ordering::Release);
    }

    pub(super) fn is_unregistering(&self) -> bool {
        self.unregistering.load(Ordering::Acquire)
    }

    /// The bdev, until it is freed. To be used on the app thread.
    pub(super) fn bdev(&self) -> Option<NonNull<spdk_sys::spdk_bdev>> {
        self.state().bdev
    }

    /// What recreates it.
    pub(super) fn config(&self) -> Vec<ConfigEntry> {
        lock(&self.config).clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Begins the unregistration, unless it is under way. From any thread.
    fn begin(self: &Arc<Self>) {
        if self.unregistering.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = Arc::clone(self);
        if app_thread::run(Box::new(move || this.unregister())).is_err() {
            // The app is over, and SPDK unregisters the bdev itself; or its ring is full, and the end of the app tries
            // again.
            self.unregistering.store(false, Ordering::Release);
        }
    }

    /// On the app thread.
    fn unregister(&self) {
        self.release_quiesces();
        self.unregister_if_unlocked();
    }

    /// As soon as SPDK has no range of it; called again when one has gone. On the app thread.
    pub(super) fn unregister_if_unlocked(&self) {
        if self.has_ranges() || super::spdk_unregisters() {
            return;
        }
        // Locked across the call: up to 22.05 the bdev may be freed on another thread. The call runs none of our code
        // (no callback is given, and the end of the io_device comes by message).
        let state = self.state();
        if let Some(bdev) = state.bdev {
            // SAFETY: the bdev is not freed: `freeing` waits for the lock. If SPDK is at it already this does nothing
            // (M-24); either way `device_gone_callback` follows.
            unsafe { spdk_sys::spdk_bdev_unregister(bdev.as_ptr(), None, ptr::null_mut()) };
        }
    }

    /// The bdev is about to be freed.
    fn freeing(&self) {
        self.state().bdev = None;
    }

    /// The bdev is gone.
    fn gone(&self) {
        let waiting = {
            let mut state = self.state();
            state.bdev = None;
            state.is_gone = true;
            std::mem::take(&mut state.waiting)
        };
        wake_all(waiting);
    }
}

/// A device with its bdev; SPDK's `ctxt`, and the key of the io_device.
pub(super) struct Node<D> {
    device: D,
    bdev: *mut spdk_sys::spdk_bdev,
    /// False if SPDK refused to register it.
    is_bdev: bool,
    block_size: u32,
    /// Bytes for each block in a buffer of its own; 0 is none.
    metadata_size: u32,
    align: usize,
    /// The bdev points to them.
    name: CString,
    product: CString,
    registration: Arc<Registration>,
}

impl<D: BlockDevice> Node<D> {
    pub(super) fn new(
        device: D,
        (block_size, metadata_size): (u32, u32),
        align: usize,
        (name, product): (CString, CString),
        registration: &Arc<Registration>,
    ) -> Self {
        Self {
            device,
            bdev: ptr::null_mut(),
            is_bdev: true,
            block_size,
            metadata_size,
            align,
            name,
            product,
            registration: Arc::clone(registration),
        }
    }

    pub(super) fn set_bdev(&mut self, bdev: *mut spdk_sys::spdk_bdev) {
        self.bdev = bdev;
    }

    /// SPDK did not take it.
    pub(super) fn refused(&mut self) {
        self.is_bdev = false;
    }

    pub(super) fn product(&self) -> &CStr {
        &self.product
    }

    pub(super) fn config(&self) -> Vec<ConfigEntry> {
        self.registration.config()
    }

    pub(super) fn registration(&self) -> &Registration {
        &self.registration
    }

    pub(super) fn device(&self) -> &D {
        &self.device
    }

    pub(super) fn bdev(&self) -> *mut spdk_sys::spdk_bdev {
        self.bdev
    }

    pub(super) fn block_size(&self) -> u32 {
        self.block_size
    }

    /// Bytes of a block, and of its metadata in a buffer of its own.
    pub(super) fn block_sizes(&self) -> (u32, u32) {
        (self.block_size, self.metadata_size)
    }

    pub(super) fn align(&self) -> usize {
        self.align
    }

    pub(super) fn name(&self) -> &CStr {
        &self.name
    }

    /// SPDK is done with the device, which may take its time to end. Nobody else has the node.
    pub(super) fn end(node: Box<Self>) {
        let is_bdev = node.is_bdev;
        let ending = Ending(Some(node));
        match app_thread::check() {
            Ok(()) if is_bdev => ending.begin(),
            // Up to 22.05 this may be the thread that closed the last descriptor. If the app is over, the job is dropped,
            // and with it the device.
            Err(_) if is_bdev => {
                let _ = app_thread::run_later(Box::new(move || ending.begin()));
            }
            _ => drop(ending),
        }
    }

    /// The end: drops the device, tells SPDK and whoever waits. Nobody else has the node.
    pub(super) fn destroy(self) {
        let Self {
            device,
            bdev,
            is_bdev,
            name,
            product,
            registration,
            ..
        } = self;
        // First, so that what it holds below is free when the waiters hear of it.
        contain("the destructor of a block device", || drop(device));
        registration.freeing();
        if is_bdev {
            // SAFETY: `destruct_callback` announced this call. It may call back whoever unregistered the bdev, and
            // reads the struct, which is freed only after it (M-25).
            unsafe { spdk_sys::spdk_bdev_destruct_done(bdev, 0) };
        }
        // SAFETY: SPDK has let go of the bdev.
        unsafe { spdk_sys::spdk_shim_bdev_free(bdev) };
        drop((name, product));
        registration.gone();
    }
}

/// A device that is about to be dropped, and its bdev with it.
struct Ending<D: BlockDevice>(Option<Box<Node<D>>>);

// SAFETY: nobody else has the node; the device itself may travel, and its bdev is freed on any thread.
unsafe impl<D: BlockDevice> Send for Ending<D> {}

impl<D: BlockDevice> Ending<D> {
    /// On the app thread.
    fn begin(self) {
        let Some(node) = &self.0 else {
            return;
        };
        let module = node.registration.of.name();
        let mut future: Boxed<()> = Box::pin(async move {
            if let Some(node) = &self.0 {
                node.device.destruct().await;
            }
            // Here, or when the future is dropped after a panic.
            drop(self);
        });
        let polled = contain("BlockDevice::destruct", || {
            future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
        });
        match polled {
            Some(Poll::Pending) => spawn_destruct(module, future),
            _ => drop(future),
        }
    }
}

impl<D: BlockDevice> Drop for Ending<D> {
    fn drop(&mut self) {
        if let Some(node) = self.0.take() {
            Node::destroy(*node);
        }
    }
}

/// Begins to unregister every bdev of ours, the last one first. On the app thread, when the app ends.
pub(crate) fn unregister_all() {
    for registration in alive().iter().rev() {
        registration.begin();
    }
}

/// How many bdevs of ours are not gone.
pub(crate) fn registered() -> usize {
    alive().len()
}

/// Their names, for a report.
pub(crate) fn names() -> Vec<String> {
    alive()
        .iter()
        .map(|registration| format!("bdev {:?}", registration.name))
        .collect()
}

fn alive() -> Vec<Arc<Registration>> {
    let mut list = lock(&REGISTERED);
    list.retain(|registration| registration.strong_count() != 0);
    let all: Vec<_> = list.iter().filter_map(Weak::upgrade).collect();
    drop(list);
    all.into_iter()
        .filter(|registration| !registration.state().is_gone)
        .collect()
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("name", &self.name)
            .field("unregistering", &self.unregistering)
            .finish_non_exhaustive()
    }
}
