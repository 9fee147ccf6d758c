//! The module that bdevs of ours belong to, and that claims are made for.
//!
//! C type: `struct spdk_bdev_module`; C function: `spdk_bdev_module_list_add` (contract M-01 to M-12).
//!
//! ```text
//!         1           2             3                  4                          5
//!  (new) ───► Listed ───► Starting ───► Up ──────────────► Stopped ──────────────► Down
//!                              │          examine, config     bdevs are unregistered  ▲
//!                              └──────────────────────────────────────────────────────┘
//!                                 its init failed, or SPDK ends before it is done
//!  1: `add`, before SPDK starts   2: lifecycle::init   3: its future   4: lifecycle::fini_start   5: lifecycle::fini
//! ```
//!
//! | file | |
//! | --- | --- |
//! | `behaviour` | the traits [`Module`] and [`Examine`] |
//! | `callbacks` | SPDK's calls, which do not say for which module they are |
//! | `lifecycle` | from SPDK's start to its end, also when a C program runs it |
//! | `driver` | polls the futures of both, and nothing else |
//! | `examine`, `config` | what their names say |
//! | `link` | registration before `main` of somebody else's program |

mod behaviour;
mod callbacks;
mod config;
mod driver;
mod examine;
mod lifecycle;
mod link;

use std::cell::UnsafeCell;
use std::ffi::CStr;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

pub(super) use behaviour::Boxed;
pub use behaviour::{Examine, Module, ModuleResult};
pub use config::ConfigEntry;
pub(super) use config::write_entries;
#[doc(hidden)]
pub use link::__link;

pub(crate) use lifecycle::{
    Failure, begin_fini_start, busy_names, cancel_examines, has_failed, has_modules,
    interrupt_start, is_in_fini_start, spdk_unregisters, take_failure,
};

use super::BlockDevice;
use super::context::{MAX_EXTRA, context_size};
use crate::error::AppError;
use behaviour::{ErasedExamine, ErasedModule};

/// A bdev module; a `static`, given to the app builder with `.module(&MODULE)`, or to
/// [`link_module!`](crate::link_module) where the program is somebody else's.
///
/// By itself it is a name, for bdevs and claims. What it does when SPDK starts and ends comes [`with`](Self::with) a
/// [`Module`], and what it does with each new bdev comes with an [`Examine`].
///
/// ```
/// use spdk_safe::app::Spdk;
/// use spdk_safe::module::{BdevModule, Module, ModuleResult};
///
/// struct Counter;
///
/// impl Module for Counter {
///     async fn init(&self, _spdk: &Spdk) -> ModuleResult {
///         println!("SPDK starts");
///         Ok(())
///     }
/// }
///
/// static PLAIN: BdevModule = BdevModule::new(c"plain");
/// static MODULE: BdevModule = BdevModule::new(c"counter").with(&Counter);
/// ```
///
/// # Invariants
///
/// `raw` is written by `add`, once, before `added` is set; from then on it belongs to SPDK for ever.
pub struct BdevModule {
    name: &'static CStr,
    behaviour: Option<&'static dyn ErasedModule>,
    examiner: Option<&'static dyn ErasedExamine>,
    raw: UnsafeCell<MaybeUninit<spdk_sys::spdk_bdev_module>>,
    adding: AtomicBool,
    added: AtomicBool,
    state: AtomicU8,
    /// Bytes that requests of its devices have for these devices.
    context: usize,
}

/// The largest of all modules: SPDK has one size for all (M-05).
static CONTEXT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: by the type invariant only `add` writes, one thread wins it, and others see the pointer after `added`.
unsafe impl Sync for BdevModule {}

/// See the module's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum State {
    Listed,
    Starting,
    Up,
    Stopped,
    Down,
}

