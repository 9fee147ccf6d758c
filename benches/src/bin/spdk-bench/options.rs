//! What can be said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use spdk_benches::load::Driver;
use spdk_benches::stack::{Base, Contender};

use crate::scenarios::Scenarios;

/// Compares SPDK's stacked bdevs in C with ours in Rust, in one process, in alternating rounds.
///
/// Contenders: raw (a leg), passthru (ours) and c-passthru (SPDK's) on one leg; floor (the least that a mirror can do in
/// C), raid1 (ours) and c-raid1 (SPDK's, where the linked one has it: 22.09 and newer) on two. On malloc legs it is first
/// checked that each really writes and reads, and the status is 1 if one does not.
#[derive(Debug, Parser)]
#[command(
    name = "spdk-bench",
    bin_name = "cargo xtask bench",
    args_conflicts_with_subcommands = true
)]
#[command(max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) compare: Compare,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Drive one bdev, known by its name, of a configuration in JSON.
    Load(Generate),
    /// Measure what is not in the rows: two cores, many arrays, memory, a lost leg, rebuilds, an idle executor.
    Scenarios(Scenarios),
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// Few short rounds: whether it works and the data verifies, and a first idea of how fast. A minute.
    #[arg(long, conflicts_with = "table")]
    pub(crate) quick: bool,
    /// The rows of docs/benchmarks.md, and prints what goes there, in Markdown. Ten minutes.
    #[arg(long)]
    pub(crate) table: bool,
    /// What the legs are.
    #[arg(long, value_delimiter = ',', value_enum, default_value = "null,malloc")]
    pub(crate) legs: Vec<Leg>,
    /// I/Os in flight [default: 1,64; with --table 1,16,64,256].
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) depth: Vec<u32>,
    /// Bytes of an I/O, as 512, 4k, 1m [default: 4k; with --table 512,4k,128k].
    #[arg(long, value_delimiter = ',', value_parser = size)]
    pub(crate) size: Vec<u32>,
    /// What I/Os do.
    #[arg(
        long,
        value_delimiter = ',',
        value_enum,
        default_value = "randread,randwrite"
    )]
    pub(crate) io: Vec<Io>,
    /// How many of a hundred I/Os read, in rw and randrw.
    #[arg(long, default_value_t = 70, value_parser = clap::value_parser!(u8).range(1..=99))]
    pub(crate) mix: u8,
    /// Only these contenders.
    #[arg(long, value_delimiter = ',', value_parser = contender)]
    pub(crate) contender: Vec<Contender>,
    /// Rounds; in each every contender has a turn, and each round gives one ratio.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Milliseconds of a turn; a quarter more is for latencies.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(crate) millis: Option<u64>,
    /// Cores, each with a thread of the load; the app runs on the first one.
    #[arg(long, value_delimiter = ',')]
    pub(crate) cores: Vec<u32>,
    /// What the loop is made of: the safe client, or C.
    #[arg(long = "loop", value_enum, default_value_t = Loop::Rust)]
    pub(crate) driver: Loop,
    /// Leaves out the check of the instrument: the loop on the safe client beside the same loop in C.
    #[arg(long)]
    pub(crate) no_instrument: bool,
    /// MiB of each leg.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub(crate) leg_size: u64,
    /// Writes all results to this file, as JSON: every round of every contender with them.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draws the results into this file, as SVG.
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// The bdev.
    pub(crate) bdev: String,
    /// SPDK's configuration, which makes it: JSON as `save_config` writes it. Without one there are two malloc bdevs of
    /// 32 MiB, leg0 and leg1.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// I/Os in flight, on each thread.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) depth: u32,
    /// Bytes of an I/O, as 512, 4k, 1m.
    #[arg(long, default_value = "4k", value_parser = size)]
    pub(crate) size: u32,
    /// What I/Os do.
    #[arg(long, value_enum, default_value = "randread")]
    pub(crate) io: Io,
    /// How many of a hundred I/Os read, in rw and randrw.
    #[arg(long, default_value_t = 70, value_parser = clap::value_parser!(u8).range(1..=99))]
    pub(crate) mix: u8,
    /// Seconds that it takes.
    #[arg(long, default_value_t = 5.0, value_parser = seconds, conflicts_with = "count")]
    pub(crate) time: f64,
    /// So many I/Os on each thread, rather than a time.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Cores, each with threads of the load; the app runs on the first one.
    #[arg(long, value_delimiter = ',')]
    pub(crate) cores: Vec<u32>,
    /// Threads of the load on each core.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) threads: u32,
    /// Writes all of the bdev first, with a pattern, and compares what is read. Destroys what is on the bdev.
    #[arg(long)]
    pub(crate) verify: bool,
    /// Begins the random order elsewhere.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seed: u64,
    /// MiB of memory for SPDK, without hugepages.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..))]
    pub(crate) memory: u64,
    /// Writes the results to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// What the legs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Leg {
    /// They do nothing, and keep no data: only software costs.
    Null,
    /// They are in memory: copying dominates.
    Malloc,
}

impl Leg {
    pub(crate) fn base(self) -> Base {
        match self {
            Self::Null => Base::Null,
            Self::Malloc => Base::Malloc,
        }
    }
}

/// What the loop is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Loop {
    Rust,
    C,
}

impl Loop {
    pub(crate) fn driver(self) -> Driver {
        match self {
            Self::Rust => Driver::Rust,
            Self::C => Driver::C,
        }
    }
}

/// What I/Os do, by the names that `bdevperf` and `fio` have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Io {
    Read,
    Write,
    Rw,
    Randread,
    Randwrite,
    Randrw,
}

