//! The core links no `std`: its library's source says so, and builds without `alloc`.

use std::process::Command;

/// Builds the crate by itself, for this machine, with no feature: a use of `std` or `alloc` that is
/// not behind its feature does not compile, as `extern crate` brings neither in.
#[test]
fn the_core_builds_without_std_and_alloc() {
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("no_std");
    for features in ["", "alloc"] {
        let status = Command::new(env!("CARGO"))
            .args([
                "check",
                "--quiet",
                "--lib",
                "--no-default-features",
                "--features",
                features,
            ])
            .arg("--manifest-path")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
            .arg("--target-dir")
            .arg(&target)
            .env_remove("RUSTFLAGS")
            .status()
            .expect("cargo runs");
        assert!(status.success(), "features: {features:?}");
    }
}
