//! SPDK's log: where it goes, which levels, which flags, and lines of your own in it.
//!
//! C header: `include/spdk/log.h`. By default SPDK prints to stderr, and DPDK beside it.
//! [`Builder::log_crate`](crate::app::Builder::log_crate) sends both through the `log` crate, and
//! [`Builder::log_to`](crate::app::Builder::log_to) to a function of yours.
//!
//! The other way, [`write()`] is a line of SPDK's log, and [`Logger`] makes one of all that the `log` crate is told: for a
//! module in a C application, where nothing else receives it.
//!
//! | here | C | `log` crate |
//! | --- | --- | --- |
//! | [`LogLevel::Error`] | `SPDK_LOG_ERROR` | `Error` |
//! | [`LogLevel::Warn`] | `SPDK_LOG_WARN` | `Warn` |
//! | [`LogLevel::Notice`] | `SPDK_LOG_NOTICE` | `Info` |
//! | [`LogLevel::Info`] | `SPDK_LOG_INFO` | `Debug` |
//! | [`LogLevel::Debug`] | `SPDK_LOG_DEBUG` | `Trace` |

mod flags;
mod sink;
mod write;

pub use flags::{Flag, FlagError, clear_flag, flags, set_flag};
pub(crate) use sink::{Held, Sink, hold, in_receiver, install};
pub use sink::{Line, Source};
pub use write::{Logger, write};

/// How severe a line of SPDK's log is, or the least severe that is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum LogLevel {
    /// Nothing at all.
    Disabled,
    /// Errors only.
    Error,
    /// And warnings.
    Warn,
    /// And notices: SPDK's own default.
    #[default]
    Notice,
    /// And information, of the parts whose [flag](set_flag) is set.
    Info,
    /// Everything; SPDK's own debug lines need a debug build of it.
    Debug,
}

use spdk_sys::spdk_log_level as raw;

impl LogLevel {
    pub(crate) const fn to_raw(self) -> spdk_sys::spdk_log_level {
        match self {
            Self::Disabled => raw::SPDK_LOG_DISABLED,
            Self::Error => raw::SPDK_LOG_ERROR,
            Self::Warn => raw::SPDK_LOG_WARN,
            Self::Notice => raw::SPDK_LOG_NOTICE,
            Self::Info => raw::SPDK_LOG_INFO,
            Self::Debug => raw::SPDK_LOG_DEBUG,
        }
    }

    const fn from_raw(level: spdk_sys::spdk_log_level) -> Self {
        match level {
            raw::SPDK_LOG_ERROR => Self::Error,
            raw::SPDK_LOG_WARN => Self::Warn,
            raw::SPDK_LOG_NOTICE => Self::Notice,
            raw::SPDK_LOG_INFO => Self::Info,
            raw::SPDK_LOG_DEBUG => Self::Debug,
            _ => Self::Disabled,
        }
    }

    const fn from_log(level: ::log::Level) -> Self {
        match level {
            ::log::Level::Error => Self::Error,
            ::log::Level::Warn => Self::Warn,
            ::log::Level::Info => Self::Notice,
            ::log::Level::Debug => Self::Info,
            ::log::Level::Trace => Self::Debug,
        }
    }

    /// Its name in the `log` crate; `None` for [`Disabled`](Self::Disabled).
    #[must_use]
    pub const fn to_log(self) -> Option<::log::Level> {
        match self {
            Self::Disabled => None,
            Self::Error => Some(::log::Level::Error),
            Self::Warn => Some(::log::Level::Warn),
            Self::Notice => Some(::log::Level::Info),
            Self::Info => Some(::log::Level::Debug),
            Self::Debug => Some(::log::Level::Trace),
        }
    }
}

/// The least severe level that is printed to stderr, or that goes where the builder said
/// (`spdk_log_get_print_level`).
#[must_use]
pub fn print_level() -> LogLevel {
    // SAFETY: reads a number, also before SPDK is up.
    LogLevel::from_raw(unsafe { spdk_sys::spdk_log_get_print_level() })
}

/// Sets it (`spdk_log_set_print_level`), from any thread. The start of an app sets what its builder says.
pub fn set_print_level(level: LogLevel) {
    // SAFETY: writes a number, which readers may see now or later.
    unsafe { spdk_sys::spdk_log_set_print_level(level.to_raw()) };
}

/// The least severe level that goes to syslog (`spdk_log_get_level`). Not used when the log goes elsewhere.
#[must_use]
pub fn level() -> LogLevel {
    // SAFETY: as in `print_level`.
    LogLevel::from_raw(unsafe { spdk_sys::spdk_log_get_level() })
}

/// Sets it (`spdk_log_set_level`), from any thread. The start of an app sets [`LogLevel::Notice`].
pub fn set_level(level: LogLevel) {
    // SAFETY: as in `set_print_level`.
    unsafe { spdk_sys::spdk_log_set_level(level.to_raw()) };
}

/// Writes `message` at SPDK's ERROR level, with a line of its own.
pub(crate) fn error(message: &str) {
    write_ours(LogLevel::Error, message);
}

/// Writes `message` at SPDK's WARN level, with a line of its own.
pub(crate) fn warn(message: &str) {
    write_ours(LogLevel::Warn, message);
}

fn write_ours(level: LogLevel, message: &str) {
    if !sink::write_ours(level, message) {
        to_spdk(level, "spdk-safe", 0, "rust", message);
    }
}

fn to_spdk(level: LogLevel, file: &str, line: u32, function: &str, text: &str) {
    let [file, function, text] = [file, function, text].map(write::c_string);
    let line = i32::try_from(line).unwrap_or(0);
    // SAFETY: all four strings are NUL-terminated and live across the call; spdk_log() only reads them, and the
    // shim passes `text` as an argument of "%s".
    unsafe {
        spdk_sys::spdk_shim_log(
            level.to_raw().0,
            file.as_ptr(),
            line,
            function.as_ptr(),
            text.as_ptr(),
        );
    }
}
