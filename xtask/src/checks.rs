//! `cargo xtask loom` and `cargo xtask sanitize`: the code under tools that see what tests do not.
//!
//! Each builds into a target folder of its own; `spdk-exec` alone needs no SPDK.

use std::process::Command;

use anyhow::{Result, bail};

use crate::cargo::{self, cargo, workspace};

/// The test programs that run under a sanitizer. The others start compilers or count what a sanitizer changes.
const SANITIZED: &[&str] = &[
    "--test=threads",
    "--test=order",
    "--test=timers",
    "--test=borrowed",
    "--test=panics",
];

/// The test programs of `spdk-safe` that run under AddressSanitizer: those that let go of things at the worst moment.
const STORM: &[&str] = &["--test=storm", "--test=io_reentry", "--test=io_moments"];

/// Those of `spdk-bdevs`: random I/O over bdevs of ours, and one that lets go of what waits.
const BDEVS: &[&str] = &["--test=property", "--test=ramdisk"];

/// Of `spdk-exec`: `async` block devices, whose futures lie in memory that SPDK uses again.
const DEVICES: &[&str] = &["--features=_spdk-test", "--test=spdk_device"];

/// Every interleaving of what crosses threads, up to a bound.
pub(crate) fn loom() -> Result<()> {
    let mut command = cargo(["test", "--package=spdk-exec", "--lib", "--release", "loom"]);
    command
        .env("RUSTFLAGS", "--cfg loom")
        .env("LOOM_MAX_PREEMPTIONS", "3")
        .env("LOOM_MAX_BRANCHES", "20000")
        .env("CARGO_TARGET_DIR", workspace().join("target/loom"));
    cargo::run(command)
}

/// ThreadSanitizer and AddressSanitizer, on the nightly toolchain; without one it says so and passes.
pub(crate) fn sanitize() -> Result<()> {
    if !has_nightly() {
        println!(
            "sanitizers: skipped, for there is no nightly toolchain (`rustup toolchain install nightly`)"
        );
        return Ok(());
    }
    cargo::run(sanitizer("thread", SANITIZED))?;
    // A sanitizer that finds nothing must be one that would have found something.
    let control = ["--test=threads", "--", "--ignored", "control_a_race"];
    match sanitizer("thread", &control).output()?.status.success() {
        true => bail!(
            "ThreadSanitizer did not see the race that is there on purpose: its runs prove nothing"
        ),
        false => println!("control: ThreadSanitizer sees a race that is there on purpose"),
    }
    cargo::run(sanitizer(
        "address",
        &[SANITIZED, &["--lib", "--test=alloc", "--test=reuse"]].concat(),
    ))?;
    // On real SPDK, whose C is not instrumented, and which lets go of some memory only with the process.
    let tests = [
        ("spdk-safe", STORM),
        ("spdk-bdevs", BDEVS),
        ("spdk-exec", DEVICES),
    ];
    for (package, tests) in tests {
        let mut command = nightly("address", package, tests);
        command.env("ASAN_OPTIONS", "detect_leaks=0");
        cargo::run(command)?;
    }
    Ok(())
}

pub(crate) fn has_nightly() -> bool {
    let output = Command::new("rustup")
        .args(["run", "nightly", "cargo", "--version"])
        .output();
    output.is_ok_and(|output| output.status.success())
}

/// `cargo test` of the executor under `which` sanitizer.
fn sanitizer(which: &str, args: &[&str]) -> Command {
    nightly(which, "spdk-exec", args)
}

/// `cargo test` of `package` under `which` sanitizer.
fn nightly(which: &str, package: &str, args: &[&str]) -> Command {
    let top = workspace();
    let mut command = Command::new("rustup");
    command
        .current_dir(&top)
        .args([
            "run",
            "nightly",
            "cargo",
            "test",
            "--package",
            package,
            "--target=x86_64-unknown-linux-gnu",
        ])
        .args(args)
        // The standard library is not built with the sanitizer, hence the second flag.
        .env(
            "RUSTFLAGS",
            format!("-Zsanitizer={which} -Cunsafe-allow-abi-mismatch=sanitizer"),
        )
        .env(
            "TSAN_OPTIONS",
            format!("suppressions={}", top.join("spdk-exec/tsan.supp").display()),
        )
        // Nor does ThreadSanitizer see the lock of its backtraces, when two tests panic at the same time.
        .env("RUST_BACKTRACE", "0")
        .env("CARGO_TARGET_DIR", top.join("target").join(which));
    forget_toolchain(&mut command);
    command
}

/// `command` with the nightly toolchain for the cargo that it calls.
pub(crate) fn on_nightly(command: &mut Command) -> &mut Command {
    forget_toolchain(command);
    command.env("RUSTUP_TOOLCHAIN", "nightly")
}

/// Takes out what the toolchain that runs us has put into the environment.
fn forget_toolchain(command: &mut Command) {
    for name in [
        "CARGO",
        "RUSTC",
        "RUSTDOC",
        "RUSTUP_TOOLCHAIN",
        "CARGO_MANIFEST_DIR",
    ] {
        command.env_remove(name);
    }
}
