//! Error bdevs: a bdev over another one that fails I/O on purpose.
//!
//! C functions: `vbdev_error_create`, `vbdev_error_inject_error`, `vbdev_error_delete` of `module/bdev/error`.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_int};
use std::num::NonZeroU8;

use super::base::check_base;
use super::{check_name, created, delete};
use crate::app::{Spdk, at_exit, yield_now};
use crate::bdev::wait::WaitQueues;
use crate::bdev::{io_types, needs};
use crate::error::{BdevError, IoType, NvmeStatus};
use crate::thread::Home;

/// Stands for every I/O type.
const EVERY: u32 = u32::MAX;
/// Stands for no error any more.
const CLEAR: u32 = 0;

/// A bdev that passes on reads, writes, unmaps and flushes to its base, or lets them fail as it was told.
///
/// SPDK names it: `EE_`, and the name of its base, which it claims. Not an owner: it stays until
/// [`delete`](Self::delete), the removal of its base, or the end of the app.
///
/// ```no_run
/// # use spdk_safe::prelude::*;
/// use spdk_safe::bdev::{ErrorBdev, Fault, Injection, NullBdev};
/// # async fn example(spdk: &Spdk) -> Result<(), BdevError> {
/// NullBdev::builder("n0").blocks(8).create(spdk).await?;
/// let name = ErrorBdev::on("n0").create(spdk).await?;
/// ErrorBdev::inject(spdk, &name, Injection::new(Fault::Fail).into_type(IoType::Write).count(2))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ErrorBdev(());

/// An error bdev to be created.
#[derive(Debug, Clone)]
#[must_use = "call `create` to create the bdev"]
pub struct ErrorBuilder {
    base: String,
}

/// What an I/O meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// It fails.
    Fail,
    /// It stays in the error bdev until a reset, [`ErrorBdev::abort_held`], the deletion of the bdev, or the end of the
    /// app, and fails then.
    Hold,
    /// A read succeeds with wrong data: the byte at `offset` of what was read is XORed with `xor`. Needs SPDK 23.01.
    ///
    /// Reads only: of a write, SPDK would change the caller's data in place.
    Corrupt {
        /// Which byte.
        offset: u64,
        /// With what.
        xor: NonZeroU8,
    },
    /// It fails for want of memory, which SPDK's bdev layer waits out. Needs SPDK 24.01.
    NoMemory,
    /// It fails with this status. Needs SPDK 26.05.
    Nvme(NvmeStatus),
}

/// What is to happen to which I/O, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "give it to `ErrorBdev::inject`"]
pub struct Injection {
    fault: Fault,
    io: Option<IoType>,
    count: u32,
    queue_depth: u64,
}

impl Injection {
    /// `fault`, for every I/O from now on: see [`into_type`](Self::into_type) and [`count`](Self::count).
    pub const fn new(fault: Fault) -> Self {
        Self {
            fault,
            io: None,
            count: u32::MAX,
            queue_depth: 0,
        }
    }

    /// Into I/O of this type only: read, write, unmap or flush.
    pub const fn into_type(mut self, io: IoType) -> Self {
        self.io = Some(io);
        self
    }

    /// So many times, for each type; then I/O succeeds again. Without it there is no end.
    pub const fn count(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// Only while at least so many I/Os of the same channel are below. Needs SPDK 23.09.
    pub const fn at_queue_depth(mut self, depth: u64) -> Self {
        self.queue_depth = depth;
        self
    }
}

impl ErrorBdev {
    /// Begins an error bdev over the bdev named `base`.
    pub fn on(base: impl Into<String>) -> ErrorBuilder {
        ErrorBuilder { base: base.into() }
    }

    /// From now on I/O on the error bdev named `name` meets `injection`, which takes the place of an earlier one for the
    /// same I/O type.
    ///
    /// # Errors
    ///
    /// [`BdevError::NotFound`] if there is no error bdev of that name; [`BdevError::Inject`] for an I/O type that can't
    /// meet it; [`BdevError::NeedsVersion`].
    pub fn inject(spdk: &Spdk, name: &str, injection: Injection) -> Result<(), BdevError> {
        let (what, is_corruption) = match injection.fault {
            Fault::Fail => ("a failure", false),
            Fault::Hold => ("holding back", false),
            Fault::Corrupt { .. } => ("corrupt data", true),
            Fault::NoMemory => ("a want of memory", false),
            Fault::Nvme(_) => ("an NVMe status", false),
        };
        let refuse = |io, allowed| {
            Err(BdevError::Inject {
                fault: what,
                io,
                allowed,
            })
        };
        let io_type = match injection.io {
            None if is_corruption => io_types::raw(IoType::Read),
            None => EVERY,
            Some(IoType::Read) => io_types::raw(IoType::Read),
            Some(io) if is_corruption => return refuse(io, "read"),
            Some(io @ (IoType::Write | IoType::Unmap | IoType::Flush)) => io_types::raw(io),
            Some(io) => return refuse(io, "read, write, unmap and flush"),
        };
        inject(spdk, name, io_type, &injection)?;
        if injection.fault == Fault::Hold {
            remember_held(name);
        }
        Ok(())
    }

    /// I/O on the error bdev named `name` meets no error any more. What it holds back stays there.
    ///
    /// # Errors
    ///
    /// [`BdevError::NotFound`] if there is no error bdev of that name.
    pub fn clear(spdk: &Spdk, name: &str) -> Result<(), BdevError> {
        inject(spdk, name, CLEAR, &Injection::new(Fault::Fail))
    }

