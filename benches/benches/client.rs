//! The safe client beside the same loop in C, in alternating rounds.
//!
//! `cargo bench -p spdk-benches --bench client -- --help`; `docs/benchmarks.md` explains and has a table.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use spdk_benches::client::stats::Spread;
use spdk_benches::client::{Contender, Direction, Order, Ran, Rig, RigError, Shape, Work, app};
use spdk_safe::units::Mib;

/// Compares the safe client with the same loop in C.
#[derive(Debug, Parser)]
#[command(name = "client", bin_name = "cargo bench --bench client --")]
struct Options {
    /// Rounds; each gives one ratio per contender, the median of its turns.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Turns of each contender in a round, every one between two turns of C.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
    /// Milliseconds that a turn takes.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    millis: u64,
    /// Queue depths.
    #[arg(long, value_delimiter = ',', default_value = "1,32,128", value_parser = clap::value_parser!(u32).range(1..=4096))]
    depth: Vec<u32>,
    /// Reads, writes, or both.
    #[arg(long, value_enum, default_value_t = Io::Both)]
    io: Io,
    /// One place after the other rather than at random.
    #[arg(long)]
    sequential: bool,
    /// The size of the malloc bdev in MiB.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=256))]
    disk: u64,
    /// Only these beside C: `--only spdk-exec,C-again`.
    #[arg(long, value_delimiter = ',', value_parser = contender)]
    only: Vec<Contender>,
    /// A few short turns: whether it runs, not how fast.
    #[arg(long)]
    quick: bool,
    /// Writes the results to this file, every ratio of every round with them.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Io {
    Read,
    Write,
    Both,
}

