//! What an SPDK looks like: a build tree or an install prefix, and the files that every use of it needs.

use std::path::{Path, PathBuf};

use super::{FLOOR, Kind, LocateError, Origin, Spdk, Version};

/// The archive that every SPDK with bdevs has; what `locate` recognises a library folder by.
pub(super) const BDEV_ARCHIVE: &str = "libspdk_bdev.a";
/// The archive that every DPDK has.
const EAL_ARCHIVE: &str = "librte_eal.a";
/// What a usable SPDK has besides [`BDEV_ARCHIVE`], in the same folder.
const NEEDED_ARCHIVES: [&str; 4] = [
    "libspdk_env_dpdk.a",
    "libspdk_thread.a",
    "libspdk_log.a",
    "libspdk_util.a",
];
const NEEDED_HEADERS: [&str; 3] = ["spdk/bdev.h", "spdk/config.h", "spdk/version.h"];

/// What `SPDK_DIR` names, judged by what is in it.
pub(super) fn spdk_dir(dir: &Path) -> Result<(Spdk, Kind), LocateError> {
    if !dir.is_absolute() {
        return Err(LocateError::Relative(dir.to_owned()));
    }
    if !dir.is_dir() {
        return Err(LocateError::NotADirectory(dir.to_owned()));
    }
    let (kind, result) = any_layout(dir);
    match result {
        Ok(spdk) => Ok((spdk, kind)),
        Err(LocateError::Missing {
            dir, kind, missing, ..
        }) => {
            // `<tree>/build`, `<prefix>/lib`, `<tree>/build/lib`, ...
            let usable = |up: &&Path| any_layout(up).1.is_ok();
            let instead = dir
                .ancestors()
                .skip(1)
                .take(2)
                .find(usable)
                .map(Path::to_owned);
            Err(LocateError::Missing {
                dir,
                kind,
                missing,
                instead,
            })
        }
        Err(other) => Err(other),
    }
}

/// `dir` as a build tree or as a prefix, whichever it looks like.
fn any_layout(dir: &Path) -> (Kind, Result<Spdk, LocateError>) {
    let build_lib = dir.join("build/lib");
    let is_source = dir.join("mk/spdk.common.mk").is_file() && dir.join("configure").is_file();
    if is_source || build_lib.join(BDEV_ARCHIVE).is_file() {
        return (Kind::BuildTree, build_tree(dir));
    }
    let libs: Vec<_> = prefix_lib_dirs(dir)
        .into_iter()
        .filter(|d| d.is_dir())
        .collect();
    (Kind::Prefix, prefix(dir, &libs, &[]))
}

/// A source tree after `make`.
pub(super) fn build_tree(dir: &Path) -> Result<Spdk, LocateError> {
    let build_lib = dir.join("build/lib");
    if !build_lib.join(BDEV_ARCHIVE).is_file() {
        return Err(if build_lib.join("libspdk_bdev.so").exists() {
            LocateError::SharedOnly(build_lib)
        } else {
            let configured = dir.join("mk/config.mk").is_file();
            LocateError::Unbuilt {
                dir: dir.to_owned(),
                configured,
            }
        });
    }
    // `configure --with-dpdk=..` uses a DPDK outside the tree; the one inside goes first, for a tree that was moved.
    let mut dpdk = vec![dir.join("dpdk/build/lib")];
    let config = std::fs::read_to_string(dir.join("mk/config.mk")).unwrap_or_default();
    for line in config.lines() {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        match name.trim_end_matches(['?', ':']) {
            _ if value.is_empty() => {}
            "CONFIG_DPDK_LIB_DIR" => dpdk.insert(1, PathBuf::from(value)),
            "CONFIG_DPDK_DIR" => dpdk.extend(prefix_lib_dirs(Path::new(value))),
            _ => {}
        }
    }
    let beside = ["isa-l/.libs", "isa-l-crypto/.libs"].map(|d| dir.join(d));
    let mut spdk = check(
        dir,
        Kind::BuildTree,
        dir.join("include"),
        &[build_lib],
        &dpdk,
        &beside,
    )?;
    spdk.source = Some(dir.to_owned());
    Ok(spdk)
}

