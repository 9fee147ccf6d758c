//! Bases: bdevs that others stand on.

use std::ffi::CString;

use crate::bdev::lookup::look;
use crate::error::BdevError;

/// Checks that `base` can be opened for writing and claimed, and answers its name, whichever name it was given by. On
/// the app thread.
///
/// SPDK's modules take note of the name of a base that is not there, by whatever name, and report success.
pub(super) fn check_base(name: &str, base: &str) -> Result<CString, BdevError> {
    let no_base = || BdevError::NoBase {
        name: name.to_owned(),
        base: base.to_owned(),
    };
    // SAFETY: this is the app thread.
    let info = unsafe { look(base) }.ok_or_else(no_base)?;
    match info.claim {
        Some(claim) => Err(BdevError::BaseClaimed {
            name: name.to_owned(),
            base: base.to_owned(),
            by: claim.by,
            claim: Some(claim.kind),
        }),
        None => CString::new(info.name).map_err(|_| no_base()),
    }
}

/// The answer to the creation of a bdev on a base: SPDK remembers the name of one that went away with its base.
#[cfg(any(feature = "bdev-delay", feature = "bdev-passthru"))]
pub(super) fn or_awaited(created: Result<(), BdevError>) -> Result<(), BdevError> {
    match created {
        // `check_name` found no bdev of this name.
        Err(BdevError::Exists { name }) => Err(BdevError::Awaited { name }),
        other => other,
    }
}
