//! Every command that the README and CI name: `cargo xtask --help` lists them.
//!
//! Each does all set-up that is missing and no set-up twice.

mod cargo;
mod checks;
mod ci;
mod fuzz;
mod host;
#[cfg(test)]
#[expect(dead_code, reason = "the build script prints what is planned")]
#[path = "../../spdk-sys/build/link.rs"]
mod link;
#[cfg(test)]
mod link_tests;
#[path = "../../spdk-sys/build/locate.rs"]
mod locate;
#[cfg(test)]
mod locate_tests;
mod packages;
#[cfg(test)]
#[path = "../../spdk-sys/build/pc.rs"]
mod pc;
mod progress;
mod rpc_client;
mod run;
mod setup;
mod spdk;
#[cfg(test)]
mod test_host;
mod torture;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::cargo::cargo;
use crate::host::Host;

/// The commands of this workspace.
///
/// Each does all set-up that is missing (system packages, an SPDK, the build), and none twice. With
/// SPDK_DIR=/path/to/spdk, a build tree or an install prefix, that SPDK is used and none is built.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Mirror two SPDK malloc bdevs with the Rust RAID1, write through it, and verify every byte.
    ///
    /// Runs spdk-raid/examples/mirror in release mode; `cargo xtask demo -- --help` lists its options.
    Demo(Pass),
    /// Measure SPDK's stacked bdevs in C and ours in Rust, beside each other, on one core.
    ///
    /// Runs benches' spdk-bench; `cargo xtask bench -- --help` lists its options. --quick takes less than a minute, and
    /// fails when data does not verify; --table prints the tables of docs/benchmarks.md.
    Bench(Pass),
    /// Run all tests, on a real SPDK.
    ///
    /// The same as `cargo test --workspace` after the set-up; arguments are passed on to it.
    Test(Pass),
    /// Run what CI runs: format, clippy, rustdoc, tests, loom, sanitizers, builds without an SPDK, and the demo.
    Ci,
    /// Run the executor's tests under loom: every interleaving, up to a bound.
    Loom,
    /// Run the executor's tests under ThreadSanitizer and AddressSanitizer, where there is a nightly toolchain.
    Sanitize,
    /// Fuzz what takes input from outside: each target for a while, from its seeds; needs a nightly toolchain.
    Fuzz(fuzz::Fuzz),
    /// Torture the RAID1: random I/O, faults and admin actions, and one model of what may be read.
    ///
    /// What fails is made smaller, and printed with the seed that replays it.
    Torture(torture::Torture),
    /// Build an SPDK from Debian's archive into the cache, if there is none.
    ///
    /// Looks at SPDK_DIR, then at pkg-config, then in ${XDG_CACHE_HOME:-~/.cache}/spdk-sys. Finding none, it
    /// builds SPDK 20.07 with its DPDK: Debian has no SPDK package, but the `ceph` source package carries
    /// one. Takes a minute or two and 400 MB while it builds, 9 MB after, and no privileges once the
    /// packages are there (it says which). Nothing outside the cache is changed.
    Spdk(SpdkArgs),
}

#[derive(Debug, Args)]
struct Pass {
    /// Passed on as they are.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

#[derive(Debug, Args)]
struct SpdkArgs {
    /// Only say which SPDK would be used and why; status 1 if there is none.
    #[arg(long, conflicts_with = "force")]
    print: bool,
    /// Build it into the cache even if there is one, there or elsewhere.
    #[arg(long)]
    force: bool,
}

fn main() -> ExitCode {
    match run(Cli::parse(), &Host::this()) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli, host: &Host) -> Result<ExitCode> {
    match cli.command {
        Task::Demo(pass) => {
            setup::ensure(host)?;
            let mut command = cargo([
                "run",
                "--release",
                "--package",
                "spdk-raid",
                "--example",
                "mirror",
                "--",
            ]);
            command.args(pass.args);
            cargo::run(command)?;
        }
        Task::Bench(pass) => {
            setup::ensure(host)?;
            // As `cargo bench` builds, so that nothing is built twice.
            let mut command = cargo(["run", "--profile", "bench", "--package", "spdk-benches"]);
            command.args(["--bin", "spdk-bench", "--"]).args(pass.args);
            cargo::run(command)?;
        }
        Task::Test(pass) => {
            setup::ensure(host)?;
            rpc_client::ensure(host);
            let mut command = cargo(["test", "--workspace"]);
            command.args(pass.args);
            cargo::run(command)?;
        }
        Task::Ci => return ci::run(host),
        Task::Loom => checks::loom()?,
        Task::Sanitize => checks::sanitize()?,
        Task::Fuzz(options) => fuzz::fuzz(&options)?,
        Task::Torture(options) => {
            setup::ensure(host)?;
            torture::torture(&options)?;
        }
        Task::Spdk(SpdkArgs { print: true, .. }) => {
            let (text, found) = setup::report(host);
            println!("{}", text.trim_end());
            return Ok(if found {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Task::Spdk(SpdkArgs { force, .. }) => {
            if force {
                spdk::provide(host, true)?;
            }
            setup::ensure(host)?;
            println!("{}", setup::report(host).0.trim_end());
        }
    }
    Ok(ExitCode::SUCCESS)
}
