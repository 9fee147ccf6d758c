//! Why an SPDK could not be built. Each text says what is wrong where, the likely cause, and what to do.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::locate::{SPDK_DIR, Version};
use crate::packages::PackageError;
use crate::run::RunError;

/// Why no SPDK was provided.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The recipe uses Debian's archive and apt.
    #[error(
        "this is not Debian ({found}), and `cargo xtask spdk` builds SPDK from Debian's archive.\n\
         Use an SPDK of your own: {SPDK_DIR}=/path/to/spdk (a build tree or an install prefix)."
    )]
    NotDebian {
        /// What `/etc/os-release` says, or that it is not there.
        found: String,
    },
    /// No archive of Debian's among the machine's apt sources.
    #[error(
        "no entry of Debian's main archive in {}/sources.list or {}/sources.list.d.\n\
         Its mirror is where SPDK's sources come from: add one (`deb <mirror> <suite> main`), or set {SPDK_DIR}.",
        .etc_apt.display(), .etc_apt.display()
    )]
    NoArchive {
        /// The folder that was read.
        etc_apt: PathBuf,
    },
    /// No suite could be reached at all.
    #[error(
        "no network: none of Debian's suites can be reached.\n{}\
         Check the connection (and http_proxy, if you need one), and try again; or set {SPDK_DIR} to an SPDK of your own.",
        list(.reasons)
    )]
    NoNetwork {
        /// Suite and mirror, and what apt-get said.
        reasons: Vec<(String, String)>,
    },
    /// Suites were reached, and none gave the sources.
    #[error(
        "no suite of Debian's gave the sources of SPDK {version}:\n{}\
         A mirror may lag behind: try again later or with another mirror in /etc/apt; or set {SPDK_DIR} to an SPDK of your own.",
        list(.reasons)
    )]
    NoSource {
        /// The version that was looked for.
        version: Version,
        /// Suite and mirror, and why not.
        reasons: Vec<(String, String)>,
    },
    /// The file system of the cache is too full.
    #[error(
        "too little disk space: building SPDK takes about {} MB in {}, and {} MB are free.\n\
         Make room, or set XDG_CACHE_HOME to a folder on another disk.",
        .needed >> 20, .dir.display(), .free >> 20
    )]
    NoSpace {
        /// The cache.
        dir: PathBuf,
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// There is no folder for a cache.
    #[error(
        "neither XDG_CACHE_HOME nor HOME is set to an absolute path: set one, SPDK is built into <cache>/spdk-sys."
    )]
    NoCache,
    /// Makefiles can't have spaces in paths.
    #[error(
        "SPDK's makefiles do not work in a path with spaces: {}.\nSet XDG_CACHE_HOME to a folder without.",
        .0.display()
    )]
    Spaces(PathBuf),
    /// A change to the sources does not apply.
    #[error(
        "{} has this text {found} times, not once:\n{find}\n\
         The sources are not those that the recipe was made for. Please report it; meanwhile set {SPDK_DIR} to an SPDK of your own.",
        .file.display()
    )]
    Substitution {
        /// The file.
        file: PathBuf,
        /// The text that should be there once.
        find: String,
        /// How often it is there.
        found: usize,
    },
    /// The build ended well and something is not there.
    #[error(
        "the build of SPDK went through, but {0}.\nPlease report it; meanwhile set {SPDK_DIR} to an SPDK of your own."
    )]
    Incomplete(String),
    /// System packages.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// A program of the build.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file or folder of the build.
    #[error("{what} {}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

fn list(reasons: &[(String, String)]) -> String {
    reasons
        .iter()
        .fold(String::new(), |mut text, (place, why)| {
            let _ = writeln!(text, "  - {place}: {why}");
            text
        })
}

/// Names the path in an I/O error.
pub(crate) trait Context<T> {
    /// `what` was tried with `path`.
    fn context(self, what: &'static str, path: &std::path::Path) -> Result<T, Error>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, what: &'static str, path: &std::path::Path) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            what,
            path: path.to_owned(),
            source,
        })
    }
}
