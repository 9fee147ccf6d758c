//! The build script of `spdk-sys`: find SPDK, check its version, compile the shim, bind, link.
//!
//! ```text
//! config   what the environment and the features ask for
//! locate   which SPDK that is (shared with `cargo xtask spdk`)
//! pc       what that SPDK says of its libraries, in its pkg-config files
//! bindings bindgen over csrc/wrapper.h, and the C shim
//! link     the lines that reach every dependent crate
//! ```
//!
//! Each stage gets what the one before it made; nothing else is shared.

mod bindings;
mod config;
mod link;
mod locate;
mod pc;

use std::process::ExitCode;

use config::Config;
use locate::Version;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in error.to_string().lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=csrc");
    let config = Config::from_env()?;
    emit_version(config.version);
    // Where the headers are, for dependents that compile C of their own (`DEP_SPDK_INCLUDE`).
    println!("cargo::metadata=include={}", config.include.display());
    bindings::generate(&config)?;
    bindings::compile_shim(&config)?;
    if let Some(spdk) = &config.spdk {
        link::emit(&link::plan(spdk, &config.features)?);
    }
    Ok(())
}

/// The versions at which something that Rust code asks about came or changed.
const STEPS: [(u16, u16); 11] = [
    (20, 10),
    (21, 1),
    (21, 10),
    (22, 1),
    (22, 5),
    (23, 1),
    (23, 9),
    (24, 1),
    (24, 5),
    (26, 1),
    (26, 5),
];

/// Cumulative cfgs (`spdk_2401`: this SPDK is 24.01 or newer), and the version for dependents' build scripts
/// (`DEP_SPDK_VERSION`).
fn emit_version(version: Version) {
    for (major, minor) in STEPS {
        let cfg = format!("spdk_{major:02}{minor:02}");
        println!("cargo::rustc-check-cfg=cfg({cfg})");
        if (version.major, version.minor) >= (major, minor) {
            println!("cargo::rustc-cfg={cfg}");
        }
    }
    println!("cargo::metadata=version={version}");
}