impl Io {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Rw => "rw",
            Self::Randread => "randread",
            Self::Randwrite => "randwrite",
            Self::Randrw => "randrw",
        }
    }

    /// How many of a hundred read.
    pub(crate) fn reads(self, mix: u8) -> u8 {
        match self {
            Self::Read | Self::Randread => 100,
            Self::Write | Self::Randwrite => 0,
            Self::Rw | Self::Randrw => mix,
        }
    }

    pub(crate) fn is_random(self) -> bool {
        matches!(self, Self::Randread | Self::Randwrite | Self::Randrw)
    }
}

impl Compare {
    pub(crate) fn depths(&self) -> Vec<u32> {
        let default: &[u32] = match self.table {
            true => &[1, 16, 64, 256],
            false => &[1, 64],
        };
        or_default(&self.depth, default)
    }

    pub(crate) fn sizes(&self) -> Vec<u32> {
        let default: &[u32] = match self.table {
            true => &[512, 4096, 131_072],
            false => &[4096],
        };
        or_default(&self.size, default)
    }

    pub(crate) fn contenders(&self) -> Vec<Contender> {
        or_default(&self.contender, &Contender::ALL)
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 })
    }

    pub(crate) fn turn(&self) -> Duration {
        let millis = if self.quick { 50 } else { 200 };
        Duration::from_millis(self.millis.unwrap_or(millis))
    }

    /// What does not fit together.
    pub(crate) fn check(&self) -> Result<(), String> {
        let is_mix = |io: &Io| matches!(io, Io::Rw | Io::Randrw);
        if self.driver == Loop::C && self.io.iter().any(is_mix) {
            return Err("--loop c only reads or only writes: leave out rw and randrw".into());
        }
        if self.driver == Loop::C && self.cores.len() > 1 {
            return Err("--loop c runs on one core: name one, or none".into());
        }
        let leg = self.leg_size << 20;
        match self.sizes().into_iter().find(|size| u64::from(*size) > leg) {
            Some(size) => Err(format!("--size {size} is larger than a leg of {leg} bytes")),
            None => Ok(()),
        }
    }
}

fn or_default<T: Copy>(said: &[T], default: &[T]) -> Vec<T> {
    match said {
        [] => default.to_vec(),
        said => said.to_vec(),
    }
}

fn contender(name: &str) -> Result<Contender, String> {
    let names = Contender::ALL.map(Contender::name).join(", ");
    Contender::of_name(name).ok_or_else(|| format!("the contenders are {names}"))
}

/// A size of whole blocks.
fn size(text: &str) -> Result<u32, String> {
    let (digits, factor) = match text.to_ascii_lowercase().chars().last() {
        Some('k') => (&text[..text.len() - 1], 1 << 10),
        Some('m') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let bytes = digits.parse().ok().and_then(|n: u32| n.checked_mul(factor));
    match bytes {
        Some(bytes) if bytes % 512 == 0 && (512..=16 << 20).contains(&bytes) => Ok(bytes),
        _ => Err("a size is a multiple of 512 up to 16m, as 512, 4k or 1m".into()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.001..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("a time is 0.001 to 86400 seconds".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, String> {
        let args = std::iter::once("bench").chain(args.iter().copied());
        Cli::try_parse_from(args).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_not_said_depends_on_quick_and_table() {
        let cli = parse(&[]).unwrap().compare;
        assert_eq!((cli.depths(), cli.sizes()), (vec![1, 64], vec![4096]));
        assert_eq!(cli.contenders(), Contender::ALL);
        assert_eq!(cli.rounds(), 5);
        let cli = parse(&["--table", "--depth", "2"]).unwrap().compare;
        assert_eq!(
            (cli.depths(), cli.sizes()),
            (vec![2], vec![512, 4096, 131_072])
        );
        let cli = parse(&["--quick", "--rounds", "7"]).unwrap().compare;
        assert_eq!((cli.rounds(), cli.turn()), (7, Duration::from_millis(50)));
    }

    #[test]
    fn mistakes_are_refused_with_what_may_be() {
        let says = |args: &[&str], text: &str| {
            let error = parse(args).unwrap_err();
            assert!(error.contains(text), "{args:?}: {error}");
        };
        says(
            &["--contender", "mdadm"],
            "the contenders are raw, passthru",
        );
        says(&["--size", "1000"], "a size is a multiple of 512 up to 16m");
        says(&["--size", "4g"], "a size is a multiple of 512 up to 16m");
        says(&["--depth", "0"], "0 is not in 1..=4096");
        says(&["--rounds", "0"], "0 is not in 1..=1000");
        says(&["--quick", "--table"], "cannot be used with");
        says(&["--legs", "nvme"], "possible values: null, malloc");
        says(
            &["--io", "trim"],
            "possible values: read, write, rw, randread",
        );
        says(&["load"], "<BDEV>");
        says(&["load", "a", "--time", "0"], "0.001 to 86400 seconds");
        says(
            &["load", "a", "--time", "1", "--count", "1"],
            "cannot be used with",
        );
        says(&["--quick", "load", "a"], "cannot be used with");
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let check = |args: &[&str]| parse(args).unwrap().compare.check();
        assert_eq!(check(&["--loop", "c"]), Ok(()));
        assert!(
            check(&["--loop", "c", "--io", "randrw"])
                .unwrap_err()
                .contains("rw and randrw")
        );
        assert!(
            check(&["--loop", "c", "--cores", "0,1"])
                .unwrap_err()
                .contains("one core")
        );
        assert!(
            check(&["--leg-size", "1", "--size", "2m"])
                .unwrap_err()
                .contains("larger than a leg")
        );
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("4k"), Ok(4096));
        assert_eq!(size("1M"), Ok(1 << 20));
        assert!(size("").is_err() && size("k").is_err() && size("99999m").is_err());
    }
}
