//! Puts together the prefix: headers, archives, pkg-config files, licences, and what it was built from.
//!
//! ```text
//! spdk-20.07-r1-x86_64/
//!     include/spdk/*.h       config.h among them
//!     lib/libspdk_*.a        lib/librte_*.a, and no shared library
//!     lib/pkgconfig/*.pc
//!     share/licenses/{spdk,dpdk}/
//!     BUILD-INFO
//!     .complete              written last
//! ```

use std::fmt::Write as _;
use std::path::Path;

use super::build::Facts;
use super::error::{Context, Error};
use super::recipe::{self, LIBRARIES, SUBSTITUTIONS};
use super::{pkgconfig, source::Source};

/// Copies what a program needs from the built tree into `prefix`.
pub(crate) fn install(source: &Source, facts: &Facts, prefix: &Path) -> Result<(), Error> {
    let tree = &source.tree;
    let include = prefix.join("include/spdk");
    for header in files(&tree.join("include/spdk"))? {
        if header.extension().is_some_and(|e| e == "h") {
            copy_into(&header, &include)?;
        }
    }
    let lib = prefix.join("lib");
    for library in LIBRARIES {
        copy_into(
            &tree.join(format!("build/lib/libspdk_{}.a", library.name)),
            &lib,
        )?;
    }
    for name in &facts.dpdk {
        copy_into(&tree.join(format!("dpdk/build/lib/lib{name}.a")), &lib)?;
    }
    pkgconfig::write(&lib.join("pkgconfig"), facts)?;

    let licences = prefix.join("share/licenses");
    copy_into(&tree.join("LICENSE"), &licences.join("spdk"))?;
    for file in files(&tree.join("dpdk/license"))? {
        copy_into(&file, &licences.join("dpdk"))?;
    }
    let info = prefix.join("BUILD-INFO");
    std::fs::write(&info, build_info(source)).context("cannot write", &info)
}

fn build_info(source: &Source) -> String {
    let mut text = format!(
        "SPDK {} with its DPDK, built by `cargo xtask spdk` (recipe {}).\n\n\
         Sources: src/spdk of {}\n\
         SPDK's configure: {} --target-arch={}\n\
         DPDK's meson: {}\n",
        recipe::VERSION,
        recipe::REVISION,
        source.from,
        recipe::CONFIGURE.join(" "),
        recipe::target_arch(),
        recipe::MESON,
    );
    for change in SUBSTITUTIONS {
        let _ = write!(
            text,
            "\nChanged: {}\n  Because: {}\n  Was:{}  Is:{}",
            change.file, change.why, change.find, change.replace
        );
    }
    text
}

fn files(dir: &Path) -> Result<Vec<std::path::PathBuf>, Error> {
    let entries = std::fs::read_dir(dir).context("cannot read", dir)?;
    Ok(entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_file())
        .collect())
}

fn copy_into(file: &Path, dir: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(dir).context("cannot create", dir)?;
    let to = dir.join(file.file_name().unwrap_or_default());
    std::fs::copy(file, &to)
        .map(drop)
        .context("cannot copy", file)
}
