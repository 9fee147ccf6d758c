//! What to tell a reader who has no usable SPDK.

use std::fmt;
use std::path::PathBuf;

use super::layout::BDEV_ARCHIVE;
use super::{CEILING, FLOOR, Kind, SPDK_DIR, Version};

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
    pub(super) fn brief(&self) -> String {
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
