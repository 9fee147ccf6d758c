//! How much memory is taken.

use std::ffi::{CString, c_char, c_int};

use spdk_safe::app::Spdk;

use crate::client::RigError;

unsafe extern "C" {
    /// `csrc/context.c`.
    fn bench_context_size(bdev: *const c_char) -> c_int;
}

/// Bytes that were taken from `malloc` and not given back: by Rust and by SPDK, without DPDK's memory.
#[must_use]
pub fn heap() -> u64 {
    // SAFETY: only looks.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks as u64 + info.hblkhd as u64
}

/// Bytes that the module of `bdev` has in each request.
///
/// # Errors
///
/// [`RigError::C`] if there is no such bdev.
pub fn context_size(_spdk: &Spdk, bdev: &str) -> Result<u32, RigError> {
    let what = "look at a request's context";
    let name = CString::new(bdev).map_err(|_| RigError::C {
        what,
        errno: libc::EINVAL,
    })?;
    // SAFETY: `Spdk` is only on the app thread; the name lives across the call.
    let size = unsafe { bench_context_size(name.as_ptr()) };
    u32::try_from(size).map_err(|_| RigError::C { what, errno: -size })
}
