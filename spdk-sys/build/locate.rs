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

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// The archive that every SPDK with bdevs has; what `locate` recognises a library folder by.
const BDEV_ARCHIVE: &str = "libspdk_bdev.a";
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

/// Why there is no SPDK to use.
///
/// The text says what is missing where, why that is likely, and what to do next.
#[derive(Debug)]
pub(crate) enum LocateError {
    /// [`SPDK_DIR`] is not an absolute path; a build script does not run in the user's folder.
    Relative(PathBuf),
    /// [`SPDK_DIR`] names something that is not there or not a folder.
    NotADirectory(PathBuf),
    /// A source tree in which `make` has not (yet) run to its end.
    Unbuilt {
        /// Top of the tree.
        dir: PathBuf,
        /// Whether `./configure` has run.
        configured: bool,
    },
    /// Only shared libraries, in this folder; we link static ones.
    SharedOnly(PathBuf),
    /// Neither a build tree nor a prefix: files that such a thing has are not there.
    Missing {
        /// What [`SPDK_DIR`] said, or where pkg-config or the cache led.
        dir: PathBuf,
        /// What the folder looks like, if it looks like an SPDK at all.
        kind: Option<Kind>,
        /// Each missing file, and where it was looked for.
        missing: Vec<String>,
        /// A folder close by that would do.
        instead: Option<PathBuf>,
    },
    /// `spdk/version.h` has no such define.
    VersionHeader {
        /// The header.
        header: PathBuf,
        /// The define that it lacks.
        define: &'static str,
    },
    /// Older than [`FLOOR`].
    TooOld {
        /// Where it is.
        dir: PathBuf,
        /// What it is.
        version: Version,
    },
    /// No SPDK in any of the places.
    NotFound {
        /// Every place considered and what was found there.
        looked_at: Vec<(String, String)>,
    },
}

impl LocateError {
    /// One line for the table of places looked at.
    fn brief(&self) -> String {
        match self {
            Self::Relative(_) => "not an absolute path".into(),
            Self::NotADirectory(_) => "no such folder".into(),
            Self::Unbuilt { dir, .. } => format!("{}: a source tree, not built", dir.display()),
            Self::SharedOnly(dir) => format!("{}: shared libraries only", dir.display()),
            Self::Missing { missing, .. } => format!("missing: {}", missing.join(", ")),
            Self::VersionHeader { header, define } => {
                format!("{} does not define {define}", header.display())
            }
            Self::TooOld { dir, version } => {
                format!("{}: SPDK {version}, older than {FLOOR}", dir.display())
            }
            Self::NotFound { .. } => "nothing found".into(),
        }
    }
}

