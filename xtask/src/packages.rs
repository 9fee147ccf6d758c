//! System packages: which of the things that a step needs are missing, and how to get them.
//!
//! Looked for as files, not as package names: that is quick, it accepts a compiler or a libclang from
//! elsewhere, and it is right on systems that are not Debian.

use std::path::{Path, PathBuf};

use crate::host::Host;
use crate::locate::Spdk;
use crate::progress::Progress;
use crate::run::{Log, RunError};

/// What a package is needed for, in a form that can be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    Program(&'static str),
    Header(&'static str),
    Library(&'static str),
    /// bindgen loads it, and needs the headers that belong to it.
    LibClang,
    /// Python's `ensurepip`, without which `python3 -m venv` fails.
    EnsurePip,
}

/// A thing that must be there, and Debian's package with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    thing: Thing,
    package: &'static str,
}

const fn need(thing: Thing, package: &'static str) -> Need {
    Need { thing, package }
}

/// To compile and link anything, and to make the bindings.
const TO_USE: &[Need] = &[
    need(Thing::Program("cc"), "gcc"),
    need(Thing::Header("stdio.h"), "libc6-dev"),
    need(Thing::LibClang, "libclang-dev"),
];

/// To build SPDK 20.07 with its DPDK from Debian's archive.
const TO_BUILD: &[Need] = &[
    need(Thing::Program("make"), "make"),
    need(Thing::Program("meson"), "meson"),
    need(Thing::Program("ninja"), "ninja-build"),
    need(Thing::Program("python3"), "python3"),
    need(Thing::Program("pkg-config"), "pkg-config"),
    need(Thing::Program("tar"), "tar"),
    need(Thing::Program("xz"), "xz-utils"),
    need(Thing::Header("libaio.h"), "libaio-dev"),
    need(Thing::Header("numa.h"), "libnuma-dev"),
    need(Thing::Header("uuid/uuid.h"), "uuid-dev"),
];

/// Libraries that an SPDK may have been configured with: what its `spdk_syslibs.pc` lists.
const LIBRARIES: &[Need] = &[
    need(Thing::Library("aio"), "libaio-dev"),
    need(Thing::Library("archive"), "libarchive-dev"),
    need(Thing::Library("bsd"), "libbsd-dev"),
    need(Thing::Library("crypto"), "libssl-dev"),
    need(Thing::Library("fuse3"), "libfuse3-dev"),
    need(Thing::Library("ibverbs"), "libibverbs-dev"),
    need(Thing::Library("keyutils"), "libkeyutils-dev"),
    need(Thing::Library("numa"), "libnuma-dev"),
    need(Thing::Library("rdmacm"), "librdmacm-dev"),
    need(Thing::Library("ssl"), "libssl-dev"),
    need(Thing::Library("uring"), "liburing-dev"),
    need(Thing::Library("uuid"), "uuid-dev"),
    need(Thing::Library("z"), "zlib1g-dev"),
];

