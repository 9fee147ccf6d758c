//! Builds DPDK and the libraries of the recipe, by SPDK's own makefiles.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::error::{Context, Error};
use super::recipe::{self, LIBRARIES};
use crate::host::Host;
use crate::progress::Progress;
use crate::run::Log;

/// What SPDK's makefiles say about what they built.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Which libraries of SPDK's each library needs.
    pub(crate) requires: BTreeMap<String, Vec<String>>,
    /// The libraries of DPDK's that are linked, such as `rte_eal`.
    pub(crate) dpdk: Vec<String>,
    /// The system's libraries, such as `numa`.
    pub(crate) system: Vec<String>,
}

/// Makes every library of the recipe at once: each has a makefile of its own, which needs none of the
/// others. (SPDK's lists of folders also have what we can't or don't build.)
const LIBRARIES_MK: &str = "\
.PHONY: all $(LIBRARIES)
all: $(LIBRARIES)
$(LIBRARIES):
\t@+$(MAKE) -C $(TREE)/$@ S=$@
";

/// Prints SPDK's own knowledge: who needs whom, and what to link with.
const FACTS_MK: &str = "\
SPDK_ROOT_DIR := $(TREE)
include $(TREE)/mk/spdk.common.mk
include $(TREE)/mk/spdk.lib_deps.mk
include $(TREE)/mk/spdk.modules.mk
$(foreach lib,$(LIBRARIES),$(info requires $(lib) $(DEPDIRS-$(lib))))
$(info dpdk $(DPDK_LIB_LIST))
$(info system $(patsubst -l%,%,$(filter -l%,$(SYS_LIBS) $(ENV_LINKER_ARGS))))
.PHONY: all
all: ; @:
";

/// Builds in the tree, which is configured first.
pub(crate) fn build(
    host: &Host,
    tree: &Path,
    log: &mut Log,
    progress: &mut Progress,
) -> Result<Facts, Error> {
    progress.step(3, "configuring SPDK");
    let mut configure = clean(host, tree, "bash");
    configure.arg("./configure").args(recipe::CONFIGURE);
    configure.arg(format!("--target-arch={}", recipe::target_arch()));
    // It asks both compilers for their names, and compiles no C++.
    configure.env("CC", "cc").env("CXX", "cc");
    log.run("configuring SPDK", &mut configure, &mut |_| progress.tick())?;
    let mut headers = make(host, tree);
    headers.args(["include/spdk/config.h", "build_dir"]);
    log.run("configuring SPDK", &mut headers, &mut |_| progress.tick())?;

    let jobs = std::thread::available_parallelism().map_or(2, usize::from);
    progress.step(4, "building DPDK");
    let mut dpdk = make(host, tree);
    dpdk.arg("-C").arg(tree.join("dpdkbuild"));
    // It would ask `ps` for make's jobs otherwise.
    dpdk.arg(format!("DPDK_OPTS={}", recipe::MESON))
        .arg(format!("MAKE_NUMJOBS=-j{jobs}"));
    log.run(
        "building DPDK",
        &mut dpdk,
        &mut |new| match new.lines().rev().find_map(ninja_count) {
            Some(count) => progress.count(count),
            None => progress.tick(),
        },
    )?;

    progress.step(5, "building SPDK");
    let makefile = tree.join("libraries.mk");
    std::fs::write(&makefile, LIBRARIES_MK).context("cannot write", &makefile)?;
    let dirs: Vec<_> = LIBRARIES.iter().map(|l| l.dir).collect();
    let libraries = || {
        let mut make = make(host, tree);
        make.arg("-f")
            .arg(&makefile)
            .arg(format!("LIBRARIES={}", dirs.join(" ")));
        make.arg(format!("TREE={}", tree.display()));
        make
    };
    let plan = log.run(
        "planning the build of SPDK",
        libraries().arg("-n"),
        &mut |_| progress.tick(),
    )?;
    let total = plan.matches("echo \"  CC ").count();
    let mut done = 0;
    log.run(
        "building SPDK",
        libraries().arg(format!("-j{jobs}")),
        &mut |new| {
            done += new.lines().filter(|line| line.starts_with("  CC ")).count();
            progress.count(format!("{done}/{total}"));
        },
    )?;

    let facts = facts(host, tree, log)?;
    check(tree, &facts)?;
    Ok(facts)
}

fn facts(host: &Host, tree: &Path, log: &mut Log) -> Result<Facts, Error> {
    let makefile = tree.join("facts.mk");
    std::fs::write(&makefile, FACTS_MK).context("cannot write", &makefile)?;
    let names: Vec<_> = LIBRARIES.iter().map(|l| l.name).collect();
    let mut ask = make(host, tree);
    ask.arg("-s")
        .arg("-f")
        .arg(&makefile)
        .arg(format!("LIBRARIES={}", names.join(" ")));
    ask.arg(format!("TREE={}", tree.display()));
    let text = log.run("asking SPDK's makefiles", &mut ask, &mut |_| {})?;
    Ok(parse_facts(&text))
}

