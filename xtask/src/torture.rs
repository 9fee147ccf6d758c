//! `cargo xtask torture`: the RAID1 under random I/O, faults and admin actions, for as long as one likes.
//!
//! What runs are the tests of `spdk-raid/tests/torture.rs`, one after the other, which say how far they are. What fails
//! is made smaller, and said with what replays it.

use anyhow::Result;
use clap::Args;

use crate::cargo::{self, cargo};

#[derive(Debug, Args)]
pub(crate) struct Torture {
    /// How long, with the time shared by the two worlds: one with enough memory, one where I/O waits for it.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The first seed, of which each later case has the next one; without it the clock says.
    #[arg(long)]
    seed: Option<u64>,
    /// Runs the case of `--seed` alone, in both worlds.
    #[arg(long, requires = "seed")]
    once: bool,
}

pub(crate) fn torture(options: &Torture) -> Result<()> {
    let seed = options.seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| now.as_secs() << 20)
    });
    println!("torture: from seed {seed} on");
    let mut command = cargo(["test", "--package", "spdk-raid", "--test", "torture"]);
    command
        .args(["--", "--nocapture", "--test-threads=1", "whatever_happens"])
        .env("TORTURE_FROM", seed.to_string())
        .env("TORTURE_SECONDS", options.seconds.div_ceil(2).to_string())
        .env("TORTURE_PROGRESS", "1");
    // The short form has an end of its own.
    let cases = if options.once { 1 } else { u64::MAX / 2 };
    command.env("TORTURE_CASES", cases.to_string());
    cargo::run(command)
}
