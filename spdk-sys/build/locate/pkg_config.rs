//! What pkg-config knows of an SPDK.
//!
//! Not by the `pkg-config` crate: it reads the environment itself, where ours comes from the caller.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::layout::{BDEV_ARCHIVE, build_tree, multiarch, prefix, prefix_lib_dirs};
use super::{LocateError, Origin, Spdk, Var, non_empty};

/// What pkg-config says about `spdk_bdev`, if the archive is really there.
pub(super) fn find(var: &mut Var<'_>) -> Result<Spdk, String> {
    let program = non_empty(var("PKG_CONFIG")).unwrap_or_else(|| "pkg-config".into());
    let mut command_env = Vec::new();
    for name in [
        "PKG_CONFIG_PATH",
        "PKG_CONFIG_LIBDIR",
        "PKG_CONFIG_SYSROOT_DIR",
    ] {
        command_env.push((name, var(name)));
    }
    let query = |args: &[&str]| -> Result<String, String> {
        let mut command = Command::new(&program);
        // Without these two it hides /usr/lib and /usr/include, and we want to know.
        command
            .env("PKG_CONFIG_ALLOW_SYSTEM_LIBS", "1")
            .env("PKG_CONFIG_ALLOW_SYSTEM_CFLAGS", "1");
        for (name, value) in &command_env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let out = command.args(args).output().map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                format!("{} is not installed", Path::new(&program).display())
            }
            _ => format!("{} could not be run: {e}", Path::new(&program).display()),
        })?;
        match out.status.success() {
            true => Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&out.stderr).trim().to_owned()),
        }
    };

    let pc_dir =
        query(&["--print-errors", "--variable=pcfiledir", "spdk_bdev"]).map_err(|said| {
            let unknown = said.is_empty() || said.contains("Package spdk_bdev was not found");
            let last = said.lines().last().unwrap_or_default();
            if unknown {
                "no such package".to_owned()
            } else {
                last.to_owned()
            }
        })?;
    // pkgconf escapes spaces, the older pkg-config does not.
    let pc_dir = PathBuf::from(pc_dir.replace("\\ ", " "));
    let flags = |args: &[&str], flag| paths_after(&query(args).unwrap_or_default(), flag);
    let mut libs = flags(&["--libs-only-L", "spdk_bdev"], "-L");
    libs.extend(pc_dir.parent().map(Path::to_owned));
    let Some(lib) = libs.iter().find(|d| d.join(BDEV_ARCHIVE).is_file()) else {
        let shared = libs.iter().find(|d| d.join("libspdk_bdev.so").exists());
        return Err(match shared {
            Some(dir) => LocateError::SharedOnly(dir.clone()).brief(),
            None => format!(
                "{} names a package whose {BDEV_ARCHIVE} is not there",
                pc_dir.display()
            ),
        });
    };

    let tree = lib
        .ends_with("build/lib")
        .then(|| lib.ancestors().nth(2))
        .flatten();
    if let Some(tree) = tree.filter(|t| t.join("mk/spdk.common.mk").is_file()) {
        let spdk = build_tree(tree).map_err(|e| e.brief())?;
        return Ok(Spdk {
            origin: Origin::PkgConfig(tree.to_owned()),
            ..spdk
        });
    }

    let mut dpdk = flags(&["--libs-only-L", "spdk_dpdklibs"], "-L");
    dpdk.extend(flags(&["--static", "--libs-only-L", "libdpdk"], "-L"));
    // <prefix>/lib, <prefix>/lib64, <prefix>/lib/<multiarch>
    let up = if lib.ends_with(format!("lib/{}", multiarch())) {
        2
    } else {
        1
    };
    let dir = lib.ancestors().nth(up).unwrap_or(lib).to_owned();
    let mut all_libs = vec![lib.clone()];
    all_libs.extend(
        prefix_lib_dirs(&dir)
            .into_iter()
            .filter(|d| d.is_dir() && d != lib),
    );
    let mut spdk = prefix(&dir, &all_libs, &dpdk).map_err(|e| e.brief())?;
    if !spdk.pkgconfig_dirs.contains(&pc_dir) {
        spdk.pkgconfig_dirs.insert(0, pc_dir);
    }
    spdk.origin = Origin::PkgConfig(dir);
    Ok(spdk)
}

/// The paths in pkg-config's answer, which escapes spaces with a backslash.
fn paths_after(flags: &str, flag: &str) -> Vec<PathBuf> {
    let mut words = vec![String::new()];
    let mut chars = flags.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => words.last_mut().expect("never empty").extend(chars.next()),
            c if c.is_whitespace() => words.push(String::new()),
            c => words.last_mut().expect("never empty").push(c),
        }
    }
    // `${pcfiledir}/../..` in a file that finds itself.
    let plain = |path: &str| std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    words
        .iter()
        .filter_map(|w| w.strip_prefix(flag))
        .map(plain)
        .collect()
}
