//! The options, and what is wrong with bad ones.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use spdk_raid::raid1::layout::MAX_BASES;
use spdk_safe::units::{Blocks, Mib};

/// Mirrors malloc bdevs, pulls one out under load, replaces it, and verifies every byte.
#[derive(Debug, Clone, Parser)]
#[command(name = "mirror")]
struct Raw {
    /// Size of the mirror, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    size: u64,
    /// I/Os in flight
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    depth: u32,
    /// Seed of the data
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many malloc bdevs to mirror
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=MAX_BASES as i64))]
    legs: u32,
    /// Bytes in a block: 512 or 4096
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    block_size: u32,
    /// Size of one I/O, in KiB
    #[arg(long, value_name = "KIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    io_kib: u32,
    /// How long the load runs before a leg is pulled out, before it is replaced, and at the end, in milliseconds each
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    load_ms: u64,
    /// Rebuild bandwidth limit, in MiB a second; 0 is none
    #[arg(long, value_name = "MIB", default_value_t = 0)]
    rebuild_mib: u64,
    /// Draw throughput over time into an SVG file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Flip one byte of a leg before the legs are checked, to see the check fail: LEG:BYTE_OFFSET
    #[arg(long, value_name = "LEG:BYTE")]
    flip: Option<Flip>,
}

/// Checked options.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) size: Mib,
    pub(crate) depth: u32,
    pub(crate) seed: u64,
    pub(crate) legs: u32,
    pub(crate) block_size: u32,
    pub(crate) io_kib: u32,
    pub(crate) load: Duration,
    pub(crate) rebuild: Option<Mib>,
    pub(crate) plot: Option<PathBuf>,
    pub(crate) flip: Option<Flip>,
}

/// A byte of a leg.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flip {
    pub(crate) leg: u32,
    pub(crate) offset: u64,
}

impl FromStr for Flip {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (leg, offset) = text
            .split_once(':')
            .ok_or("expected LEG:BYTE, such as 1:4096")?;
        Ok(Self {
            leg: leg.parse().map_err(|e| format!("{leg:?} is no leg: {e}"))?,
            offset: offset
                .parse()
                .map_err(|e| format!("{offset:?} is no byte offset: {e}"))?,
        })
    }
}

impl Options {
    /// Reads the command line; a bad one ends the program with a message that says what would do.
    pub(crate) fn parse() -> Self {
        let raw = Raw::parse();
        let fail = |message: String| -> ! {
            let mut command = <Raw as clap::CommandFactory>::command();
            command.error(ErrorKind::ValueValidation, message).exit()
        };
        if raw.block_size != 512 && raw.block_size != 4096 {
            fail(format!(
                "--block-size {}: must be 512 or 4096",
                raw.block_size
            ));
        }
        if raw.io_kib * 1024 % raw.block_size != 0 {
            fail(format!(
                "--io-kib {}: one I/O must be a whole number of blocks of {} B",
                raw.io_kib, raw.block_size
            ));
        }
        if let Some(flip) = raw.flip {
            if flip.leg >= raw.legs {
                fail(format!(
                    "--flip: there is no leg {} of {}",
                    flip.leg, raw.legs
                ));
            }
            if flip.offset >= raw.size << 20 {
                fail(format!(
                    "--flip: byte {} lies past the end of a leg of {} MiB",
                    flip.offset, raw.size
                ));
            }
        }
        Self {
            size: Mib(raw.size),
            depth: raw.depth,
            seed: raw.seed,
            legs: raw.legs,
            block_size: raw.block_size,
            io_kib: raw.io_kib,
            load: Duration::from_millis(raw.load_ms),
            rebuild: (raw.rebuild_mib != 0).then_some(Mib(raw.rebuild_mib)),
            plot: raw.plot,
            flip: raw.flip,
        }
    }

    /// Blocks of the mirror.
    pub(crate) fn blocks(&self) -> Blocks {
        Blocks((self.size.0 << 20) / u64::from(self.block_size))
    }

    /// Blocks of one I/O, but for a shorter last one.
    pub(crate) fn io_blocks(&self) -> Blocks {
        Blocks(u64::from(self.io_kib) * 1024 / u64::from(self.block_size))
    }

    /// What SPDK needs: the legs and a spare, the buffers in flight, and its pools (about 250 MiB on SPDK 20.07).
    pub(crate) fn memory(&self) -> Mib {
        let buffers = (u64::from(self.depth) * u64::from(self.io_kib)).div_ceil(1024);
        Mib(u64::from(self.legs + 1) * (self.size.0 + 2) + buffers + 320)
    }
}