/// Where `make install` or a package put SPDK. `more` are further folders that may hold DPDK.
pub(super) fn prefix(dir: &Path, libs: &[PathBuf], more: &[PathBuf]) -> Result<Spdk, LocateError> {
    let has = |name: &str| libs.iter().find(|d| d.join(name).exists());
    let Some(spdk_lib) = has(BDEV_ARCHIVE) else {
        if let Some(shared) = has("libspdk_bdev.so") {
            return Err(LocateError::SharedOnly(shared.clone()));
        }
        let mut missing = vec![
            format!(
                "lib/{BDEV_ARCHIVE} (nor in lib64, {}: an install prefix has it there)",
                multiarch()
            ),
            format!("build/lib/{BDEV_ARCHIVE} (a build tree has it there)"),
        ];
        let headers = NEEDED_HEADERS.iter().map(|h| format!("include/{h}"));
        missing.extend(headers.filter(|h| !dir.join(h).is_file()));
        return Err(LocateError::Missing {
            dir: dir.to_owned(),
            kind: None,
            missing,
            instead: None,
        });
    };
    let dpdk: Vec<_> = libs.iter().chain(more).cloned().collect();
    check(
        dir,
        Kind::Prefix,
        dir.join("include"),
        std::slice::from_ref(spdk_lib),
        &dpdk,
        &[],
    )
}

/// Checks the files that every use needs, and the version.
fn check(
    dir: &Path,
    kind: Kind,
    include: PathBuf,
    spdk_libs: &[PathBuf],
    dpdk_libs: &[PathBuf],
    more_libs: &[PathBuf],
) -> Result<Spdk, LocateError> {
    let mut missing = Vec::new();
    for header in NEEDED_HEADERS.map(|h| include.join(h)) {
        if !header.is_file() {
            missing.push(header.display().to_string());
        }
    }
    for lib in spdk_libs {
        let absent = NEEDED_ARCHIVES
            .iter()
            .map(|a| lib.join(a))
            .filter(|a| !a.is_file());
        missing.extend(absent.map(|a| a.display().to_string()));
    }
    let dpdk = dpdk_libs.iter().find(|d| d.join(EAL_ARCHIVE).is_file());
    if dpdk.is_none() {
        let places: Vec<_> = dpdk_libs.iter().map(|d| d.display().to_string()).collect();
        missing.push(format!("{EAL_ARCHIVE}, DPDK's (in {})", places.join(", ")));
    }
    if !missing.is_empty() {
        let dir = dir.to_owned();
        return Err(LocateError::Missing {
            dir,
            kind: Some(kind),
            missing,
            instead: None,
        });
    }

    let header = include.join("spdk/version.h");
    let text = std::fs::read(&header).unwrap_or_default();
    let version = match Version::parse_header(&String::from_utf8_lossy(&text)) {
        Ok(version) => version,
        Err(define) => return Err(LocateError::VersionHeader { header, define }),
    };
    if version < FLOOR {
        return Err(LocateError::TooOld {
            dir: dir.to_owned(),
            version,
        });
    }

    let mut lib_dirs: Vec<PathBuf> = Vec::new();
    for lib in spdk_libs.iter().chain(dpdk).chain(more_libs) {
        if lib.is_dir() && !lib_dirs.contains(lib) {
            lib_dirs.push(lib.clone());
        }
    }
    let pkgconfig_dirs = lib_dirs
        .iter()
        .map(|d| d.join("pkgconfig"))
        .filter(|d| d.is_dir())
        .collect();
    Ok(Spdk {
        origin: Origin::SpdkDir(dir.to_owned(), kind),
        version,
        include,
        lib_dirs,
        pkgconfig_dirs,
        source: None,
        looked_at: Vec::new(),
    })
}

/// The folders below a prefix that may hold libraries.
pub(super) fn prefix_lib_dirs(dir: &Path) -> Vec<PathBuf> {
    vec![
        dir.join("lib"),
        dir.join("lib64"),
        dir.join("lib").join(multiarch()),
    ]
}

/// Debian's name for this architecture, as in `/usr/lib/x86_64-linux-gnu`.
pub(super) fn multiarch() -> String {
    format!("{}-linux-gnu", std::env::consts::ARCH)
}
