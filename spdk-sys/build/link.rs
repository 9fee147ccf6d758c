//! Which archives, in which order, and the lines that make every dependent crate link them.
//!
//! SPDK and DPDK register drivers, RPC methods and memory pools in constructors, and a linker leaves out an
//! archive member that nobody calls. So each archive is linked whole. `-bundle` keeps it out of our rlib, and
//! that is what lets the line reach bins, tests, benches and examples that have no build script of their own.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;

use crate::locate::Spdk;
use crate::pc::PackageDirs;

/// A part of SPDK that is linked on demand.
#[derive(Debug)]
pub(crate) struct Subsystem {
    /// The Cargo feature.
    pub(crate) feature: &'static str,
    /// The packages whose archives, with all that they require, the feature links.
    packages: &'static [&'static str],
    /// What to do about an SPDK that lacks the first of them.
    remedy: &'static str,
}

/// One row per feature of `spdk-sys`.
pub(crate) const SUBSYSTEMS: &[Subsystem] = &[
    bdev("bdev-malloc", &["spdk_bdev_malloc"]),
    bdev("bdev-error", &["spdk_bdev_error"]),
    bdev("bdev-delay", &["spdk_bdev_delay"]),
    bdev("bdev-null", &["spdk_bdev_null"]),
    bdev("bdev-passthru", &["spdk_bdev_passthru"]),
    bdev("bdev-raid", &["spdk_bdev_raid"]),
    bdev("bdev-aio", &["spdk_bdev_aio"]),
    bdev("bdev-lvol", &["spdk_bdev_lvol"]),
    // Sockets come with implementations of their own, of which `spdk_event_sock` names none.
    Subsystem {
        feature: "bdev-nvme",
        packages: &["spdk_bdev_nvme", "spdk_event_sock", "spdk_sock_posix"],
        remedy: LEFT_OUT,
    },
    Subsystem {
        feature: "nvmf",
        packages: &["spdk_event_nvmf", "spdk_sock_posix"],
        remedy: LEFT_OUT,
    },
    Subsystem {
        feature: "iscsi",
        packages: &["spdk_event_iscsi", "spdk_sock_posix"],
        remedy: LEFT_OUT,
    },
    Subsystem {
        feature: "nbd",
        packages: &["spdk_event_nbd"],
        remedy: LEFT_OUT,
    },
    Subsystem {
        feature: "ublk",
        packages: &["spdk_event_ublk"],
        remedy: "SPDK 22.09 and newer have it if they were configured with `--with-ublk`, which takes Linux and \
                 liburing. Name such an SPDK in SPDK_DIR, or leave the feature out.",
    },
];

const LEFT_OUT: &str = "Every SPDK can be built with it; the one of `cargo xtask spdk` is built without. Name another \
                        SPDK in SPDK_DIR, or leave the feature out.";

const fn bdev(feature: &'static str, packages: &'static [&'static str]) -> Subsystem {
    Subsystem {
        feature,
        packages,
        remedy: "Was SPDK configured without it? Configure it in, or leave the feature out.",
    }
}

/// What every program gets: the app framework with its bdev subsystem, and the DPDK environment.
const CORE: &[&str] = &["spdk_event", "spdk_event_bdev", "spdk_env_dpdk"];

/// Linked where the version at hand has them: RPC methods that a user of any SPDK program expects.
const CORE_IF_PRESENT: &[&str] = &[
    "spdk_bdev_rpc",
    "spdk_app_rpc",
    "spdk_log_rpc",
    "spdk_env_dpdk_rpc",
    "spdk_accel_error",
];

/// Packages that stand for "every module of a kind": not followed, or a feature would mean nothing (E-21).
fn is_aggregate(package: &str) -> bool {
    package.ends_with("_modules")
}

/// What to link.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    search: Vec<PathBuf>,
    /// Linked whole: constructors inside.
    whole: Vec<String>,
    /// Static, taken member by member: isa-l.
    on_demand: Vec<String>,
    /// Shared libraries of the system, after all archives.
    system: Vec<String>,
}

