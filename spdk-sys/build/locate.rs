//! Which SPDK do we use? The one answer, for the build script of `spdk-sys` and for `cargo xtask`.
//!
//! Compiled into both programs, so it uses nothing but `std`, prints nothing, and reads variables only
//! through a closure of the caller (the build script's emits `rerun-if-env-changed`).
//!
//! ```text
//! SPDK_DIR set? --yes--> build tree or prefix, and nothing else is looked at
//!      | no
//! pkg-config spdk_bdev --usable--> that one
//!      | no
//! cache, newest complete prefix --any--> that one
//!      | none
//! LocateError::NotFound, with every place and what was found there
//! ```
#![allow(
    dead_code,
    reason = "compiled into two programs, and neither uses all of it"
)]

#[path = "locate/error.rs"]
mod error;
#[path = "locate/layout.rs"]
mod layout;
#[path = "locate/pkg_config.rs"]
mod pkg_config;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

pub(crate) use error::LocateError;

/// The variable that names an SPDK of the user's own.
pub(crate) const SPDK_DIR: &str = "SPDK_DIR";
/// The oldest SPDK that the bindings know.
pub(crate) const FLOOR: Version = Version {
    major: 20,
    minor: 7,
    patch: 0,
};
/// The newest SPDK that the bindings were tried on, with all its patch releases.
pub(crate) const CEILING: Version = Version {
    major: 26,
    minor: 5,
    patch: 0,
};
/// The file that an installer into the cache writes last; a prefix without it was interrupted.
pub(crate) const COMPLETE_MARKER: &str = ".complete";

/// Reads one variable of the environment.
pub(crate) type Var<'a> = dyn FnMut(&str) -> Option<OsString> + 'a;

/// A version as SPDK counts them: 20.07 is `{ major: 20, minor: 7, patch: 0 }`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Version {
    /// Year of the release, minus 2000.
    pub(crate) major: u16,
    /// Month of the release.
    pub(crate) minor: u16,
    /// Maintenance release, 0 for the first.
    pub(crate) patch: u16,
}

impl Version {
    /// Reads the version out of the text of `spdk/version.h`; the error is the define that is missing.
    pub(crate) fn parse_header(text: &str) -> Result<Self, &'static str> {
        let define = |name: &'static str| {
            let value = text.lines().find_map(|line| {
                // `#define NAME 7`, `# define NAME 7 /* .. */`: a name is a whole word.
                let mut words = line.trim_start().strip_prefix('#')?.split_whitespace();
                (words.next()? == "define" && words.next()? == name).then(|| words.next())?
            });
            let digits = |v: &str| {
                v.chars()
                    .take_while(char::is_ascii_digit)
                    .collect::<String>()
            };
            value.and_then(|v| digits(v).parse().ok()).ok_or(name)
        };
        Ok(Self {
            major: define("SPDK_VERSION_MAJOR")?,
            minor: define("SPDK_VERSION_MINOR")?,
            patch: define("SPDK_VERSION_PATCH")?,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.major, self.minor)?;
        if self.patch != 0 {
            write!(f, ".{}", self.patch)?;
        }
        Ok(())
    }
}

/// What a folder with an SPDK is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A source tree after `make`.
    BuildTree,
    /// Where `make install` (or a package) put it.
    Prefix,
}

/// Who told us where the SPDK is.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// The variable [`SPDK_DIR`].
    SpdkDir(PathBuf, Kind),
    /// pkg-config; the prefix (or build tree) that its `spdk_bdev` is in.
    PkgConfig(PathBuf),
    /// A prefix in the cache, built by `cargo xtask spdk`.
    Cache(PathBuf),
}

