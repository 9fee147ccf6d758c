//! Bases: bdevs that others stand on.

use std::ffi::CString;

use crate::bdev::Claim;
use crate::bdev::lookup::Probe;
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
    // SAFETY: this is the app thread, and the probe is dropped in here.
    let probe = match unsafe { Probe::open(base, true) } {
        Ok(probe) => probe,
        Err(errno) if errno.code() == libc::EPERM => {
            // SAFETY: this is the app thread; who is claimed can be opened for reading.
            let claim = unsafe { Probe::open(base, false) }
                .ok()
                .and_then(|probe| probe.info().claim);
            return Err(base_claimed(name, base, claim));
        }
        Err(errno) if errno.code() == libc::ENODEV => return Err(no_base()),
        Err(errno) => {
            return Err(BdevError::Refused {
                name: name.to_owned(),
                errno,
            });
        }
    };
    // Nobody has claimed what can be opened for writing (B-23).
    CString::new(probe.info().name).map_err(|_| no_base())
}

fn base_claimed(name: &str, base: &str, claim: Option<Claim>) -> BdevError {
    BdevError::BaseClaimed {
        name: name.to_owned(),
        base: base.to_owned(),
        by: claim
            .as_ref()
            .map_or("(unknown)", |claim| claim.by.as_str())
            .to_owned(),
        claim: claim.map(|claim| claim.kind),
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