fn contender(name: &str) -> Result<Contender, String> {
    let names = Contender::ALL.map(Contender::name).join(", ");
    Contender::of_name(name).ok_or_else(|| format!("the contenders are {names}"))
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    // `cargo test` asks for its tests, and passes what is meant for them.
    if args.iter().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    let options = match args.iter().any(|arg| arg == "--bench") {
        true => Options::parse(),
        false => Options::parse_from(["client", "--quick"]),
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut options: Options) -> Result<(), Box<dyn std::error::Error>> {
    if options.quick {
        (options.rounds, options.turns, options.millis) = (2, 1, 2);
    }
    let rows = app("bench-client").run(async |spdk| {
        let shape = Shape {
            disk: Mib(options.disk),
            depth: options.depth.iter().copied().max().unwrap_or(1),
            ..Shape::default()
        };
        let rig = Rig::new(&spdk, shape).await?;
        let rows = measure(&rig, &options).await;
        rig.close().await?;
        rows
    })??;
    println!("{}", table(&rows, &options));
    if let Some(path) = &options.json {
        std::fs::write(path, json(&rows))?;
    }
    Ok(())
}

/// One contender at one kind of work.
struct Row {
    direction: Direction,
    depth: u32,
    contender: Contender,
    /// I/Os per second of the core's time.
    rate: Spread,
    /// Its rate by C's, one for each round.
    ratios: Vec<f64>,
    /// The same by the wall's clock.
    wall_ratios: Vec<f64>,
}

async fn measure(rig: &Rig, options: &Options) -> Result<Vec<Row>, RigError> {
    let is_asked = |contender: &Contender| {
        *contender != Contender::C && (options.only.is_empty() || options.only.contains(contender))
    };
    let rivals: Vec<Contender> = Contender::ALL.into_iter().filter(is_asked).collect();
    let directions: Vec<Direction> = Direction::ALL
        .into_iter()
        .filter(|direction| match options.io {
            Io::Both => true,
            Io::Read => *direction == Direction::Read,
            Io::Write => *direction == Direction::Write,
        })
        .collect();
    let progress = Progress::new(directions.len() * options.depth.len() * options.rounds as usize);
    for contender in rivals.iter().chain([&Contender::C]) {
        progress.say(&format!("does {} really read and write", contender.name()));
        rig.verify(*contender).await?;
    }
    let mut rows = Vec::new();
    for &direction in &directions {
        for &depth in &options.depth {
            rows.extend(compare(rig, options, &rivals, direction, depth, &progress).await?);
        }
    }
    Ok(rows)
}

/// C and all rivals at one kind of work, in alternating rounds.
async fn compare(
    rig: &Rig,
    options: &Options,
    rivals: &[Contender],
    direction: Direction,
    depth: u32,
    progress: &Progress,
) -> Result<Vec<Row>, RigError> {
    let work = |count, seed: u64| Work {
        direction,
        depth,
        count,
        order: match options.sequential {
            true => Order::Sequential,
            false => Order::Random(seed + 1),
        },
    };
    let count = turn_count(rig, &work, Duration::from_millis(options.millis)).await?;
    let mut c_rates = Vec::new();
    let mut rivals: Vec<Rival> = rivals.iter().copied().map(Rival::new).collect();
    for round in 0..options.rounds {
        progress.step(&format!("{} at depth {depth}", direction.name()));
        for turn in 0..options.turns {
            let seed = u64::from(round * options.turns + turn);
            let mut before = rig.run(Contender::C, &work(count, seed)).await?;
            for rival in &mut rivals {
                let ran = rig.run(rival.contender, &work(count, seed)).await?;
                let after = rig.run(Contender::C, &work(count, seed)).await?;
                c_rates.push(after.rate());
                rival.turn(&before, &ran, &after);
                before = after;
            }
        }
        rivals.iter_mut().for_each(Rival::end_round);
    }
    let row = |contender, rates, ratios, wall_ratios| Row {
        direction,
        depth,
        contender,
        rate: Spread::of(rates),
        ratios,
        wall_ratios,
    };
    let c = row(Contender::C, c_rates, vec![1.0], vec![1.0]);
    let rivals = rivals.into_iter().map(|rival| {
        row(
            rival.contender,
            rival.rates,
            rival.ratios,
            rival.wall_ratios,
        )
    });
    Ok(std::iter::once(c).chain(rivals).collect())
}

/// What a contender did so far.
struct Rival {
    contender: Contender,
    rates: Vec<f64>,
    /// Of this round.
    turns: Vec<f64>,
    wall_turns: Vec<f64>,
    ratios: Vec<f64>,
    wall_ratios: Vec<f64>,
}

impl Rival {
    fn new(contender: Contender) -> Self {
        Self {
            contender,
            rates: Vec::new(),
            turns: Vec::new(),
            wall_turns: Vec::new(),
            ratios: Vec::new(),
            wall_ratios: Vec::new(),
        }
    }

    /// A turn between two of C, which did the same.
    fn turn(&mut self, before: &Ran, ran: &Ran, after: &Ran) {
        let ratio = |time: fn(&Ran) -> Duration| {
            (time(before) + time(after)).as_secs_f64() / 2.0 / time(ran).as_secs_f64()
        };
        self.rates.push(ran.rate());
        self.turns.push(ratio(|ran| ran.cpu));
        self.wall_turns.push(ratio(|ran| ran.wall));
    }

    fn end_round(&mut self) {
        let median = |turns: &mut Vec<f64>| Spread::of(std::mem::take(turns)).median;
        self.ratios.push(median(&mut self.turns));
        self.wall_ratios.push(median(&mut self.wall_turns));
    }
}

/// How many I/Os of the C loop fill a turn.
async fn turn_count(
    rig: &Rig,
    work: &impl Fn(u64, u64) -> Work,
    turn: Duration,
) -> Result<u64, RigError> {
    let mut count = 1_000;
    loop {
        let ran = rig.run(Contender::C, &work(count, 0)).await?;
        if ran.cpu * 2 >= turn {
            return Ok((ran.rate() * turn.as_secs_f64()).max(1.0) as u64);
        }
        count *= 2;
    }
}

fn table(rows: &[Row], options: &Options) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "| I/O | depth | contender | kIOPS | ratio to C | quartiles | by the wall's clock |\n\
         | --- | ---: | --- | ---: | ---: | --- | --- |"
    );
    for row in rows {
        let (ratio, wall) = (
            Spread::of(row.ratios.clone()),
            Spread::of(row.wall_ratios.clone()),
        );
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.0} | {:.3} | {:.3} to {:.3} | {:.3} ({:.3} to {:.3}) |",
            row.direction.name(),
            row.depth,
            row.contender.name(),
            row.rate.median / 1e3,
            ratio.median,
            ratio.low,
            ratio.high,
            wall.median,
            wall.low,
            wall.high,
        );
    }
    let order = match options.sequential {
        true => "in order",
        false => "at random",
    };
    let _ = write!(
        out,
        "\n4 KiB, {order}, malloc bdev of {} MiB; {} rounds of {} turns of {} ms; kIOPS and ratio by the core's time",
        options.disk, options.rounds, options.turns, options.millis
    );
    if options.quick {
        out.push_str("\n(quick: these numbers mean nothing)");
    }
    out
}

fn json(rows: &[Row]) -> String {
    let list = |numbers: &[f64]| {
        let numbers: Vec<String> = numbers
            .iter()
            .map(|number| format!("{number:.5}"))
            .collect();
        numbers.join(", ")
    };
    let rows: Vec<String> = rows
        .iter()
        .map(|row| {
            format!(
                "  {{\"io\": \"{}\", \"depth\": {}, \"contender\": \"{}\", \"iops\": {:.0}, \
                 \"ratios\": [{}], \"wall_ratios\": [{}]}}",
                row.direction.name(),
                row.depth,
                row.contender.name(),
                row.rate.median,
                list(&row.ratios),
                list(&row.wall_ratios),
            )
        })
        .collect();
    format!("[\n{}\n]\n", rows.join(",\n"))
}

/// A line that is overwritten, on a terminal; nothing elsewhere.
struct Progress {
    total: usize,
    done: std::cell::Cell<usize>,
    is_terminal: bool,
}

impl Progress {
    fn new(total: usize) -> Self {
        Self {
            total,
            done: std::cell::Cell::new(0),
            is_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Another round begins.
    fn step(&self, what: &str) {
        self.done.set(self.done.get() + 1);
        self.say(&format!("round {}/{}: {what}", self.done.get(), self.total));
    }

    fn say(&self, line: &str) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.say("");
    }
}