impl Origin {
    /// The folder that the SPDK is in.
    pub(crate) fn dir(&self) -> &Path {
        match self {
            Self::SpdkDir(dir, _) | Self::PkgConfig(dir) | Self::Cache(dir) => dir,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dir = self.dir().display();
        match self {
            Self::SpdkDir(_, Kind::BuildTree) => write!(f, "build tree {dir} (from {SPDK_DIR})"),
            Self::SpdkDir(_, Kind::Prefix) => write!(f, "prefix {dir} (from {SPDK_DIR})"),
            Self::PkgConfig(_) => write!(f, "{dir} (from pkg-config)"),
            Self::Cache(_) => write!(f, "{dir} (built by `cargo xtask spdk`)"),
        }
    }
}

/// An SPDK that can be bound and linked.
#[derive(Debug, Clone)]
pub(crate) struct Spdk {
    /// Who told us.
    pub(crate) origin: Origin,
    /// What `spdk/version.h` says.
    pub(crate) version: Version,
    /// The folder that has `spdk/bdev.h`.
    pub(crate) include: PathBuf,
    /// Where `libspdk_*.a`, `librte_*.a` and `libisal*.a` live, in search order.
    pub(crate) lib_dirs: Vec<PathBuf>,
    /// Where `spdk_*.pc` and `libdpdk.pc` live.
    pub(crate) pkgconfig_dirs: Vec<PathBuf>,
    /// Top of the source tree (for private headers), if this is a build tree.
    pub(crate) source: Option<PathBuf>,
    /// Every place considered and what was found there.
    pub(crate) looked_at: Vec<(String, String)>,
}

impl Spdk {
    /// Whether this SPDK is newer than any that the bindings were tried on; the caller warns.
    pub(crate) fn above_ceiling(&self) -> bool {
        (self.version.major, self.version.minor) > (CEILING.major, CEILING.minor)
    }
}

/// Finds the SPDK to use.
///
/// # Errors
/// An [`SPDK_DIR`] that is set but unusable is an error, whatever else there is; a useless answer of
/// pkg-config or a broken prefix in the cache is noted in `looked_at` and passed over.
pub(crate) fn locate(var: &mut Var<'_>) -> Result<Spdk, LocateError> {
    let mut looked_at = Vec::new();
    if let Some(dir) = non_empty(var(SPDK_DIR)).map(PathBuf::from) {
        let (mut spdk, kind) = layout::spdk_dir(&dir)?;
        spdk.origin = Origin::SpdkDir(dir.clone(), kind);
        spdk.looked_at = vec![(format!("{SPDK_DIR}={}", dir.display()), found(&spdk))];
        return Ok(spdk);
    }
    looked_at.push((SPDK_DIR.to_owned(), "not set".to_owned()));

    let place = "pkg-config spdk_bdev".to_owned();
    match pkg_config::find(var) {
        Ok(spdk) => {
            looked_at.push((place, found(&spdk)));
            return Ok(Spdk { looked_at, ..spdk });
        }
        Err(why) => looked_at.push((place, why)),
    }

    let Some(root) = cache_root(var) else {
        looked_at.push((
            "cache".to_owned(),
            "neither XDG_CACHE_HOME nor HOME is set".to_owned(),
        ));
        return Err(LocateError::NotFound { looked_at });
    };
    match newest_in_cache(&root, &mut looked_at) {
        Some(spdk) => Ok(Spdk { looked_at, ..spdk }),
        None => Err(LocateError::NotFound { looked_at }),
    }
}

/// The folder that `cargo xtask spdk` installs below: `${XDG_CACHE_HOME:-$HOME/.cache}/spdk-sys`.
pub(crate) fn cache_root(var: &mut Var<'_>) -> Option<PathBuf> {
    // The XDG specification: a relative path is to be ignored.
    let absolute = |v: Option<OsString>| v.map(PathBuf::from).filter(|p| p.is_absolute());
    let cache = absolute(var("XDG_CACHE_HOME"))
        .or_else(|| absolute(var("HOME")).map(|home| home.join(".cache")))?;
    Some(cache.join("spdk-sys"))
}

/// The newest complete prefix for this machine's architecture below `root`.
fn newest_in_cache(root: &Path, looked_at: &mut Vec<(String, String)>) -> Option<Spdk> {
    let suffix = format!("-{}", std::env::consts::ARCH);
    let is_ours = |name: &OsStr| {
        let name = name.to_string_lossy();
        name.starts_with("spdk-") && name.ends_with(&suffix)
    };
    let mut prefixes: Vec<PathBuf> = match std::fs::read_dir(root) {
        Ok(entries) => entries.filter_map(|e| Some(e.ok()?.path())).collect(),
        Err(_) => Vec::new(),
    };
    prefixes.retain(|p| p.file_name().is_some_and(is_ours));
    // `spdk-<version>-<revision>-<arch>`: the highest name is the newest recipe of the newest SPDK.
    prefixes.sort_by_cached_key(|p| p.file_name().map(|n| number_aware(&n.to_string_lossy())));

    let mut best: Option<Spdk> = None;
    for dir in prefixes {
        let place = format!("cache {}", dir.display());
        if !dir.join(COMPLETE_MARKER).is_file() {
            looked_at.push((place, "incomplete (interrupted?)".to_owned()));
            continue;
        }
        match layout::prefix(&dir, &[dir.join("lib")], &[]) {
            Ok(spdk) => {
                looked_at.push((place, found(&spdk)));
                if best.as_ref().is_none_or(|b| b.version <= spdk.version) {
                    best = Some(Spdk {
                        origin: Origin::Cache(dir),
                        ..spdk
                    });
                }
            }
            Err(e) => looked_at.push((place, e.brief())),
        }
    }
    if looked_at
        .iter()
        .all(|(place, _)| !place.starts_with("cache "))
    {
        looked_at.push((format!("cache {}", root.display()), "empty".to_owned()));
    }
    best
}

/// Splits digits from text, so that `-r10` sorts after `-r9`.
fn number_aware(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (word, tail) = rest.split_at(text);
        let digits = tail
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (number, tail) = tail.split_at(digits);
        parts.push((word.to_owned(), number.parse().unwrap_or(0)));
        rest = tail;
    }
    parts
}

fn found(spdk: &Spdk) -> String {
    let newer = if spdk.above_ceiling() {
        ", newer than any tried"
    } else {
        ""
    };
    format!("SPDK {}{newer}", spdk.version)
}

fn non_empty(value: Option<OsString>) -> Option<OsString> {
    value.filter(|v| !v.is_empty())
}
