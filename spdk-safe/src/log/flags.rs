//! Log flags: which parts of SPDK write their INFO and DEBUG lines.
//!
//! C functions: `spdk_log_set_flag`, `spdk_log_clear_flag`, `spdk_log_get_first_flag`.

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use thiserror::Error;

use crate::error::Errno;

/// A log flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Its name, such as `bdev`.
    pub name: String,
    /// Whether it is set.
    pub enabled: bool,
}

/// Why a flag was not set or cleared.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FlagError {
    /// The linked parts of SPDK have no such flag. [`flags`] lists those that there are; `all` is all of them.
    #[error("SPDK has no log flag {name:?}; `spdk_safe::log::flags()` lists them")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// SPDK refused it.
    #[error("SPDK refuses the log flag {name:?}: {errno}")]
    Refused {
        /// What was asked for.
        name: String,
        /// Why.
        errno: Errno,
    },
}

/// The flags of the linked parts of SPDK, in its order.
#[must_use]
pub fn flags() -> Vec<Flag> {
    let mut list = Vec::new();
    let mut at = ptr::null_mut();
    loop {
        // SAFETY: `at` is null or a flag. The list is made by constructors, before main, and does not change.
        at = unsafe { spdk_sys::spdk_shim_log_flag_next(at) };
        if at.is_null() {
            return list;
        }
        // SAFETY: `at` is a flag, with a name that lives as long as the process.
        let name = unsafe { spdk_sys::spdk_shim_log_flag_name(at) };
        if name.is_null() {
            continue;
        }
        // SAFETY: as above, and NUL-terminated.
        let c_name = unsafe { CStr::from_ptr(name) };
        list.push(Flag {
            name: c_name.to_string_lossy().into_owned(),
            // SAFETY: the name is only read.
            enabled: unsafe { spdk_sys::spdk_log_get_flag(name) },
        });
    }
}

/// Sets a flag (`spdk_log_set_flag`), or `all`. Lines of it appear if the level lets them through.
///
/// # Errors
///
/// [`FlagError::Unknown`]. Patterns, which newer versions take, are unknown names here.
pub fn set_flag(name: &str) -> Result<(), FlagError> {
    // SAFETY: the function takes a NUL-terminated name.
    change(name, |name| unsafe { spdk_sys::spdk_log_set_flag(name) })
}

/// Clears a flag (`spdk_log_clear_flag`), or `all`.
///
/// # Errors
///
/// As [`set_flag`].
pub fn clear_flag(name: &str) -> Result<(), FlagError> {
    // SAFETY: as in `set_flag`.
    change(name, |name| unsafe { spdk_sys::spdk_log_clear_flag(name) })
}

fn change(name: &str, f: impl FnOnce(*const c_char) -> i32) -> Result<(), FlagError> {
    let unknown = || FlagError::Unknown {
        name: name.to_owned(),
    };
    let c_name = CString::new(name).map_err(|_| unknown())?;
    let known = |flag: &Flag| flag.name.eq_ignore_ascii_case(name);
    if !name.eq_ignore_ascii_case("all") && !flags().iter().any(known) {
        return Err(unknown());
    }
    Errno::check(f(c_name.as_ptr())).map_err(|errno| FlagError::Refused {
        name: name.to_owned(),
        errno,
    })
}
