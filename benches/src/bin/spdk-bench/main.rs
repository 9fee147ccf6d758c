//! `cargo xtask bench`: contenders beside each other in one process, in alternating rounds; a load generator for any
//! bdev; and what else is worth measuring. `--help` lists options; `docs/benchmarks.md` explains, and has tables.

mod compare;
mod generate;
mod host;
mod instrument;
mod json;
mod options;
mod plot;
mod progress;
mod scenarios;
mod table;

use std::process::ExitCode;

use clap::Parser;

use crate::options::{Cli, Command};

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        None => compare::compare(&cli.compare),
        Some(Command::Load(options)) => generate::generate(options),
        Some(Command::Scenarios(options)) => scenarios::run(options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
