//! A machine made of a temporary folder, for tests.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::host::Host;

/// Headers and libraries that both an SPDK build and its use look for.
const FILES: [&str; 10] = [
    "usr/include/stdio.h",
    "usr/include/libaio.h",
    "usr/include/numa.h",
    "usr/include/uuid/uuid.h",
    "usr/lib/libaio.so",
    "usr/lib/libcrypto.so",
    "usr/lib/libnuma.so",
    "usr/lib/libuuid.so",
    "usr/lib/llvm-14/lib/libclang-14.so.1",
    "usr/lib/llvm-14/lib/clang/14.0.6/include/stddef.h",
];
const PROGRAMS: [&str; 8] = [
    "cc",
    "make",
    "meson",
    "ninja",
    "python3",
    "pkg-config",
    "tar",
    "xz",
];

/// A Debian with everything installed, no apt sources, no SPDK and an empty cache.
pub(crate) fn debian() -> (TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_owned();
    for file in FILES {
        put(&root.join(file), "");
    }
    put(
        &root.join("etc/os-release"),
        "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\n",
    );
    let bin = root.join("usr/bin");
    std::fs::create_dir_all(&bin).unwrap();
    for name in PROGRAMS {
        std::os::unix::fs::symlink("/bin/true", bin.join(name)).unwrap();
    }
    // The real one: what it says without a network is what we must understand.
    if Path::new("/usr/bin/apt-get").exists() {
        std::os::unix::fs::symlink("/usr/bin/apt-get", bin.join("apt-get")).unwrap();
    }
    let home = root.join("home");
    std::fs::create_dir_all(&home).unwrap();
    let env = [
        ("HOME", home.clone()),
        ("PKG_CONFIG_LIBDIR", home.join("no-packages")),
    ];
    let env = env
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let host = Host {
        env,
        path: vec![bin],
        root,
        is_root: false,
        build_space: 1,
    };
    (dir, host)
}

/// Sets a variable of `host`.
pub(crate) fn set(host: &mut Host, name: &str, value: impl AsRef<Path>) {
    host.env.insert(name.into(), value.as_ref().into());
}

/// Writes a file, and the folders to it.
pub(crate) fn put(file: &Path, text: &str) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
}

/// `spdk/version.h` of some version, as SPDK writes it.
pub(crate) fn version_header(major: u16, minor: u16, patch: u16) -> String {
    format!(
        "/** Patch level: SPDK_VERSION_PATCH 99 */\n#define SPDK_VERSION_MAJOR\t{major}\n\
         #define SPDK_VERSION_MINOR\t{minor}\n#define SPDK_VERSION_PATCH\t{patch}\n\
         #define SPDK_VERSION_MAJOR_STRING\tSPDK_VERSION_STRINGIFY(SPDK_VERSION_MAJOR)\n"
    )
}

/// The libraries that every usable SPDK has.
const ARCHIVES: [&str; 5] = ["bdev", "env_dpdk", "thread", "log", "util"];

/// An install prefix.
pub(crate) fn prefix(dir: &Path, lib: &str, version: (u16, u16, u16)) {
    headers(&dir.join("include/spdk"), version);
    for name in ARCHIVES {
        put(&dir.join(lib).join(format!("libspdk_{name}.a")), "");
    }
    put(&dir.join(lib).join("librte_eal.a"), "");
}

/// A source tree after `make`.
pub(crate) fn build_tree(dir: &Path, version: (u16, u16, u16)) {
    source_tree(dir);
    headers(&dir.join("include/spdk"), version);
    put(&dir.join("mk/config.mk"), "");
    for name in ARCHIVES {
        put(&dir.join(format!("build/lib/libspdk_{name}.a")), "");
    }
    put(&dir.join("dpdk/build/lib/librte_eal.a"), "");
}

/// A source tree as it is cloned.
pub(crate) fn source_tree(dir: &Path) {
    put(&dir.join("configure"), "");
    put(&dir.join("mk/spdk.common.mk"), "");
    put(&dir.join("include/spdk/bdev.h"), "");
}

fn headers(dir: &Path, (major, minor, patch): (u16, u16, u16)) {
    for name in ["bdev.h", "config.h"] {
        put(&dir.join(name), "");
    }
    put(&dir.join("version.h"), &version_header(major, minor, patch));
}

/// The cache of `host`.
pub(crate) fn cache(host: &Host) -> PathBuf {
    crate::locate::cache_root(&mut |name| host.var(name)).unwrap()
}
