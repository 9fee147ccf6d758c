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
use std::mem::size_of;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};

use super::vtable::{
    ChannelContext, Vtable, create_channel_callback, destroy_channel_callback, device_gone_callback,
};
use super::{BdevModule, BlockDevice};
use crate::app::Spdk;
use crate::error::{BdevError, Errno};
use crate::panic::{contain, wake_all};
use crate::sync::lock;
use crate::thread::app_thread;
use crate::units::Blocks;

/// Every bdev of ours that was registered and is not gone, in that order.
static REGISTERED: Mutex<Vec<Weak<Registration>>> = Mutex::new(Vec::new());

/// A bdev to be registered.
#[derive(Debug, Clone)]
#[must_use = "call `register` to register the bdev"]
pub struct BlockDeviceBuilder {
    name: String,
    product: String,
    blocks: Blocks,
    block_size: u32,
    align: usize,
    optimal_io_boundary: u32,
    write_cache: bool,
}

impl BlockDeviceBuilder {
    /// Begins a bdev named `name` with 512-byte blocks; its size must be said.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            product: "Rust bdev".into(),
            blocks: Blocks(0),
            block_size: 512,
            align: 1,
            optimal_io_boundary: 0,
            write_cache: false,
        }
    }

    /// What kind of device it is, for people.
    pub fn product(mut self, product: impl Into<String>) -> Self {
        self.product = product.into();
        self
    }

    /// Its size.
    pub fn blocks(mut self, blocks: Blocks) -> Self {
        self.blocks = blocks;
        self
    }

    /// Bytes in a logical block: a power of two from 512 to 65536.
    pub fn block_size(mut self, bytes: u32) -> Self {
        self.block_size = bytes;
        self
    }

    /// Bytes that a buffer's address must be a multiple of: a power of two up to 4096.
    pub fn align(mut self, bytes: usize) -> Self {
        self.align = bytes;
        self
    }

    /// Blocks between boundaries that an I/O better does not cross; 0 is none.
    pub fn optimal_io_boundary(mut self, blocks: u32) -> Self {
        self.optimal_io_boundary = blocks;
        self
    }

    /// Whether it has a volatile write cache, so that clients must flush.
    pub fn write_cache(mut self, write_cache: bool) -> Self {
        self.write_cache = write_cache;
        self
    }

    /// Registers `device` as this bdev of `module` (`spdk_bdev_register`).
    ///
    /// # Errors
    ///
    /// [`BdevError`]; the device is dropped then.
    pub fn register<D: BlockDevice>(
        self,
        spdk: &Spdk,
        module: &'static BdevModule,
        device: D,
    ) -> Result<RegisteredBdev, BdevError> {
        spdk.check()?;
        let (c_name, c_product) = self.check()?;
        let Some(module_raw) = module.raw() else {
            return Err(BdevError::ModuleNotAdded {
                module: module.name().into(),
            });
        };
        // SAFETY: this is the app thread; the name lives across the call.
        if !unsafe { spdk_sys::spdk_bdev_get_by_name(c_name.as_ptr()) }.is_null() {
            return Err(BdevError::Exists { name: self.name });
        }
        let registration = Arc::new(Registration {
            name: self.name.clone(),
            state: Mutex::new(State::default()),
            unregistering: AtomicBool::new(false),
        });
        let node = Box::new(Node {
            device,
            bdev: ptr::null_mut(),
            is_bdev: true,
            block_size: self.block_size,
            align: self.align,
            name: c_name,
            product: c_product,
            registration: Arc::clone(&registration),
        });
        // The heap's addresses: they stay when the node becomes a raw pointer.
        let (name, product) = (node.name.as_ptr(), node.product.as_ptr());
        // The one pointer that everything below uses, and SPDK until `device_gone_callback`.
        let node = Box::into_raw(node);
        let desc = spdk_sys::spdk_shim_bdev_desc {
            name: name.cast_mut(),
            product_name: product.cast_mut(),
            ctxt: node.cast(),
            module: module_raw,
            fn_table: Vtable::<D>::TABLE,
            num_blocks: self.blocks.0,
            block_size: self.block_size,
            optimal_io_boundary: self.optimal_io_boundary,
            required_alignment_log2: self.align.trailing_zeros() as u8,
            write_cache: self.write_cache,
        };
        // SAFETY: the strings live in the node, which outlives the bdev; the table is static.
        let bdev = unsafe { spdk_sys::spdk_shim_bdev_alloc(&raw const desc) };
        if bdev.is_null() {
            // SAFETY: nobody else has the node.
            drop(unsafe { Box::from_raw(node) });
            return Err(BdevError::NoMemory { name: self.name });
        }
        // SAFETY: nobody else has the node yet.
        unsafe { (*node).bdev = bdev };
        // SAFETY: the app thread is current. The key, the node, lives until `device_gone_callback`.
        unsafe {
            spdk_sys::spdk_io_device_register(
                node.cast(),
                Some(create_channel_callback::<D>),
                Some(destroy_channel_callback::<D>),
                size_of::<ChannelContext<D>>() as u32,
                name,
            );
        }
        registration.state().bdev = NonNull::new(bdev);
        lock(&REGISTERED).push(Arc::downgrade(&registration));
        // SAFETY: the bdev was zeroed and filled in, on the app thread (M-20).
        let rc = unsafe { spdk_sys::spdk_bdev_register(bdev) };
        if let Err(errno) = Errno::check(rc) {
            registration.unregistering.store(true, Ordering::Release);
            // SAFETY: SPDK refused the bdev, so only the io_device knows the node, and nobody reads this field now.
            unsafe { (*node).is_bdev = false };
            // SAFETY: the key is registered; its callback frees the node once no channel is left.
            unsafe {
                spdk_sys::spdk_io_device_unregister(node.cast(), Some(device_gone_callback::<D>))
            };
            return Err(BdevError::Refused {
                name: self.name,
                errno,
            });
        }
        Ok(RegisteredBdev { registration })
    }

    fn check(&self) -> Result<(CString, CString), BdevError> {
        let c_name = match CString::new(self.name.as_str()) {
            Ok(name) if !self.name.is_empty() => name,
            _ => {
                return Err(BdevError::Name {
                    name: self.name.clone(),
                });
            }
        };
        let geometry = |what, got, allowed| {
            Err(BdevError::Geometry {
                name: self.name.clone(),
                what,
                got,
                allowed,
            })
        };
        // SPDK emulates WRITE_ZEROES from a buffer of 1 MiB, and overruns it with larger blocks.
        if !(512..=65_536).contains(&self.block_size) || !self.block_size.is_power_of_two() {
            return geometry(
                "the block size",
                self.block_size.into(),
                "a power of two from 512 to 65536",
            );
        }
        if self.blocks == Blocks(0) || self.blocks.bytes(self.block_size).is_none() {
            return geometry(
                "the number of blocks",
                self.blocks.0,
                "at least 1, and below 2^64 bytes in all",
            );
        }
        if !self.align.is_power_of_two() || self.align > 4096 {
            return geometry(
                "the alignment",
                self.align as u64,
                "a power of two up to 4096",
            );
        }
        let product = CString::new(self.product.replace('\0', "")).unwrap_or_default();
        Ok((c_name, product))
    }
}

