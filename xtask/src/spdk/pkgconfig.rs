//! The pkg-config files of the prefix, in the form of those that later SPDKs write themselves.
//!
//! They find the prefix from where they are, so it can be moved. To link a program:
//!
//! ```text
//! cc prog.c $(pkg-config --cflags spdk_event_bdev) \
//!    -Wl,--whole-archive $(pkg-config --libs spdk_event_bdev spdk_bdev_malloc spdk_env_dpdk) \
//!    -Wl,--no-whole-archive $(pkg-config --libs spdk_syslibs)
//! ```

use std::path::Path;

use super::build::Facts;
use super::error::{Context, Error};
use super::recipe::{LIBRARIES, VERSION};

/// Writes `spdk_<library>.pc` for each library, `spdk_dpdklibs.pc` and `spdk_syslibs.pc` into `dir`.
pub(crate) fn write(dir: &Path, facts: &Facts) -> Result<(), Error> {
    std::fs::create_dir_all(dir).context("cannot create", dir)?;
    for library in LIBRARIES {
        let name = library.name;
        let mut requires = facts.requires.get(name).cloned().unwrap_or_default();
        // SPDK's environments can be exchanged, so its makefiles don't say that this one is DPDK.
        if name == "env_dpdk" {
            requires.extend(["log", "util", "dpdklibs"].map(String::from));
        }
        let requires: Vec<_> = requires.iter().map(|r| format!("spdk_{r}")).collect();
        put(
            dir,
            name,
            &format!("SPDK {name} library"),
            &requires.join(" "),
            &format!("-lspdk_{name}"),
        )?;
    }
    put(
        dir,
        "dpdklibs",
        "DPDK libraries used by SPDK",
        "",
        &dpdk(&facts.dpdk),
    )?;
    put(
        dir,
        "syslibs",
        "System libraries used by SPDK",
        "",
        &system(&facts.system),
    )
}

fn put(dir: &Path, name: &str, description: &str, requires: &str, libs: &str) -> Result<(), Error> {
    let search = if name == "syslibs" {
        ""
    } else {
        "-L${libdir} "
    };
    let text = format!(
        "prefix=${{pcfiledir}}/../..\n\
         libdir=${{prefix}}/lib\n\
         includedir=${{prefix}}/include\n\
         \n\
         Name: spdk_{name}\n\
         Description: {description}\n\
         Version: {VERSION}\n\
         Requires: {requires}\n\
         Libs: {search}{libs}\n\
         Cflags: -I${{includedir}}\n"
    );
    let file = dir.join(format!("spdk_{name}.pc"));
    std::fs::write(&file, text).context("cannot write", &file)
}

/// Always the archives, never a shared library of the same name, and always whole: drivers register in
/// constructors that nobody calls. The state is pushed so that a caller's own `--whole-archive` goes on after it.
fn dpdk(libraries: &[String]) -> String {
    let archives: Vec<_> = libraries
        .iter()
        .map(|name| format!("-l:lib{name}.a"))
        .collect();
    format!(
        "-Wl,--push-state,--whole-archive {} -Wl,--pop-state",
        archives.join(" ")
    )
}

/// SPDK's list, without what only parts that we don't build need, and with what its flags imply.
fn system(libraries: &[String]) -> String {
    // iSCSI's and NVMe/TCP's digests.
    const NOT_NEEDED: [&str; 1] = ["crypto"];
    let mut all: Vec<_> = libraries
        .iter()
        .map(String::as_str)
        .filter(|l| !NOT_NEEDED.contains(l))
        .collect();
    all.extend(
        ["pthread", "m"]
            .iter()
            .filter(|more| !libraries.iter().any(|l| l == *more)),
    );
    all.iter()
        .map(|name| format!("-l{name}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn written() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let requires = [("bdev", vec!["log", "util"]), ("bdev_malloc", vec!["bdev"])];
        let requires: BTreeMap<_, _> = requires
            .into_iter()
            .map(|(name, list)| {
                (
                    name.to_owned(),
                    list.into_iter().map(String::from).collect(),
                )
            })
            .collect();
        let words = |w: &[&str]| w.iter().map(|s| (*s).to_owned()).collect();
        let facts = Facts {
            requires,
            dpdk: words(&["rte_eal", "rte_mempool_ring"]),
            system: words(&["rt", "crypto", "numa"]),
        };
        write(&dir.path().join("lib/pkgconfig"), &facts).unwrap();
        dir
    }

    fn pkg_config(dir: &Path, args: &[&str]) -> String {
        let out = std::process::Command::new("pkg-config")
            .env("PKG_CONFIG_LIBDIR", dir.join("lib/pkgconfig"))
            .env_remove("PKG_CONFIG_PATH")
            .args(args)
            .output();
        let out = out.expect("pkg-config runs");
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    #[test]
    fn a_library_brings_those_it_requires() {
        let dir = written();
        let libs = pkg_config(dir.path(), &["--libs-only-l", "spdk_bdev_malloc"]);
        assert_eq!(
            libs,
            "-lspdk_bdev_malloc -lspdk_bdev -lspdk_log -lspdk_util"
        );
    }

    #[test]
    fn dpdk_is_static_and_whole_and_leaves_the_callers_state_alone() {
        let dir = written();
        let libs = pkg_config(dir.path(), &["--libs", "spdk_env_dpdk", "spdk_bdev"]);
        let dpdk = "-Wl,--push-state,--whole-archive -l:librte_eal.a -l:librte_mempool_ring.a -Wl,--pop-state";
        assert!(libs.contains(dpdk), "{libs}");
        assert!(
            !libs.contains("-lrte"),
            "would take a shared library: {libs}"
        );
    }

    #[test]
    fn the_systems_libraries_are_the_needed_ones() {
        let dir = written();
        assert_eq!(
            pkg_config(dir.path(), &["--libs", "spdk_syslibs"]),
            "-lrt -lnuma -lpthread -lm"
        );
    }

    #[test]
    fn a_moved_prefix_is_found_where_it_is() {
        let dir = written();
        let moved = tempfile::tempdir().unwrap();
        let to = moved.path().join("elsewhere");
        std::fs::rename(dir.path(), &to).unwrap();
        let flags = pkg_config(&to, &["--cflags", "spdk_bdev"]);
        let include = std::path::PathBuf::from(flags.strip_prefix("-I").unwrap());
        assert!(include.starts_with(&to), "{flags}");
    }
}
