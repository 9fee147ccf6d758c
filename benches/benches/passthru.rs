//! SPDK's `vbdev_passthru` beside `spdk_bdevs::passthru`, under the same load in C, in alternating rounds.
//!
//! `cargo bench -p spdk-benches --bench passthru -- --help`; `docs/benchmarks.md` has a table.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use spdk_benches::client::stats::Spread;
use spdk_benches::client::{Direction, Order, Ran, RigError, Shape, Work};
use spdk_benches::passthru::{Base, Contender, Rig, app};

/// Compares the two pass-throughs.
#[derive(Debug, Parser)]
#[command(name = "passthru", bin_name = "cargo bench --bench passthru --")]
struct Options {
    /// Rounds; each gives one ratio per contender, the median of its turns.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Turns of each contender in a round, every one between two turns of C.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
    /// Milliseconds that a turn takes.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    millis: u64,
    /// Queue depths.
    #[arg(long, value_delimiter = ',', default_value = "1,64", value_parser = clap::value_parser!(u32).range(1..=4096))]
    depth: Vec<u32>,
    /// A few short turns: whether it runs, not how fast.
    #[arg(long)]
    quick: bool,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

const RIVALS: [Contender; 3] = [Contender::CAgain, Contender::Rust, Contender::Bare];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    // `cargo test` asks for its tests, and passes what is meant for them.
    if args.iter().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    let mut options = match args.iter().any(|arg| arg == "--bench") {
        true => Options::parse(),
        false => Options::parse_from(["passthru", "--quick"]),
    };
    if options.quick {
        (options.rounds, options.turns, options.millis) = (2, 1, 2);
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), RigError> {
    println!(
        "| base | I/O | depth | pass-through | kIOPS | ratio to C | quartiles | by the wall's clock |"
    );
    println!("| --- | --- | ---: | --- | ---: | ---: | --- | ---: |");
    let shape = Shape {
        depth: options.depth.iter().copied().max().unwrap_or(1),
        ..Shape::default()
    };
    app("bench-passthru").run(async |spdk| {
        for base in Base::ALL {
            let rig = Rig::new(&spdk, base, shape).await?;
            for direction in Direction::ALL {
                for &depth in &options.depth {
                    compare(&rig, options, base, direction, depth).await?;
                }
            }
            rig.close().await?;
        }
        Ok::<(), RigError>(())
    })??;
    println!(
        "\n4 KiB at random on {} MiB; {} rounds of {} turns of {} ms; kIOPS and ratio by the core's time",
        shape.disk.0, options.rounds, options.turns, options.millis
    );
    if options.quick {
        println!("(quick: these numbers mean nothing)");
    }
    Ok(())
}

/// What a contender did so far.
#[derive(Default)]
struct Taken {
    rates: Vec<f64>,
    /// Of this round.
    turns: Vec<f64>,
    wall_turns: Vec<f64>,
    ratios: Vec<f64>,
    wall_ratios: Vec<f64>,
}

impl Taken {
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

/// All at one kind of work, in alternating rounds.
async fn compare(
    rig: &Rig,
    options: &Options,
    base: Base,
    direction: Direction,
    depth: u32,
) -> Result<(), RigError> {
    let work = |count, seed: u64| Work {
        direction,
        depth,
        count,
        order: Order::Random(seed + 1),
    };
    // So many as C does in a turn.
    let turn = Duration::from_millis(options.millis);
    let mut count = 1_000;
    let count = loop {
        let ran = rig.run(Contender::C, &work(count, 0)).await?;
        if ran.cpu * 2 >= turn {
            break (ran.rate() * turn.as_secs_f64()).max(1.0) as u64;
        }
        count *= 2;
    };
    let mut c_rates = Vec::new();
    let mut rivals = RIVALS.map(|contender| (contender, Taken::default()));
    for round in 0..options.rounds {
        for turn in 0..options.turns {
            let seed = u64::from(round * options.turns + turn);
            let mut before = rig.run(Contender::C, &work(count, seed)).await?;
            for (contender, taken) in &mut rivals {
                let ran = rig.run(*contender, &work(count, seed)).await?;
                let after = rig.run(Contender::C, &work(count, seed)).await?;
                c_rates.push(after.rate());
                taken.turn(&before, &ran, &after);
                before = after;
            }
        }
        rivals.iter_mut().for_each(|(_, taken)| taken.end_round());
    }
    let row = |name: &str, rates, ratios, wall: Vec<f64>| {
        let (rate, ratio, wall) = (Spread::of(rates), Spread::of(ratios), Spread::of(wall));
        println!(
            "| {} | {} | {depth} | {name} | {:.0} | {:.3} | {:.3} to {:.3} | {:.3} |",
            base.name(),
            direction.name(),
            rate.median / 1e3,
            ratio.median,
            ratio.low,
            ratio.high,
            wall.median,
        );
    };
    row("C", c_rates, vec![1.0], vec![1.0]);
    for (contender, taken) in rivals {
        row(
            contender.name(),
            taken.rates,
            taken.ratios,
            taken.wall_ratios,
        );
    }
    Ok(())
}