    /// As [`clear`](Self::clear), and lets what the bdev holds back fail: it is reset (`spdk_bdev_reset`). Waits until
    /// there is a `spdk_bdev_io` for the reset, and not for its end.
    ///
    /// # Errors
    ///
    /// [`BdevError::NotFound`] if there is no error bdev of that name.
    pub async fn abort_held(spdk: &Spdk, name: &str) -> Result<(), BdevError> {
        let c_name = CString::new(name).unwrap_or_default();
        loop {
            Self::clear(spdk, name)?;
            match created(name, reset(&c_name), &needs::none()) {
                Err(BdevError::NoMemory { .. }) => yield_now().await,
                begun => return begun,
            }
        }
    }

    /// Deletes the error bdev named `name`, and waits until it is gone: for descriptors of others, too. What it holds
    /// back fails.
    ///
    /// Once it was polled, the deletion goes on when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`BdevError::NotFound`] if there is no error bdev of that name.
    pub async fn delete(spdk: &Spdk, name: &str) -> Result<(), BdevError> {
        // Nothing can be opened for a reset any more once it goes.
        Self::abort_held(spdk, name).await?;
        delete(spdk, name, spdk_sys::spdk_shim_error_delete).await
    }
}

impl ErrorBuilder {
    /// Creates the bdev, and answers its name.
    ///
    /// # Errors
    ///
    /// [`BdevError::NoBase`], [`BdevError::BaseClaimed`] and their like.
    pub async fn create(self, spdk: &Spdk) -> Result<String, BdevError> {
        spdk.check()?;
        let c_base = check_base(&self.base, &self.base)?;
        let name = format!("EE_{}", c_base.to_string_lossy());
        check_name(&name)?;
        // SAFETY: this is the app thread; the name lives across the call.
        let rc = unsafe { spdk_sys::spdk_shim_error_create(c_base.as_ptr()) };
        created(&name, rc, &needs::none()).map(|()| name)
    }
}

fn inject(spdk: &Spdk, name: &str, io_type: u32, injection: &Injection) -> Result<(), BdevError> {
    spdk.check()?;
    let c_name = CString::new(name).map_err(|_| BdevError::NotFound {
        name: name.to_owned(),
    })?;
    let (rc, needs) = inject_raw(&c_name, io_type, injection);
    created(name, rc, &needs)
}

/// On the app thread.
fn inject_raw(
    name: &CStr,
    io_type: u32,
    injection: &Injection,
) -> (c_int, spdk_sys::spdk_shim_needs) {
    use spdk_sys::spdk_shim_error_type as ty;
    let mut opts = spdk_sys::spdk_shim_error_opts {
        io_type,
        error_type: ty::SPDK_SHIM_ERROR_FAILURE,
        count: injection.count,
        queue_depth: injection.queue_depth,
        corrupt_offset: 0,
        corrupt_value: 0,
        nvme_sct: 0,
        nvme_sc: 0,
    };
    match injection.fault {
        Fault::Fail => {}
        Fault::Hold => opts.error_type = ty::SPDK_SHIM_ERROR_PENDING,
        Fault::Corrupt { offset, xor } => {
            opts.error_type = ty::SPDK_SHIM_ERROR_CORRUPT;
            opts.corrupt_offset = offset;
            opts.corrupt_value = xor.get();
        }
        Fault::NoMemory => opts.error_type = ty::SPDK_SHIM_ERROR_NOMEM,
        Fault::Nvme(status) => {
            opts.error_type = ty::SPDK_SHIM_ERROR_NVME;
            opts.nvme_sct = status.sct;
            opts.nvme_sc = status.sc;
        }
    }
    let mut needs = needs::none();
    // SAFETY: this is the app thread; all that is pointed to lives across the call, and the shim checks the I/O type,
    // which SPDK takes for an index.
    let rc =
        unsafe { spdk_sys::spdk_shim_error_inject(name.as_ptr(), &raw const opts, &raw mut needs) };
    (rc, needs)
}

/// On the app thread.
fn reset(name: &CStr) -> c_int {
    let Ok(home) = Home::current() else {
        return -libc::EPERM;
    };
    if WaitQueues::is_too_early_for_a_channel(home) {
        return -libc::ENOMEM;
    }
    // SAFETY: this is the app thread; the name lives across the call.
    unsafe { spdk_sys::spdk_shim_bdev_reset_by_name(name.as_ptr()) }
}

thread_local! {
    /// Error bdevs that may hold back I/O when the app ends, which would wait for it for ever. On the app's OS thread.
    static HELD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Has what `name` holds back aborted when the app ends.
fn remember_held(name: &str) {
    let first = HELD.with_borrow_mut(|held| {
        let first = held.is_empty();
        if !held.iter().any(|have| have == name) {
            held.push(name.to_owned());
        }
        first
    });
    if first {
        // This is the app thread: `inject` has checked it.
        let _ = at_exit(|| {
            for name in HELD.take() {
                let Ok(name) = CString::new(name) else {
                    continue;
                };
                // Exit hooks run on the app thread.
                let (rc, _) = inject_raw(&name, CLEAR, &Injection::new(Fault::Fail));
                if rc == 0 {
                    reset(&name);
                }
            }
        });
    }
}
