//! All contenders at each kind of work, in alternating rounds.

use std::fmt;
use std::time::Duration;

use spdk_benches::client::stats::Spread;
use spdk_benches::client::{Order, RigError};
use spdk_benches::load::{Done, End, Load, drive};
use spdk_benches::stack::{BLOCK_SIZE, Contender, Legs, app};
use spdk_safe::app::{Spdk, spdk_version};
use spdk_safe::units::Mib;

use crate::host::Host;
use crate::instrument::{self, Agreement};
use crate::options::{Compare, Io, Leg, Loop};
use crate::progress::Progress;
use crate::{Error, json, plot, table};

/// One kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) legs: Leg,
    pub(crate) io: Io,
    pub(crate) depth: u32,
    pub(crate) size: u32,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let legs = self.legs.base().name();
        write!(
            f,
            "{legs} {} {} qd {}",
            self.io.name(),
            size(self.size),
            self.depth
        )
    }
}

/// `4 KiB`.
pub(crate) fn size(bytes: u32) -> String {
    match bytes {
        bytes if bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        bytes if bytes % (1 << 10) == 0 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} B"),
    }
}

/// A turn of a contender.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    /// I/Os per second of a core's time.
    pub(crate) rate: f64,
    /// I/Os per second of the wall's clock.
    pub(crate) wall_rate: f64,
    /// Of the turn in which I/Os were timed: p50, p99, p99.9.
    pub(crate) latency: Option<[Duration; 3]>,
}

/// What was measured at one kind of work.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) cell: Cell,
    /// Each contender's turns, one for each round.
    pub(crate) turns: Vec<(Contender, Vec<Turn>)>,
}

/// A ratio that there is a goal for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    pub(crate) of: Contender,
    pub(crate) by: Contender,
    pub(crate) at_least: Option<f64>,
}

impl Row {
    fn of(&self, contender: Contender) -> &[Turn] {
        let mut turns = self.turns.iter();
        turns
            .find(|(who, _)| *who == contender)
            .map_or(&[], |(_, turns)| turns)
    }

    /// Its median, in I/Os per second of a core's time.
    pub(crate) fn rate(&self, contender: Contender) -> Option<f64> {
        let rates: Vec<f64> = self.of(contender).iter().map(|turn| turn.rate).collect();
        (!rates.is_empty()).then(|| Spread::of(rates).median)
    }

    /// The median of one of its latencies.
    pub(crate) fn latency(&self, contender: Contender, at: usize) -> Option<Duration> {
        let turns = self.of(contender).iter();
        let nanos = turns.filter_map(|turn| Some(turn.latency?[at].as_nanos() as f64));
        let nanos: Vec<f64> = nanos.collect();
        (!nanos.is_empty()).then(|| Duration::from_nanos(Spread::of(nanos).median as u64))
    }

    /// The ratios of the rounds; empty if one of the two is not there.
    pub(crate) fn ratios(&self, of: Contender, by: Contender) -> Vec<f64> {
        let pairs = self.of(of).iter().zip(self.of(by));
        pairs.map(|(of, by)| of.rate / by.rate).collect()
    }

    /// The ratios that are printed.
    pub(crate) fn goals(&self) -> Vec<Goal> {
        let (raid1, passthru) = match self.cell.legs {
            Leg::Null => (Some(1.05), Some(0.95)),
            Leg::Malloc => (Some(1.0), Some(0.95)),
        };
        let floor = match self.cell.legs {
            Leg::Null => Some(0.95),
            Leg::Malloc => None,
        };
        let goal = |of, by, at_least| Goal { of, by, at_least };
        vec![
            goal(Contender::Raid1, Contender::CRaid1, raid1),
            goal(Contender::Raid1, Contender::Floor, floor),
            goal(Contender::Passthru, Contender::CPassthru, passthru),
        ]
    }
}

/// What a whole run found.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) verified: Vec<&'static str>,
    pub(crate) instrument: Vec<Agreement>,
    pub(crate) rows: Vec<Row>,
}

