//! The module that bdevs of ours belong to, and that claims are made for.
//!
//! C type: `struct spdk_bdev_module`; C function: `spdk_bdev_module_list_add` (contract M-01 to M-05).

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int};
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use super::request::context_size;

/// A bdev module; a `static`, given to the app builder with `.module(&MODULE)`.
///
/// ```
/// use spdk_safe::module::BdevModule;
/// static MODULE: BdevModule = BdevModule::new(c"my_module");
/// ```
///
/// # Invariants
///
/// `raw` is written by `add`, once, before `added` is set; from then on it belongs to SPDK for ever.
pub struct BdevModule {
    name: &'static CStr,
    raw: UnsafeCell<MaybeUninit<spdk_sys::spdk_bdev_module>>,
    adding: AtomicBool,
    added: AtomicBool,
}

// SAFETY: by the type invariant only `add` writes, one thread wins it, and others see the pointer after `added`.
unsafe impl Sync for BdevModule {}

impl BdevModule {
    /// A module named `name`, unique in the process: it shows in the JSON of bdevs and in the errors of claims.
    #[must_use]
    pub const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            raw: UnsafeCell::new(MaybeUninit::zeroed()),
            adding: AtomicBool::new(false),
            added: AtomicBool::new(false),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name.to_str().unwrap_or("(not UTF-8)")
    }

    /// Tells SPDK of the module, before it is up. Twice is once: the same struct twice in SPDK's list corrupts it.
    pub(crate) fn add(&'static self) {
        if self.adding.swap(true, Ordering::AcqRel) {
            return;
        }
        let raw = self.raw.get().cast::<spdk_sys::spdk_bdev_module>();
        {
            // SAFETY: we won `adding`, so nobody else has a pointer to the struct; it is zeroed, which is valid for
            // it, and how SPDK wants it.
            let module = unsafe { &mut *raw };
            module.name = self.name.as_ptr();
            module.module_init = Some(module_init_callback);
            module.get_ctx_size = Some(get_ctx_size_callback);
        }
        // SAFETY: SPDK is not up yet (the app builder calls this), and the struct is static.
        unsafe { spdk_sys::spdk_bdev_module_list_add(raw) };
        self.added.store(true, Ordering::Release);
    }

    /// The C struct; `None` until SPDK knows the module.
    pub(crate) fn raw(&self) -> Option<*mut spdk_sys::spdk_bdev_module> {
        self.added
            .load(Ordering::Acquire)
            .then(|| self.raw.get().cast())
    }
}

impl fmt::Debug for BdevModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BdevModule")
            .field("name", &self.name)
            .field("added", &self.added)
            .finish_non_exhaustive()
    }
}

/// # Safety
///
/// SPDK calls this while it starts. It touches nothing.
unsafe extern "C" fn module_init_callback() -> c_int {
    0
}

/// # Safety
///
/// SPDK calls this while it starts. It touches nothing.
unsafe extern "C" fn get_ctx_size_callback() -> c_int {
    context_size() as c_int
}