/// Follows the packages from the roots that `features` ask for.
pub(crate) fn plan(spdk: &Spdk, features: &[&str]) -> Result<Plan, Box<dyn Error>> {
    let packages = PackageDirs::new(&spdk.pkgconfig_dirs);
    let mut walk = Walk::new(spdk, &packages);
    for root in CORE {
        walk.visit(root, None)?;
    }
    for root in CORE_IF_PRESENT {
        if packages.read(root).is_some() {
            walk.visit(root, None)?;
        }
    }
    for subsystem in SUBSYSTEMS {
        if features.contains(&subsystem.feature) {
            for package in subsystem.packages {
                walk.visit(package, Some(subsystem))?;
            }
        }
    }
    // Listed by SPDK for all of its libraries together, not for each.
    walk.visit_words("spdk_syslibs")?;
    Ok(walk.finish())
}

struct Walk<'a> {
    spdk: &'a Spdk,
    packages: &'a PackageDirs,
    seen: BTreeSet<String>,
    plan: Plan,
}

impl<'a> Walk<'a> {
    fn new(spdk: &'a Spdk, packages: &'a PackageDirs) -> Self {
        let plan = Plan {
            search: spdk.lib_dirs.clone(),
            ..Plan::default()
        };
        Self {
            spdk,
            packages,
            seen: BTreeSet::new(),
            plan,
        }
    }

    fn visit(&mut self, name: &str, asked: Option<&Subsystem>) -> Result<(), Box<dyn Error>> {
        if is_aggregate(name) || !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let Some(package) = self.packages.read(name) else {
            let dirs: Vec<_> = self
                .spdk
                .pkgconfig_dirs
                .iter()
                .map(|dir| dir.display().to_string())
                .collect();
            let (needed_by, remedy) = match asked {
                None => (
                    "every program needs it".to_owned(),
                    "Was the whole of SPDK built and installed?",
                ),
                Some(it) => (format!("the feature `{}` needs it", it.feature), it.remedy),
            };
            return Err(format!(
                "SPDK {} has no {name}.pc in {} ({needed_by}).\n{remedy}",
                self.spdk.version,
                dirs.join(", ")
            )
            .into());
        };
        self.add_words(&package.libs);
        for required in &package.requires {
            self.visit(required, asked)?;
        }
        Ok(())
    }

    /// Adds the libraries of a package that other packages do not name.
    fn visit_words(&mut self, name: &str) -> Result<(), Box<dyn Error>> {
        if self.packages.read(name).is_some() {
            self.visit(name, None)?;
        }
        Ok(())
    }

    /// Sorts the words of a `Libs` line. A `-l` that has an archive beside SPDK's is ours; the others are the
    /// system's. An archive of DPDK's that is named and not there is left out: SPDK's list names libraries of
    /// several DPDK versions (E-23), and a truly missing symbol is the linker's to report.
    fn add_words(&mut self, words: &[String]) {
        for word in words {
            let Some(name) = library_name(word) else {
                continue;
            };
            if self.has_archive(name) {
                let list = if name.starts_with("isal") {
                    &mut self.plan.on_demand
                } else {
                    &mut self.plan.whole
                };
                push_once(list, name);
            } else if !name.starts_with("rte_") && !name.starts_with("spdk_") {
                push_once(&mut self.plan.system, name);
            }
        }
    }

    fn has_archive(&self, name: &str) -> bool {
        let file = format!("lib{name}.a");
        self.spdk
            .lib_dirs
            .iter()
            .any(|dir| dir.join(&file).is_file())
    }

    fn finish(self) -> Plan {
        self.plan
    }
}

/// The library that a word of a `Libs` line names: `-lx`, `-l:libx.a` or `/path/libx.a`.
fn library_name(word: &str) -> Option<&str> {
    if let Some(name) = word.strip_prefix("-l") {
        return Some(match name.strip_prefix(":lib") {
            Some(file) => file.trim_end_matches(".a").trim_end_matches(".so"),
            None => name,
        });
    }
    let file = word.rsplit('/').next()?;
    file.strip_prefix("lib")?.strip_suffix(".a")
}

fn push_once(list: &mut Vec<String>, name: &str) {
    if !list.iter().any(|have| have == name) {
        list.push(name.to_owned());
    }
}

/// Prints the plan for Cargo.
pub(crate) fn emit(plan: &Plan) {
    for dir in &plan.search {
        println!("cargo::rustc-link-search=native={}", dir.display());
    }
    for name in &plan.whole {
        println!("cargo::rustc-link-lib=static:+whole-archive,-bundle={name}");
    }
    for name in &plan.on_demand {
        println!("cargo::rustc-link-lib=static:-bundle={name}");
    }
    for name in &plan.system {
        println!("cargo::rustc-link-lib=dylib={name}");
    }
}