/// A registered bdev of ours. Dropping it unregisters it, without waiting.
#[derive(Debug)]
#[must_use = "dropping it unregisters the bdev"]
pub struct RegisteredBdev {
    registration: Arc<Registration>,
}

impl RegisteredBdev {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.registration.name
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
        let mut state = self.registration.state();
        if state.is_gone {
            return Poll::Ready(());
        }
        if !state
            .waiting
            .iter()
            .any(|waker| waker.will_wake(cx.waker()))
        {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// What the handles and the device know of a registration.
struct Registration {
    name: String,
    state: Mutex<State>,
    unregistering: AtomicBool,
}

#[derive(Default)]
struct State {
    /// The bdev until it is freed.
    bdev: Option<NonNull<spdk_sys::spdk_bdev>>,
    waiting: Vec<Waker>,
    is_gone: bool,
}

// SAFETY: the pointer is followed on the app thread alone; the rest is a mutex and an atomic.
unsafe impl Send for Registration {}
// SAFETY: as for `Send`.
unsafe impl Sync for Registration {}

impl Registration {
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
        if super::spdk_unregisters() {
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
    align: usize,
    /// The bdev points to them.
    name: CString,
    product: CString,
    registration: Arc<Registration>,
}

impl<D: BlockDevice> Node<D> {
    pub(super) fn device(&self) -> &D {
        &self.device
    }

    pub(super) fn bdev(&self) -> *mut spdk_sys::spdk_bdev {
        self.bdev
    }

    pub(super) fn block_size(&self) -> u32 {
        self.block_size
    }

    pub(super) fn align(&self) -> usize {
        self.align
    }

    pub(super) fn name(&self) -> &CStr {
        &self.name
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
