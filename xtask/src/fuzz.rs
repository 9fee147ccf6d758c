//! `cargo xtask fuzz`: each fuzz target for a while, from its seeds.
//!
//! The seeds in `fuzz/seeds` are committed; what a run finds beyond them stays in `fuzz/corpus`, and an input that fails
//! in `fuzz/artifacts`, with the command that runs it again.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::cargo::{self, cargo, workspace};
use crate::checks::{has_nightly, on_nightly};

#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Which targets; all of them if none is named.
    targets: Vec<String>,
}

pub(crate) fn fuzz(options: &Fuzz) -> Result<()> {
    if !has_nightly() {
        println!(
            "fuzz: skipped, for there is no nightly toolchain (`rustup toolchain install nightly`)"
        );
        return Ok(());
    }
    let top = workspace();
    let all = targets(&top.join("fuzz"))?;
    if let Some(unknown) = options.targets.iter().find(|name| !all.contains(name)) {
        bail!(
            "there is no fuzz target {unknown:?}; there are: {}",
            all.join(", ")
        );
    }
    let chosen = if options.targets.is_empty() {
        &all
    } else {
        &options.targets
    };
    let cargo_fuzz = cargo_fuzz(&top)?;
    for target in chosen {
        let corpus = top.join("fuzz/corpus").join(target);
        std::fs::create_dir_all(&corpus)
            .with_context(|| format!("cannot make {}", corpus.display()))?;
        let mut command = Command::new(&cargo_fuzz);
        on_nightly(&mut command)
            .current_dir(top.join("fuzz"))
            .args(["run", target])
            .args([corpus, top.join("fuzz/seeds").join(target)])
            .arg("--")
            .arg(format!("-max_total_time={}", options.seconds))
            .args(["-print_final_stats=1", "-verbosity=0"]);
        report(target, options.seconds, &mut command)?;
    }
    Ok(())
}

/// Runs one target and says in a line what became of it; all that it printed if it failed.
fn report(target: &str, seconds: u64, command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", cargo::line(command)))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprintln!("{text}");
        bail!("fuzz target {target} found something, or did not run: see above");
    }
    let stat = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("?", str::trim)
    };
    println!(
        "fuzz: {target:<10} {:>9} inputs in {seconds} s, {} of them new; nothing found",
        stat("stat::number_of_executed_units:"),
        stat("stat::new_units_added:"),
    );
    Ok(())
}

/// The names of the targets: those of their files.
fn targets(fuzz: &Path) -> Result<Vec<String>> {
    let folder = fuzz.join("fuzz_targets");
    let mut names = Vec::new();
    for file in
        std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(
                path.file_stem()
                    .map(|name| name.to_string_lossy().into_owned()),
            );
        }
    }
    names.sort();
    Ok(names)
}

/// The program `cargo-fuzz`: the one in the PATH, or one of ours, installed below `target`.
fn cargo_fuzz(top: &Path) -> Result<OsString> {
    let is_there = |program: &Path| {
        Command::new(program)
            .arg("--version")
            .output()
            .is_ok_and(|out| out.status.success())
    };
    if is_there(Path::new("cargo-fuzz")) {
        return Ok("cargo-fuzz".into());
    }
    let root: PathBuf = top.join("target/tools");
    let program = root.join("bin/cargo-fuzz");
    if !is_there(&program) {
        println!("fuzz: installing cargo-fuzz into {}", root.display());
        let mut install = cargo([
            "install",
            "cargo-fuzz",
            "--locked",
            "--version",
            "^0.13",
            "--root",
        ]);
        install.arg(&root);
        cargo::run(install)?;
    }
    Ok(program.into())
}