fn parse_facts(text: &str) -> Facts {
    let mut facts = Facts::default();
    for line in text.lines() {
        let mut words = line.split_whitespace().map(String::from);
        match words.next().as_deref() {
            Some("requires") => {
                let Some(library) = words.next() else {
                    continue;
                };
                facts.requires.insert(library, unique(words));
            }
            Some("dpdk") => facts.dpdk = unique(words),
            Some("system") => facts.system = unique(words),
            _ => {}
        }
    }
    facts
}

fn unique(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for word in words {
        if !all.contains(&word) {
            all.push(word);
        }
    }
    all
}

/// The archives are there, and nobody needs a library that is not built.
fn check(tree: &Path, facts: &Facts) -> Result<(), Error> {
    let there = |file: std::path::PathBuf| match file.is_file() {
        true => Ok(()),
        false => Err(Error::Incomplete(format!(
            "{} is not there",
            file.display()
        ))),
    };
    for library in LIBRARIES {
        there(tree.join(format!("build/lib/libspdk_{}.a", library.name)))?;
    }
    for name in &facts.dpdk {
        there(tree.join(format!("dpdk/build/lib/lib{name}.a")))?;
    }
    for (library, requires) in &facts.requires {
        if let Some(absent) = requires.iter().find(|r| !facts.requires.contains_key(*r)) {
            return Err(Error::Incomplete(format!(
                "{library} needs {absent}, which is not built"
            )));
        }
    }
    for (what, list) in [("DPDK's", &facts.dpdk), ("the system's", &facts.system)] {
        if list.is_empty() {
            return Err(Error::Incomplete(format!(
                "its makefiles name none of {what} libraries"
            )));
        }
    }
    Ok(())
}

fn make(host: &Host, tree: &Path) -> Command {
    clean(host, tree, "make")
}

fn clean(host: &Host, tree: &Path, program: &str) -> Command {
    let mut command = host.clean_command(program, tree);
    // The commit of a repository that the cache happens to be in is no business of SPDK's.
    command
        .current_dir(tree)
        .env("GIT_DIR", tree.join("no-git"));
    command
}

/// `[57/231] Compiling ...` is "57/231".
fn ninja_count(line: &str) -> Option<String> {
    let (count, _) = line.strip_prefix('[')?.split_once(']')?;
    let (done, of) = count.split_once('/')?;
    let number = |s: &str| s.trim().parse::<u32>().ok();
    Some(format!("{}/{}", number(done)?, number(of)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ninja_lines_count_and_others_do_not() {
        assert_eq!(
            ninja_count("[57/231] Compiling C object x.o").as_deref(),
            Some("57/231")
        );
        assert_eq!(ninja_count("[ 1/9] x").as_deref(), Some("1/9"));
        assert_eq!(ninja_count("[warning/deprecated] x"), None);
        assert_eq!(ninja_count("57/231"), None);
    }

    #[test]
    fn the_makefiles_answer_is_read() {
        let facts = parse_facts(
            "requires log \nrequires util log log\ndpdk rte_eal rte_ring\nsystem rt numa rt\nnoise\n",
        );
        assert_eq!(facts.requires["log"], Vec::<String>::new());
        assert_eq!(facts.requires["util"], ["log"]);
        assert_eq!(facts.dpdk, ["rte_eal", "rte_ring"]);
        assert_eq!(facts.system, ["rt", "numa"]);
    }

    #[test]
    fn a_library_that_needs_one_that_is_not_built_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["build/lib", "dpdk/build/lib"] {
            std::fs::create_dir_all(dir.path().join(sub)).unwrap();
        }
        for library in LIBRARIES {
            std::fs::write(
                dir.path()
                    .join(format!("build/lib/libspdk_{}.a", library.name)),
                "",
            )
            .unwrap();
        }
        std::fs::write(dir.path().join("dpdk/build/lib/librte_eal.a"), "").unwrap();
        let mut facts = parse_facts("requires log\nrequires bdev log\ndpdk rte_eal\nsystem rt\n");
        check(dir.path(), &facts).unwrap();
        facts
            .requires
            .insert("vhost".to_owned(), vec!["scsi".to_owned()]);
        let error = check(dir.path(), &facts).unwrap_err().to_string();
        assert!(error.contains("vhost needs scsi"), "{error}");
        facts.requires.remove("vhost");
        std::fs::remove_file(dir.path().join("build/lib/libspdk_bdev.a")).unwrap();
        let error = check(dir.path(), &facts).unwrap_err().to_string();
        assert!(error.contains("libspdk_bdev.a is not there"), "{error}");
    }
}