impl BdevModule {
    /// A module named `name`, unique in the process: it shows in the JSON of bdevs and in the errors of claims.
    #[must_use]
    pub const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            behaviour: None,
            examiner: None,
            raw: UnsafeCell::new(MaybeUninit::zeroed()),
            adding: AtomicBool::new(false),
            added: AtomicBool::new(false),
            state: AtomicU8::new(State::Listed as u8),
            context: 0,
        }
    }

    /// The same module, which may have devices of type `D`: their requests have the bytes of driver context that they
    /// need. Only for those with a [`BlockDevice::CONTEXT`].
    #[must_use]
    pub const fn device<D: BlockDevice>(mut self) -> Self {
        const {
            assert!(
                D::CONTEXT <= MAX_EXTRA,
                "`BlockDevice::CONTEXT` is more than 2048 bytes, which every I/O of the process would have to have: keep \
                 large state in the channel, or in a `Box`"
            );
        }
        if self.context < D::CONTEXT {
            self.context = D::CONTEXT;
        }
        self
    }

    /// Whether requests of a `D` have what it needs.
    pub(super) fn has_room_for<D: BlockDevice>(&self) -> bool {
        has_room(D::CONTEXT)
    }

    /// The same module, which does what `module` says when SPDK starts, ends, and saves its configuration.
    #[must_use]
    pub const fn with<M: Module>(mut self, module: &'static M) -> Self {
        self.behaviour = Some(module);
        self
    }

    /// The same module, which is shown every bdev that is registered.
    ///
    /// SPDK starts modules that examine first, the one that was registered last before the others, and ends them last
    /// (contract M-02).
    #[must_use]
    pub const fn examine<E: Examine>(mut self, examiner: &'static E) -> Self {
        self.examiner = Some(examiner);
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name.to_str().unwrap_or("(not UTF-8)")
    }

    /// Tells SPDK of the module, before it is up. Twice is once: the same struct twice in SPDK's list corrupts it.
    ///
    /// # Errors
    ///
    /// [`AppError::ModuleExists`], [`AppError::OutOfRange`] after 64 modules.
    pub(crate) fn add(&'static self) -> Result<(), AppError> {
        if self.adding.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // SAFETY: the name is static; the list is a static of SPDK's, which is not up yet.
        if !unsafe { spdk_sys::spdk_bdev_module_list_find(self.name.as_ptr()) }.is_null() {
            return Err(AppError::ModuleExists {
                module: self.name().into(),
            });
        }
        let Some(callbacks) = callbacks::take(self) else {
            return Err(AppError::OutOfRange {
                what: "modules",
                got: "one more".into(),
                allowed: "64 in a process",
            });
        };
        CONTEXT.fetch_max(self.context, Ordering::AcqRel);
        let raw = self.raw.get().cast::<spdk_sys::spdk_bdev_module>();
        {
            // SAFETY: we won `adding`, so nobody else has a pointer to the struct; it is zeroed, which is valid for
            // it, and how SPDK wants it.
            let module = unsafe { &mut *raw };
            module.name = self.name.as_ptr();
            module.module_init = Some(callbacks.init);
            module.async_init = true;
            module.fini_start = Some(callbacks.fini_start);
            module.module_fini = Some(callbacks.fini);
            module.async_fini = true;
            module.get_ctx_size = Some(callbacks::get_ctx_size_callback);
            if self.behaviour.is_some() {
                module.config_json = Some(callbacks.config_json);
            }
            if self.examiner.is_some() {
                module.examine_config = Some(callbacks.examine_config);
                module.examine_disk = Some(callbacks.examine_disk);
            }
        }
        // SAFETY: the struct is ours still.
        unsafe { spdk_sys::spdk_shim_module_async_fini_start(raw) };
        // SAFETY: SPDK is not up yet (the caller sees to that), and the struct is static.
        unsafe { spdk_sys::spdk_bdev_module_list_add(raw) };
        self.added.store(true, Ordering::Release);
        Ok(())
    }

    /// The C struct; `None` until SPDK knows the module.
    pub(crate) fn raw(&self) -> Option<*mut spdk_sys::spdk_bdev_module> {
        self.added
            .load(Ordering::Acquire)
            .then(|| self.raw.get().cast())
    }

    fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Listed,
            1 => State::Starting,
            2 => State::Up,
            3 => State::Stopped,
            _ => State::Down,
        }
    }

    fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }
}

impl fmt::Debug for BdevModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BdevModule")
            .field("name", &self.name)
            .field("added", &self.added)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// Whether every request of the process has as many bytes for its device. What SPDK has asked for does not change.
#[inline]
pub(super) fn has_room(bytes: usize) -> bool {
    bytes <= CONTEXT.load(Ordering::Acquire)
}

/// What every module of the process needs of a request at most.
fn context_bytes() -> usize {
    context_size() + CONTEXT.load(Ordering::Acquire)
}

/// Polls the end of a device of `module`. On the app thread.
pub(super) fn spawn_destruct(module: &'static str, future: Boxed<()>) {
    driver::spawn(driver::Kind::Destruct, module, future);
}