/// Why the packages could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackageError {
    /// Not root: the line to run, and what it is for.
    #[error(
        "these system packages are missing: {list}.\nRun this line, then try again:\n\n    {line}\n"
    )]
    Missing {
        /// The packages and what of them was looked for.
        list: String,
        /// The one line.
        line: String,
    },
    /// apt-get failed.
    #[error(transparent)]
    Install(#[from] RunError),
    /// apt-get is content, and still something is not there.
    #[error("apt-get installed {line}, and still these are not found: {list}")]
    StillMissing {
        /// What was installed.
        line: String,
        /// What is missing.
        list: String,
    },
    /// Nowhere to keep apt-get's log.
    #[error("no log can be written to {}", .path.display())]
    Log {
        /// Its place.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// To make a virtual environment of Python, with `pip` in it.
const TO_RUN_PYTHON: &[Need] = &[
    need(Thing::Program("python3"), "python3"),
    need(Thing::EnsurePip, "python3-venv"),
];

/// What a virtual environment of Python needs.
pub(crate) fn to_run_python() -> Vec<Need> {
    TO_RUN_PYTHON.to_vec()
}

/// What building an SPDK, and then using it, needs.
pub(crate) fn to_build() -> Vec<Need> {
    let mut all = TO_USE.to_vec();
    all.extend(TO_BUILD);
    all
}

/// What binding and linking this SPDK needs.
pub(crate) fn to_use(spdk: &Spdk) -> Vec<Need> {
    let mut all = TO_USE.to_vec();
    let listed = spdk.pkgconfig_dirs.iter().find_map(|dir| {
        let text = std::fs::read_to_string(dir.join("spdk_syslibs.pc")).ok()?;
        Some(
            text.split_whitespace()
                .filter_map(|w| w.strip_prefix("-l"))
                .map(String::from)
                .collect(),
        )
    });
    // SPDK without pkg-config files of its own (20.07, a bare `make`): what every SPDK is linked with.
    let listed: Vec<String> =
        listed.unwrap_or_else(|| ["aio", "crypto", "numa", "uuid"].map(String::from).into());
    let is_listed =
        |n: &&Need| matches!(n.thing, Thing::Library(name) if listed.iter().any(|l| l == name));
    all.extend(LIBRARIES.iter().filter(is_listed));
    all
}

/// Those of `needs` that this machine lacks.
pub(crate) fn missing(host: &Host, needs: &[Need]) -> Vec<Need> {
    needs
        .iter()
        .copied()
        .filter(|need| !is_there(host, need.thing))
        .collect()
}

/// The line that installs `needs`.
pub(crate) fn apt_line(needs: &[Need]) -> String {
    format!(
        "sudo apt-get install -y --no-install-recommends {}",
        package_names(needs).join(" ")
    )
}

/// Sees to it that everything in `needs` is there: installs what is missing if it may.
///
/// # Errors
/// Something is missing and could not be installed.
pub(crate) fn ensure(host: &Host, needs: &[Need]) -> Result<(), PackageError> {
    let lacking = missing(host, needs);
    if lacking.is_empty() {
        return Ok(());
    }
    if !host.is_root || host.program("apt-get").is_none() {
        return Err(PackageError::Missing {
            list: describe(&lacking),
            line: apt_line(&lacking),
        });
    }
    let path = std::env::temp_dir().join(format!("xtask-apt-{}.log", std::process::id()));
    install(host, &lacking, &path)?;
    let left = missing(host, &lacking);
    if left.is_empty() {
        let _ = std::fs::remove_file(path);
        return Ok(());
    }
    Err(PackageError::StillMissing {
        line: package_names(&lacking).join(" "),
        list: describe(&left),
    })
}

fn install(host: &Host, lacking: &[Need], log_path: &Path) -> Result<(), PackageError> {
    let mut log = Log::create(log_path, None).map_err(|source| PackageError::Log {
        path: log_path.to_owned(),
        source,
    })?;
    let mut progress = Progress::new(2);
    let apt_get = || {
        let mut apt = host.clean_command("apt-get", Path::new("/root"));
        apt.env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-q", "-o", "DPkg::Lock::Timeout=300"]);
        apt
    };
    progress.step(1, "reading the package lists (apt-get update)");
    // A third party's list that can't be had does not stop Debian's packages from being installed.
    let updated = log.run("apt-get update", apt_get().arg("update"), &mut |_| {
        progress.tick()
    });
    let names = package_names(lacking);
    progress.step(2, format!("installing {}", names.join(" ")));
    let mut command = apt_get();
    command
        .args(["install", "-y", "--no-install-recommends"])
        .args(&names);
    match log.run("apt-get install", &mut command, &mut |_| progress.tick()) {
        Ok(_) => progress.end(),
        Err(install) => return Err(updated.err().unwrap_or(install).into()),
    }
    Ok(())
}

fn package_names(needs: &[Need]) -> Vec<&'static str> {
    let mut names: Vec<_> = needs.iter().map(|n| n.package).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn describe(needs: &[Need]) -> String {
    let one = |n: &Need| match n.thing {
        Thing::Program(name) => format!("{} (for {name})", n.package),
        Thing::Header(name) => format!("{} (for <{name}>)", n.package),
        Thing::Library(name) => format!("{} (for -l{name})", n.package),
        Thing::LibClang => format!(
            "{} (for libclang and its headers, which bindgen uses)",
            n.package
        ),
        Thing::EnsurePip => format!("{} (for python3 -m venv)", n.package),
    };
    needs.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn is_there(host: &Host, thing: Thing) -> bool {
    let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
    match thing {
        Thing::Program(name) => host.program(name).is_some(),
        Thing::Header(name) => [
            "/usr/include".to_owned(),
            format!("/usr/include/{multiarch}"),
            "/usr/local/include".into(),
        ]
        .iter()
        .any(|dir| host.at(dir).join(name).is_file()),
        Thing::Library(name) => {
            library_dirs(&multiarch)
                .iter()
                .map(|dir| host.at(dir))
                .any(|dir| {
                    ["so", "a"]
                        .iter()
                        .any(|ext| dir.join(format!("lib{name}.{ext}")).exists())
                })
        }
        Thing::LibClang => {
            host.var("LIBCLANG_PATH").is_some_and(|v| !v.is_empty())
                || has_libclang(host, &multiarch)
        }
        Thing::EnsurePip => host.program("python3").is_some_and(|python| {
            let mut command = std::process::Command::new(python);
            command.args(["-c", "import ensurepip, venv"]);
            command.output().is_ok_and(|output| output.status.success())
        }),
    }
}

fn library_dirs(multiarch: &str) -> Vec<String> {
    let mut dirs: Vec<String> = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64"]
        .map(String::from)
        .into();
    dirs.extend([format!("/usr/lib/{multiarch}"), format!("/lib/{multiarch}")]);
    dirs
}

/// libclang, and `stddef.h` and the like, which are not part of the library.
fn has_libclang(host: &Host, multiarch: &str) -> bool {
    let mut libs: Vec<PathBuf> = library_dirs(multiarch)
        .iter()
        .map(|dir| host.at(dir))
        .collect();
    let llvms: Vec<_> = entries(&host.at("/usr/lib"))
        .filter(|(name, _)| name.starts_with("llvm-"))
        .collect();
    libs.extend(llvms.iter().map(|(_, dir)| dir.join("lib")));
    // libclang.so, libclang.so.1, libclang-14.so.1; not libclang-cpp.so.
    let is_libclang = |name: &str| match name.strip_prefix("libclang") {
        Some(rest) => rest.starts_with(".so") || rest.starts_with("-1") || rest.starts_with("-2"),
        None => false,
    };
    let library = libs
        .iter()
        .any(|dir| entries(dir).any(|(name, _)| is_libclang(&name)));
    let headers = libs.iter().any(|dir| {
        entries(&dir.join("clang")).any(|(_, version)| version.join("include/stddef.h").is_file())
    });
    library && headers
}

fn entries(dir: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| (e.file_name().to_string_lossy().into_owned(), e.path()))
}

#[cfg(test)]
mod tests;
