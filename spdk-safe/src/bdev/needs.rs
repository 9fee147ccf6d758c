//! What the linked SPDK is too old for, in the words of the shim.

use std::ffi::{CStr, c_char};
use std::ptr;

/// For the shim to fill in.
pub(crate) const fn none() -> spdk_sys::spdk_shim_needs {
    spdk_sys::spdk_shim_needs {
        what: ptr::null(),
        version: ptr::null(),
    }
}

/// What was asked for, and the first version that can do it, if this one can't.
pub(crate) fn read(needs: &spdk_sys::spdk_shim_needs) -> Option<(&'static str, &'static str)> {
    // SAFETY: the shim sets both to string literals of its own, or leaves them null.
    let text = |raw: *const c_char| (!raw.is_null()).then(|| unsafe { CStr::from_ptr(raw) });
    let (what, version) = (text(needs.what)?, text(needs.version)?);
    Some((what.to_str().ok()?, version.to_str().ok()?))
}
