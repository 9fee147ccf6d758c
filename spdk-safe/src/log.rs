//! Lines to SPDK's log, never as a format string.

use std::ffi::CString;

/// Writes `message` at SPDK's ERROR level, with a line of its own.
pub(crate) fn error(message: &str) {
    write(spdk_sys::spdk_log_level::SPDK_LOG_ERROR, message);
}

/// Writes `message` at SPDK's WARN level, with a line of its own.
pub(crate) fn warn(message: &str) {
    write(spdk_sys::spdk_log_level::SPDK_LOG_WARN, message);
}

fn write(level: spdk_sys::spdk_log_level, message: &str) {
    let text = CString::new(message.replace('\0', "\u{fffd}")).unwrap_or_default();
    // SAFETY: all four strings are NUL-terminated and live across the call; spdk_log() only reads them, and the
    // shim passes `text` as an argument of "%s".
    unsafe {
        spdk_sys::spdk_shim_log(
            level.0,
            c"spdk-safe".as_ptr(),
            0,
            c"rust".as_ptr(),
            text.as_ptr(),
        );
    }
}
