//! What is built: SPDK 20.07 as Debian's `ceph` source package carries it. Constants, and the reasons for them.

use crate::locate::Version;

/// The Debian source package that carries SPDK under `src/spdk`.
pub(crate) const SOURCE_PACKAGE: &str = "ceph";
/// The SPDK in it that this recipe is for.
pub(crate) const VERSION: Version = Version {
    major: 20,
    minor: 7,
    patch: 0,
};
/// Counts up when anything here changes what is installed, so that an older prefix is built anew.
pub(crate) const REVISION: u32 = 1;
/// Where to look, best first. A suite's `.dsc` or tarball may be gone from a mirror while another's is there.
pub(crate) const SUITES: [&str; 4] = ["trixie", "forky", "sid", "bookworm"];

/// The folder of the prefix below the cache's root: `spdk-20.07-r1-x86_64`.
pub(crate) fn prefix_name() -> String {
    format!("spdk-{VERSION}-r{REVISION}-{}", std::env::consts::ARCH)
}

/// A library of SPDK: its folder in the sources, and `libspdk_<name>.a`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Library {
    pub(crate) dir: &'static str,
    pub(crate) name: &'static str,
}

const fn library(dir: &'static str, name: &'static str) -> Library {
    Library { dir, name }
}

/// What is built, no more. (Not `lib/iscsi`, which does not compile with glibc 2.36: it has an
/// `arc4random` of its own. Nothing below needs it.)
pub(crate) const LIBRARIES: &[Library] = &[
    library("lib/accel", "accel"),
    library("lib/bdev", "bdev"),
    library("lib/blob", "blob"),
    library("lib/conf", "conf"),
    library("lib/env_dpdk", "env_dpdk"),
    library("lib/event", "event"),
    library("lib/json", "json"),
    library("lib/jsonrpc", "jsonrpc"),
    library("lib/log", "log"),
    library("lib/log_rpc", "log_rpc"),
    library("lib/lvol", "lvol"),
    library("lib/notify", "notify"),
    library("lib/rpc", "rpc"),
    library("lib/sock", "sock"),
    library("lib/thread", "thread"),
    library("lib/trace", "trace"),
    library("lib/util", "util"),
    library("lib/vmd", "vmd"),
    library("module/bdev/aio", "bdev_aio"),
    library("module/bdev/delay", "bdev_delay"),
    library("module/bdev/error", "bdev_error"),
    library("module/bdev/gpt", "bdev_gpt"),
    library("module/bdev/lvol", "bdev_lvol"),
    library("module/bdev/malloc", "bdev_malloc"),
    library("module/bdev/null", "bdev_null"),
    library("module/bdev/passthru", "bdev_passthru"),
    library("module/bdev/raid", "bdev_raid"),
    library("module/bdev/rpc", "bdev_rpc"),
    library("module/bdev/split", "bdev_split"),
    library("module/bdev/zone_block", "bdev_zone_block"),
    library("module/blob/bdev", "blob_bdev"),
    library("module/env_dpdk", "env_dpdk_rpc"),
    library("module/event/rpc", "app_rpc"),
    library("module/event/subsystems/accel", "event_accel"),
    library("module/event/subsystems/bdev", "event_bdev"),
    library("module/event/subsystems/sock", "event_sock"),
    library("module/event/subsystems/vmd", "event_vmd"),
    library("module/sock/posix", "sock_posix"),
];

/// Options of SPDK's `configure`, after `--prefix` and `--target-arch`.
pub(crate) const CONFIGURE: &[&str] = &[
    "--disable-tests",
    "--disable-unit-tests",
    "--disable-examples",
    "--without-vhost",
    "--without-virtio",
    // It needs nasm and autotools, and the C paths do.
    "--without-isal",
];

/// Options of DPDK's meson, in place of those that SPDK passes. `machine` is the CPU, and `default` is
/// DPDK's baseline of the architecture (on x86 SSE 4.2, the least it builds for): a cache may be shared
/// between machines, so never `native`.
pub(crate) const MESON: &str =
    "-Denable_docs=false -Denable_kmods=false -Dtests=false -Dmachine=default";

/// SPDK's `--target-arch`, gcc's `-march`: the same baseline as [`MESON`]'s. Nehalem is what later
/// compilers call x86-64-v2, under the name that every compiler knows.
pub(crate) fn target_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "nehalem",
        // 'native' is how SPDK 20.07 spells "armv8-a+crc" there.
        "aarch64" => "native",
        "powerpc64" => "power8",
        _ => "native",
    }
}

/// A change to the sources: `find` is replaced, and must be there exactly once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Substitution {
    pub(crate) file: &'static str,
    pub(crate) find: &'static str,
    pub(crate) replace: &'static str,
    pub(crate) why: &'static str,
}

/// All that is changed in SPDK's sources.
pub(crate) const SUBSTITUTIONS: &[Substitution] = &[Substitution {
    file: "lib/env_dpdk/init.c",
    find: r#"
		args = push_arg(args, &argcount, strdup(opts->env_context));
		if (args == NULL) {
			return -1;
		}
"#,
    replace: r#"
		char *ptr = strdup(opts->env_context);
		char *tok = strtok(ptr, " \t");

		while (tok != NULL) {
			args = push_arg(args, &argcount, strdup(tok));
			if (args == NULL) {
				free(ptr);
				return -1;
			}
			tok = strtok(NULL, " \t");
		}
		free(ptr);
"#,
    why: "env_context becomes several arguments, split at spaces, as in SPDK 21.10 and later. 20.07 passes \
          it as one, so it can't hold both --no-huge and --legacy-mem, and without hugepages both are needed.",
}];
