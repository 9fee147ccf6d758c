//! Which bdevs there are.
//!
//! C functions: `spdk_for_each_bdev` (22.05), before it `spdk_bdev_first` and `spdk_bdev_next`; the order is that of
//! registration. Each bdev is held open for reading while it is looked at, all in one go on the app thread; what comes
//! out are copies, so code that awaits between two of them sees no bdev that is gone, only a picture that grows old.

use std::ffi::{CString, c_void};
use std::ptr::{self, NonNull};

use super::BdevInfo;
use crate::app::Spdk;
use crate::error::{Errno, ThreadError};
use crate::panic::contain;

/// Every bdev that is not being removed.
///
/// ```no_run
/// # use spdk_safe::prelude::*;
/// # fn example(spdk: &Spdk) -> Result<(), Box<dyn std::error::Error>> {
/// for bdev in spdk_safe::bdev::list(spdk)? {
///     println!("{bdev}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`ThreadError`] anywhere but on the app thread.
pub fn list(spdk: &Spdk) -> Result<Vec<BdevInfo>, ThreadError> {
    spdk.check()?;
    // SAFETY: the app thread is current.
    Ok(unsafe { all() })
}

/// The bdev with this name, alias or UUID; `None` if there is none, or it is being removed.
///
/// # Errors
///
/// [`ThreadError`] anywhere but on the app thread.
pub fn find(spdk: &Spdk, name: &str) -> Result<Option<BdevInfo>, ThreadError> {
    spdk.check()?;
    // SAFETY: the app thread is current.
    let probe = unsafe { Probe::open(name, false) };
    Ok(probe.ok().map(|probe| probe.info()))
}

/// A name by which SPDK finds the bdev that `name` means; `None` if there is none. SPDK itself knows UUIDs as names since
/// 22.05, and in lower case.
///
/// # Safety
///
/// The app thread is current.
pub(super) unsafe fn resolve(name: &str) -> Option<CString> {
    let c_name = CString::new(name).ok()?;
    // SAFETY: by this function's contract; the name lives across the call.
    if !unsafe { spdk_sys::spdk_bdev_get_by_name(c_name.as_ptr()) }.is_null() {
        return Some(c_name);
    }
    let uuid = name.parse().ok()?;
    // SAFETY: by this function's contract.
    let bdevs = unsafe { all() };
    let found = bdevs.into_iter().find(|bdev| bdev.uuid == uuid)?;
    CString::new(found.name).ok()
}

/// # Safety
///
/// The app thread is current.
unsafe fn all() -> Vec<BdevInfo> {
    let mut all = Vec::new();
    // SAFETY: by this function's contract; `all` lives across the call and is what the callback expects.
    let rc = unsafe {
        spdk_sys::spdk_shim_for_each_bdev(Some(each_callback), (&raw mut all).cast::<c_void>())
    };
    if let Err(errno) = Errno::check(rc) {
        // No memory for a descriptor of a few bytes.
        crate::log::error(&format!("the list of bdevs is not complete: {errno}"));
    }
    all
}

/// # Safety
///
/// The shim calls this inside [`all`], with the vector given there and a bdev that is held open.
unsafe extern "C" fn each_callback(ctx: *mut c_void, bdev: *mut spdk_sys::spdk_bdev) {
    contain("the list of bdevs", || {
        // SAFETY: by this function's contract: the app thread is current, and a descriptor of `bdev` is open.
        let info = unsafe { BdevInfo::read(bdev) };
        // SAFETY: by this function's contract; no other reference to the vector exists while `all` is in the call.
        let all = unsafe { &mut *ctx.cast::<Vec<BdevInfo>>() };
        all.push(info);
    });
}

/// A descriptor for a look at a bdev, within one call on the app thread.
///
/// # Invariants
///
/// The descriptor is open, and its thread is current for as long as this lives.
pub(super) struct Probe(NonNull<spdk_sys::spdk_bdev_desc>);

impl Probe {
    /// # Safety
    ///
    /// The app thread is current, and stays so until the probe is dropped: it must not live across an await.
    pub(super) unsafe fn open(name: &str, write: bool) -> Result<Self, Errno> {
        let none = || Errno::new(libc::ENODEV);
        // SAFETY: by this function's contract.
        let c_name = unsafe { resolve(name) }.ok_or_else(none)?;
        let mut raw = ptr::null_mut();
        // SAFETY: by this function's contract; the name lives across the call, and the callback needs no context.
        let rc = unsafe {
            spdk_sys::spdk_shim_bdev_open(
                c_name.as_ptr(),
                write,
                Some(ignore_callback),
                ptr::null_mut(),
                &raw mut raw,
            )
        };
        Errno::check(rc)?;
        // INVARIANT: just opened.
        NonNull::new(raw).map(Self).ok_or_else(none)
    }

    fn bdev(&self) -> *mut spdk_sys::spdk_bdev {
        // SAFETY: by the type invariant the descriptor is open.
        unsafe { spdk_sys::spdk_bdev_desc_get_bdev(self.0.as_ptr()) }
    }

    pub(super) fn info(&self) -> BdevInfo {
        // SAFETY: by the type invariant a descriptor is open, and its thread is current.
        unsafe { BdevInfo::read(self.bdev()) }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // SAFETY: by the type invariant the descriptor is open and this is its thread; it never had a channel.
        unsafe { spdk_sys::spdk_shim_bdev_close_look(self.0.as_ptr()) };
    }
}

/// # Safety
///
/// It touches nothing.
unsafe extern "C" fn ignore_callback(
    _event: spdk_sys::spdk_bdev_event_type,
    _bdev: *mut spdk_sys::spdk_bdev,
    _ctx: *mut c_void,
) {
}
