//! `cargo xtask ci`: everything that must hold before a change is merged.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;

use crate::cargo::{self, cargo};
use crate::host::Host;
use crate::setup;

/// One thing that must hold.
struct Step {
    name: &'static str,
    command: Command,
}

impl Step {
    fn new(name: &'static str, args: &[&str]) -> Self {
        Self {
            name,
            command: cargo(args),
        }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }
}

fn steps() -> Vec<Step> {
    // Nothing may be found: neither by variable, nor by pkg-config, nor in a cache.
    let no_spdk = |step: Step| {
        let nowhere = "/nonexistent";
        step.env("SPDK_DIR", nowhere)
            .env("PKG_CONFIG_LIBDIR", nowhere)
            .env("PKG_CONFIG_PATH", nowhere)
            .env("XDG_CACHE_HOME", nowhere)
    };
    vec![
        Step::new("format", &["fmt", "--all", "--check"]),
        Step::new(
            "clippy",
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
        ),
        Step::new("rustdoc", &["doc", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
        // By the command of the README, which is this program again.
        Step::new("test", &["xtask", "test", "--no-fail-fast"]),
        no_spdk(Step::new(
            "spdk-exec's tests without an SPDK",
            &["test", "-p", "spdk-exec"],
        )),
        no_spdk(Step::new(
            "spdk-exec without std",
            &[
                "test",
                "-p",
                "spdk-exec",
                "--no-default-features",
                "--test",
                "unwinding",
            ],
        )),
        no_spdk(Step::new(
            "spdk-raid's pure parts without an SPDK",
            &["build", "-p", "spdk-raid", "--lib", "--no-default-features"],
        )),
        Step::new("loom", &["xtask", "loom"]),
        Step::new("fuzz", &["xtask", "fuzz", "--seconds", "10"]),
        Step::new("sanitizers", &["xtask", "sanitize"]),
        Step::new("demo", &["xtask", "demo", "--size", "8"]),
    ]
}

/// Runs every step, even after one has failed, and prints what became of each.
pub(crate) fn run(host: &Host) -> Result<ExitCode> {
    let began = Instant::now();
    let spdk = setup::ensure(host)?;
    println!("SPDK {}: {}", spdk.version, spdk.origin);
    let mut rows = vec![("set-up", true, began.elapsed())];
    for step in steps() {
        println!("\n=== {}: {}", step.name, cargo::line(&step.command));
        let began = Instant::now();
        let result = cargo::run(step.command);
        if let Err(e) = &result {
            eprintln!("{e:#}");
        }
        rows.push((step.name, result.is_ok(), began.elapsed()));
    }
    println!("\n{:<40} {:<7} seconds", "step", "result");
    for (name, passed, took) in &rows {
        println!(
            "{name:<40} {:<7} {:>7.1}",
            if *passed { "ok" } else { "FAILED" },
            took.as_secs_f64()
        );
    }
    Ok(match rows.iter().all(|(_, passed, _)| *passed) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
