//! The machine as set-up sees it: tests hand in another one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Variables that programs which fetch something need, and that say nothing about a build.
const PROXIES: [&str; 7] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

/// What set-up reads of the machine it runs on.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// The environment.
    pub(crate) env: BTreeMap<OsString, OsString>,
    /// Where programs are looked for, and `PATH` of the builds.
    pub(crate) path: Vec<PathBuf>,
    /// `/`: where headers, libraries and `etc` are looked for.
    pub(crate) root: PathBuf,
    /// Whether packages may be installed.
    pub(crate) is_root: bool,
    /// Bytes that must be free in the cache before an SPDK is built.
    pub(crate) build_space: u64,
}

impl Host {
    /// This machine.
    pub(crate) fn this() -> Self {
        let env: BTreeMap<_, _> = std::env::vars_os().collect();
        // The system's first: Debian's meson wants Debian's python, whatever shim the user's PATH starts with.
        let mut path: Vec<PathBuf> = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .map(PathBuf::from)
            .into();
        let own = env.get(OsStr::new("PATH")).map(std::env::split_paths);
        path.extend(own.into_iter().flatten().filter(|p| p.is_absolute()));
        Self {
            env,
            path,
            root: PathBuf::from("/"),
            is_root: rustix::process::geteuid().is_root(),
            // 280 MB at its peak, with the tarball and the lists.
            build_space: 400 << 20,
        }
    }

    /// A variable of the environment.
    pub(crate) fn var(&self, name: &str) -> Option<OsString> {
        self.env.get(OsStr::new(name)).cloned()
    }

    /// `/usr/include` and the like, below [`Host::root`].
    pub(crate) fn at(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// Where `name` would be run from.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        self.path
            .iter()
            .map(|dir| dir.join(name))
            .find(|p| is_executable(p))
    }

    /// A command whose environment holds nothing of the user's but the way to the network: what it
    /// builds must not depend on who runs it.
    pub(crate) fn clean_command(&self, name: &str, home: &Path) -> Command {
        let mut command = Command::new(self.program(name).unwrap_or_else(|| PathBuf::from(name)));
        let path = std::env::join_paths(&self.path).unwrap_or_default();
        command
            .env_clear()
            .env("PATH", path)
            .env("HOME", home)
            .env("LC_ALL", "C.UTF-8");
        command.envs(
            PROXIES
                .iter()
                .filter_map(|name| Some((name, self.var(name)?))),
        );
        command
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}