pub(crate) fn compare(options: &Compare) -> Result<(), Error> {
    options.check()?;
    let host = Host::this();
    println!("{host}");
    let contenders = options.contenders();
    let missing = contenders.iter().filter(|contender| !contender.is_there());
    for contender in missing {
        println!(
            "{}: SPDK {} has no raid1 in C (22.09 and newer have), so its columns are empty",
            contender.name(),
            spdk_version()
        );
    }
    let (app, dir) = app("spdk-bench", &options.cores)?;
    let results = app.run(async |spdk| {
        let mut results = Results::default();
        for legs in &options.legs {
            let size = Mib(options.leg_size);
            let on = Legs::new(&spdk, &dir, legs.base(), size).await?;
            measure(&spdk, options, *legs, &on, &mut results).await?;
            on.delete().await?;
        }
        Ok::<_, RigError>(results)
    })??;
    if options.table {
        println!("\n{}", table::markdown(options, &host, &results));
    }
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", json::of(options, &host, &results));
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if let Some(path) = &options.plot {
        plot::draw(path, &results).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if options.quick {
        println!(
            "(quick: short turns, so the numbers say little; whether data verifies they do say)"
        );
    }
    Ok(())
}

async fn measure(
    spdk: &Spdk,
    options: &Compare,
    legs: Leg,
    on: &Legs,
    results: &mut Results,
) -> Result<(), RigError> {
    let contenders = options.contenders();
    let contenders: Vec<_> = contenders
        .into_iter()
        .filter(|who| who.is_there())
        .collect();
    let cells = cells(options, legs);
    let progress = Progress::new(cells.len() * options.rounds() as usize * contenders.len());
    if legs == Leg::Malloc {
        for contender in &contenders {
            progress.say(&format!("does {} really read and write", contender.name()));
            on.verify(*contender, 0x5eed).await?;
            results.verified.push(contender.name());
        }
        let names = results.verified.join(", ");
        progress.print(&format!(
            "verified, everything written, read back and looked for on the legs: {names}"
        ));
    }
    if !options.no_instrument {
        let found = instrument::check(spdk, options, legs, &progress).await?;
        results.instrument.extend(found);
    }
    progress.print(&table::text_head(legs));
    for cell in cells {
        let mut row = Row {
            cell,
            turns: contenders.iter().map(|who| (*who, Vec::new())).collect(),
        };
        for round in 0..options.rounds() {
            for at in 0..contenders.len() {
                // Each has every other one before it now and then.
                let at = match round % 2 {
                    0 => (at + round as usize) % contenders.len(),
                    _ => (2 * contenders.len() - 1 - at + round as usize) % contenders.len(),
                };
                let contender = contenders[at];
                progress.step(&format!(
                    "{cell}, round {}: {}",
                    round + 1,
                    contender.name()
                ));
                let turn = turn(spdk, options, on, &cell, contender, round).await?;
                row.turns[at].1.push(turn);
            }
        }
        progress.print(&table::text_row(&row));
        results.rows.push(row);
    }
    Ok(())
}

fn cells(options: &Compare, legs: Leg) -> Vec<Cell> {
    let mut cells = Vec::new();
    for size in options.sizes() {
        for io in &options.io {
            for depth in options.depths() {
                cells.push(Cell {
                    legs,
                    io: *io,
                    depth,
                    size,
                });
            }
        }
    }
    cells
}

/// What the load does in one turn.
pub(crate) fn load_of(options: &Compare, cell: &Cell, round: u32, latency: bool) -> Load {
    let turn = options.turn();
    Load {
        reads: cell.io.reads(options.mix),
        depth: cell.depth,
        io_blocks: cell.size / BLOCK_SIZE,
        order: match cell.io.is_random() {
            true => Order::Random(u64::from(round) + 1),
            false => Order::Sequential,
        },
        end: End::Time(if latency { turn / 4 } else { turn }),
        latency,
        verify: None,
    }
}

/// Builds the contender, has it work, and tears it down.
async fn turn(
    spdk: &Spdk,
    options: &Compare,
    on: &Legs,
    cell: &Cell,
    contender: Contender,
    round: u32,
) -> Result<Turn, RigError> {
    let stack = on.build(contender).await?;
    let work = async |load: &Load, driver| -> Result<Done, RigError> {
        drive(spdk, stack.bdev(), load, driver, &options.cores).await
    };
    let driver = options.driver.driver();
    let measure = async || -> Result<Turn, RigError> {
        let load = load_of(options, cell, round, false);
        // What is in no cache yet is no contender's fault.
        let warm = Load {
            end: End::Time(options.turn() / 10),
            ..load
        };
        work(&warm, driver).await?;
        let done = work(&load, driver).await?;
        let latency = match options.driver {
            Loop::C => None,
            Loop::Rust => {
                let timed = load_of(options, cell, round, true);
                let timed = work(&timed, driver).await?.latency;
                let at = |percent| timed.percentile(percent).unwrap_or_default();
                Some([at(50.0), at(99.0), at(99.9)])
            }
        };
        Ok(Turn {
            rate: done.rate,
            wall_rate: done.completed as f64 / done.wall.as_secs_f64(),
            latency,
        })
    };
    let turn = measure().await;
    on.tear_down(stack).await?;
    turn
}