impl fmt::Display for LocateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relative(dir) => write!(
                f,
                "{SPDK_DIR}={} is a relative path, and build scripts do not run in your current folder.\n\
                 Set it to an absolute path.",
                dir.display()
            ),
            Self::NotADirectory(dir) => write!(
                f,
                "{SPDK_DIR}={} is not a folder (a typing mistake, or it was moved?).\n\
                 Set it to an SPDK build tree or install prefix, or unset it and run `cargo xtask spdk`.",
                dir.display()
            ),
            Self::Unbuilt {
                dir,
                configured: true,
            } => write!(
                f,
                "{dir} is an SPDK source tree that is configured but not built: {dir}/build/lib/{BDEV_ARCHIVE} is missing.\n\
                 Run `make -C {dir}` to its end and try again.",
                dir = dir.display()
            ),
            Self::Unbuilt {
                dir,
                configured: false,
            } => write!(
                f,
                "{dir} is an SPDK source tree that was never configured: {dir}/mk/config.mk is missing.\n\
                 Run `cd {dir} && git submodule update --init && ./configure && make` and try again.",
                dir = dir.display()
            ),
            Self::SharedOnly(dir) => write!(
                f,
                "{} has SPDK's shared libraries only ({BDEV_ARCHIVE} is missing), and we link the static ones:\n\
                 drivers register themselves in constructors, which must end up in your program.\n\
                 Build SPDK with static libraries too (they are its default), or run `cargo xtask spdk`.",
                dir.display()
            ),
            Self::Missing {
                dir,
                kind,
                missing,
                instead,
            } => {
                let what = match kind {
                    Some(Kind::BuildTree) => "looks like an SPDK build tree, but it lacks",
                    Some(Kind::Prefix) => "looks like an SPDK install prefix, but it lacks",
                    None => "is neither an SPDK build tree nor an install prefix; it lacks",
                };
                writeln!(f, "{} {what}:", dir.display())?;
                for file in missing {
                    writeln!(f, "  - {file}")?;
                }
                match (instead, kind) {
                    (Some(dir), _) => write!(f, "Did you mean {SPDK_DIR}={} ?", dir.display()),
                    (None, Some(Kind::BuildTree)) => {
                        write!(
                            f,
                            "Was `make` interrupted? Run it to its end, or run `cargo xtask spdk`."
                        )
                    }
                    (None, Some(Kind::Prefix)) => write!(
                        f,
                        "Was `make install` interrupted, or DPDK installed elsewhere? Install again, point {SPDK_DIR} to the\n\
                         build tree instead, or unset it and run `cargo xtask spdk`."
                    ),
                    (None, None) => write!(
                        f,
                        "Set {SPDK_DIR} to the top of a built source tree or to the prefix of `make install`,\n\
                         or unset it and run `cargo xtask spdk`."
                    ),
                }
            }
            Self::VersionHeader { header, define } => write!(
                f,
                "{} does not define {define}, so SPDK's version is unknown (a damaged or foreign header?).\n\
                 Install SPDK again, or run `cargo xtask spdk`.",
                header.display()
            ),
            Self::TooOld { dir, version } => write!(
                f,
                "{} is SPDK {version}, and the oldest that the bindings know is {FLOOR}.\n\
                 Use SPDK {FLOOR} to {CEILING}, or unset {SPDK_DIR} and run `cargo xtask spdk`.",
                dir.display()
            ),
            Self::NotFound { looked_at } => {
                writeln!(f, "no SPDK found. Looked at:")?;
                for (place, found) in looked_at {
                    writeln!(f, "  - {place}: {found}")?;
                }
                write!(
                    f,
                    "Two ways out:\n  \
                     - `cargo xtask spdk` builds one into the cache (about a minute or two; needs Debian's archive), or\n  \
                     - {SPDK_DIR}=/path/to/spdk, a build tree or an install prefix of SPDK {FLOOR} to {CEILING}."
                )
            }
        }
    }
}

impl std::error::Error for LocateError {}

/// Finds the SPDK to use.
///
/// # Errors
/// An [`SPDK_DIR`] that is set but unusable is an error, whatever else there is; a useless answer of
/// pkg-config or a broken prefix in the cache is noted in `looked_at` and passed over.
pub(crate) fn locate(var: &mut Var<'_>) -> Result<Spdk, LocateError> {
    let mut looked_at = Vec::new();
    if let Some(dir) = non_empty(var(SPDK_DIR)).map(PathBuf::from) {
        let (mut spdk, kind) = spdk_dir(&dir)?;
        spdk.origin = Origin::SpdkDir(dir.clone(), kind);
        spdk.looked_at = vec![(format!("{SPDK_DIR}={}", dir.display()), found(&spdk))];
        return Ok(spdk);
    }
    looked_at.push((SPDK_DIR.to_owned(), "not set".to_owned()));

    let place = "pkg-config spdk_bdev".to_owned();
    match pkg_config(var) {
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

/// What [`SPDK_DIR`] names, judged by what is in it.
fn spdk_dir(dir: &Path) -> Result<(Spdk, Kind), LocateError> {
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
fn build_tree(dir: &Path) -> Result<Spdk, LocateError> {
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
fn prefix(dir: &Path, libs: &[PathBuf], more: &[PathBuf]) -> Result<Spdk, LocateError> {
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

/// What pkg-config says about `spdk_bdev`, if the archive is really there.
fn pkg_config(var: &mut Var<'_>) -> Result<Spdk, String> {
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

    // `pcfiledir` answers even where a package that spdk_bdev.pc requires is not installed.
    let pc_dir = PathBuf::from(query(&["--variable=pcfiledir", "spdk_bdev"]).map_err(|e| {
        let unknown = e.contains("not found") || e.is_empty();
        if unknown {
            "no such package".to_owned()
        } else {
            e
        }
    })?);
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
        match prefix(&dir, &[dir.join("lib")], &[]) {
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

/// The folders below a prefix that may hold libraries.
fn prefix_lib_dirs(dir: &Path) -> Vec<PathBuf> {
    vec![
        dir.join("lib"),
        dir.join("lib64"),
        dir.join("lib").join(multiarch()),
    ]
}

/// Debian's name for this architecture, as in `/usr/lib/x86_64-linux-gnu`.
fn multiarch() -> String {
    format!("{}-linux-gnu", std::env::consts::ARCH)
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
    words
        .iter()
        .filter_map(|w| w.strip_prefix(flag))
        .map(PathBuf::from)
        .collect()
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
