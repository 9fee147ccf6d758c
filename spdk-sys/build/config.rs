//! What the environment and the features ask for, read once.

use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::locate::{self, FLOOR, Spdk, Version};

/// Names an include folder of SPDK: bindings and shim are compiled against it and nothing is linked.
///
/// For trying headers of which there is no build; `docs/spdk-versions.md` shows how it is used.
const HEADERS_ONLY: &str = "SPDK_SYS_HEADERS_ONLY";

/// Everything that the other stages may ask for.
#[derive(Debug)]
pub(crate) struct Config {
    /// The SPDK to link; `None` with [`HEADERS_ONLY`].
    pub(crate) spdk: Option<Spdk>,
    /// The folder that has `spdk/bdev.h`.
    pub(crate) include: PathBuf,
    /// What `spdk/version.h` says.
    pub(crate) version: Version,
    /// `bdev-malloc`, `bdev-error`, ...: the enabled ones of [`crate::link::SUBSYSTEMS`].
    pub(crate) features: Vec<&'static str>,
    /// Where generated files go.
    pub(crate) out_dir: PathBuf,
}

impl Config {
    /// Reads the environment and finds the SPDK that it asks for.
    pub(crate) fn from_env() -> Result<Self, Box<dyn Error>> {
        let out_dir = PathBuf::from(var("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
        let features = crate::link::SUBSYSTEMS
            .iter()
            .map(|subsystem| subsystem.feature)
            .filter(|feature| {
                let name = feature.to_uppercase().replace('-', "_");
                std::env::var_os(format!("CARGO_FEATURE_{name}")).is_some()
            })
            .collect();
        if let Some(include) = var(HEADERS_ONLY) {
            let include = PathBuf::from(include);
            let header = include.join("spdk/version.h");
            let text = std::fs::read_to_string(&header)
                .map_err(|e| format!("{HEADERS_ONLY}: {}: {e}", header.display()))?;
            let version = Version::parse_header(&text)
                .map_err(|define| format!("{} does not define {define}", header.display()))?;
            println!("cargo::warning={HEADERS_ONLY} is set: SPDK {version} is bound, not linked");
            return Ok(Self {
                spdk: None,
                include,
                version,
                features,
                out_dir,
            });
        }
        let spdk = locate::locate(&mut var)?;
        if spdk.above_ceiling() {
            println!(
                "cargo::warning=SPDK {} is newer than any that these bindings were tried on ({FLOOR} to {})",
                spdk.version,
                locate::CEILING
            );
        }
        println!(
            "cargo::rerun-if-changed={}",
            spdk.include.join("spdk/version.h").display()
        );
        Ok(Self {
            include: spdk.include.clone(),
            version: spdk.version,
            spdk: Some(spdk),
            features,
            out_dir,
        })
    }
}

/// Reads a variable and has Cargo run this program again when it changes. Every read goes through here.
fn var(name: &str) -> Option<OsString> {
    println!("cargo::rerun-if-env-changed={name}");
    std::env::var_os(name).filter(|value| !value.is_empty())
}
