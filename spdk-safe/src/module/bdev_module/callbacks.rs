//! SPDK's calls to a module. They do not say for which module they are, so each module has functions of its own: those of
//! a slot.

use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::{BdevModule, config, context_bytes, examine, lifecycle};
use crate::panic::contain;

/// The functions of one slot.
#[derive(Clone, Copy)]
pub(super) struct Callbacks {
    pub(super) init: unsafe extern "C" fn() -> c_int,
    pub(super) fini_start: unsafe extern "C" fn(),
    pub(super) fini: unsafe extern "C" fn(),
    pub(super) config_json: unsafe extern "C" fn(*mut spdk_sys::spdk_json_write_ctx) -> c_int,
    pub(super) examine_config: unsafe extern "C" fn(*mut spdk_sys::spdk_bdev),
    pub(super) examine_disk: unsafe extern "C" fn(*mut spdk_sys::spdk_bdev),
}

impl Callbacks {
    const fn of<const SLOT: usize>() -> Self {
        Self {
            init: module_init_callback::<SLOT>,
            fini_start: fini_start_callback::<SLOT>,
            fini: module_fini_callback::<SLOT>,
            config_json: config_json_callback::<SLOT>,
            examine_config: examine_config_callback::<SLOT>,
            examine_disk: examine_disk_callback::<SLOT>,
        }
    }
}

macro_rules! slots {
    ($($slot:literal)*) => { [$(Callbacks::of::<$slot>()),*] };
}

static CALLBACKS: [Callbacks; 64] = slots!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
    32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
);

/// Whose the slots are. Null, or a static.
static MODULES: [AtomicPtr<BdevModule>; 64] = [const { AtomicPtr::new(ptr::null_mut()) }; 64];
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Takes a slot for `module`, for ever. `None` when there is none left.
pub(super) fn take(module: &'static BdevModule) -> Option<Callbacks> {
    let slot = TAKEN.fetch_add(1, Ordering::AcqRel);
    let callbacks = CALLBACKS.get(slot)?;
    MODULES[slot].store(ptr::from_ref(module).cast_mut(), Ordering::Release);
    Some(*callbacks)
}

fn module(slot: usize) -> Option<&'static BdevModule> {
    let module = MODULES[slot].load(Ordering::Acquire);
    // SAFETY: null, or what `take` was given: a static.
    unsafe { module.as_ref() }
}

/// # Safety
///
/// SPDK calls this while it starts, on the app thread.
unsafe extern "C" fn module_init_callback<const SLOT: usize>() -> c_int {
    let rc = module(SLOT).and_then(|module| {
        // SAFETY: by this function's contract.
        contain("the init of a module", || unsafe {
            lifecycle::init(module)
        })
    });
    rc.unwrap_or(-libc::EIO)
}

/// # Safety
///
/// SPDK calls this when it begins to end, on the app thread.
unsafe extern "C" fn fini_start_callback<const SLOT: usize>() {
    if let Some(module) = module(SLOT) {
        contain("the end of a module", || lifecycle::fini_start(module));
    }
}

/// # Safety
///
/// SPDK calls this when it ends, on the app thread.
unsafe extern "C" fn module_fini_callback<const SLOT: usize>() {
    if let Some(module) = module(SLOT) {
        contain("the end of a module", || lifecycle::fini(module));
    }
}

/// # Safety
///
/// SPDK calls this with a writer that is inside of an array.
unsafe extern "C" fn config_json_callback<const SLOT: usize>(
    w: *mut spdk_sys::spdk_json_write_ctx,
) -> c_int {
    let written = module(SLOT).and_then(|module| {
        // SAFETY: by this function's contract.
        contain("the configuration of a module", || unsafe {
            config::write(module, w)
        })
    });
    written.unwrap_or(-libc::EIO)
}

/// # Safety
///
/// SPDK calls this while it registers `bdev`, which stays until this returns.
unsafe extern "C" fn examine_config_callback<const SLOT: usize>(bdev: *mut spdk_sys::spdk_bdev) {
    if let Some(module) = module(SLOT) {
        // SAFETY: by this function's contract.
        unsafe { examine::config(module, bdev) };
    }
}

/// # Safety
///
/// SPDK calls this while it registers `bdev`, which stays until this returns.
unsafe extern "C" fn examine_disk_callback<const SLOT: usize>(bdev: *mut spdk_sys::spdk_bdev) {
    if let Some(module) = module(SLOT) {
        // SAFETY: by this function's contract.
        unsafe { examine::disk(module, bdev) };
    }
}

/// # Safety
///
/// SPDK calls this while it starts. It touches nothing.
pub(super) unsafe extern "C" fn get_ctx_size_callback() -> c_int {
    context_bytes() as c_int
}
