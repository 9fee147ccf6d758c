//! All set-up that a command needs and that is missing: system packages, and an SPDK.
//!
//! When nothing is missing this reads a few folders and takes milliseconds.

use anyhow::Result;

use crate::host::Host;
use crate::locate::{self, CEILING, FLOOR, LocateError, Origin, Spdk};
use crate::{packages, spdk};

/// Sees to it that there is an SPDK, and everything to use it with; returns it.
///
/// # Errors
/// What is missing, why it could not be had, and what to do.
pub(crate) fn ensure(host: &Host) -> Result<Spdk> {
    let found = match find(host) {
        // A prefix of an older recipe is not what this version of the bindings was tried on.
        Ok(Spdk {
            origin: Origin::Cache(_),
            ..
        }) if !spdk::is_built(host) => None,
        Ok(found) => Some(found),
        Err(LocateError::NotFound { .. }) => None,
        Err(e) => return Err(e.into()),
    };
    let found = match found {
        Some(found) => found,
        None => {
            eprintln!(
                "No SPDK on this machine: building SPDK {} into the cache, once.",
                spdk::recipe::VERSION
            );
            spdk::provide(host, false)?;
            find(host)?
        }
    };
    packages::ensure(host, &packages::to_use(&found))?;
    if found.above_ceiling() {
        eprintln!(
            "warning: SPDK {} is newer than any that was tried here ({FLOOR} to {CEILING}).",
            found.version
        );
    }
    Ok(found)
}

/// Which SPDK would be used.
pub(crate) fn find(host: &Host) -> Result<Spdk, LocateError> {
    locate::locate(&mut |name| host.var(name))
}

/// The text of `cargo xtask spdk --print`, and whether there is an SPDK.
pub(crate) fn report(host: &Host) -> (String, bool) {
    use std::fmt::Write as _;
    let mut text = String::new();
    let found = match find(host) {
        Ok(found) => found,
        Err(e) => return (e.to_string(), false),
    };
    let _ = writeln!(text, "SPDK {}: {}", found.version, found.origin);
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<11}{value}");
    };
    let join = |dirs: &[std::path::PathBuf]| {
        dirs.iter()
            .map(|d| d.display().to_string())
            .collect::<Vec<_>>()
            .join("\n             ")
    };
    row("headers", found.include.display().to_string());
    row("libraries", join(&found.lib_dirs));
    row("pkg-config", join(&found.pkgconfig_dirs));
    if found.above_ceiling() {
        row(
            "warning",
            format!("newer than any that was tried here ({FLOOR} to {CEILING})"),
        );
    }
    let lacking = packages::missing(host, &packages::to_use(&found));
    if !lacking.is_empty() {
        row("to install", packages::apt_line(&lacking));
    }
    let _ = writeln!(text, "Looked at:");
    for (place, what) in &found.looked_at {
        let _ = writeln!(text, "  {place}: {what}");
    }
    (text, true)
}

#[cfg(test)]
mod tests;
