//! Which bdevs there are.
//!
//! C functions: `spdk_for_each_bdev` (22.09), before it `spdk_bdev_first` and `spdk_bdev_next`; the order is that of
//! registration. All are looked at in one go on the app thread, where bdevs begin to go; what comes out are copies, so code that awaits between two of them sees no bdev that is gone, only a picture that grows old.

use std::ffi::{CString, c_void};

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
    Ok(unsafe { look(name) })
}

/// The bdev with this name, alias or UUID, if it is not being removed.
///
/// Nothing is opened for it: up to SPDK 22.05 the first descriptor of a bdev with QoS limits sets off a walk over its
/// channels, and a bdev that is unregistered meanwhile never goes.
///
/// # Safety
///
/// The app thread is current.
pub(super) unsafe fn look(name: &str) -> Option<BdevInfo> {
    // SAFETY: by this function's contract.
    let c_name = unsafe { resolve(name) }?;
    // SAFETY: by this function's contract; the name lives across the call.
    let bdev = unsafe { spdk_sys::spdk_shim_bdev_ready(c_name.as_ptr()) };
    // SAFETY: the bdev is ready, and bdevs begin to go on the app thread alone, which is current.
    (!bdev.is_null()).then(|| unsafe { BdevInfo::read(bdev) })
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
/// The shim calls this inside [`all`], with the vector given there and a bdev that does not go meanwhile.
unsafe extern "C" fn each_callback(ctx: *mut c_void, bdev: *mut spdk_sys::spdk_bdev) {
    contain("the list of bdevs", || {
        // SAFETY: by this function's contract; the app thread is current.
        let info = unsafe { BdevInfo::read(bdev) };
        // SAFETY: by this function's contract; no other reference to the vector exists while `all` is in the call.
        let all = unsafe { &mut *ctx.cast::<Vec<BdevInfo>>() };
        all.push(info);
    });
}
