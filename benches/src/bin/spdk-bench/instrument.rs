//! Whether the instrument is right: on a raw leg, the load generator beside the same loop in C.

use spdk_benches::client::RigError;
use spdk_benches::client::stats::Spread;
use spdk_benches::load::{Driver, drive};
use spdk_benches::stack::LEGS;
use spdk_safe::app::Spdk;

use crate::compare::{Cell, load_of};
use crate::options::{Compare, Io, Leg};
use crate::progress::Progress;

/// How far they may be from each other.
const MOST: f64 = 0.02;

/// What was found in one place.
#[derive(Debug, Clone)]
pub(crate) struct Agreement {
    pub(crate) cell: Cell,
    /// The load generator's rate by that of the loop in C, of each round.
    pub(crate) ratios: Vec<f64>,
    /// The C loop's own second turn by its first: what the instrument is worth at best.
    pub(crate) control: Vec<f64>,
}

impl Agreement {
    pub(crate) fn is_right(&self) -> bool {
        (Spread::of(self.ratios.clone()).median - 1.0).abs() <= MOST
    }

    fn line(&self) -> String {
        let (ratio, control) = (
            Spread::of(self.ratios.clone()),
            Spread::of(self.control.clone()),
        );
        let verdict = match self.is_right() {
            true => "agrees within 2 %",
            false => "does NOT agree within 2 %",
        };
        format!(
            "instrument, raw {}: {:.3} [{:.3} to {:.3}] of the loop in C, {verdict} (C of C: {:.3} [{:.3} to {:.3}])",
            self.cell,
            ratio.median,
            ratio.low,
            ratio.high,
            control.median,
            control.low,
            control.high
        )
    }
}

/// Compares them for reads and writes of 4 KiB at each depth.
pub(crate) async fn check(
    spdk: &Spdk,
    options: &Compare,
    legs: Leg,
    progress: &Progress,
) -> Result<Vec<Agreement>, RigError> {
    let mut all = Vec::new();
    for io in [Io::Randread, Io::Randwrite] {
        for depth in [1, 64] {
            let cell = Cell {
                legs,
                io,
                depth,
                size: 4096,
            };
            let mut found = Agreement {
                cell,
                ratios: Vec::new(),
                control: Vec::new(),
            };
            for round in 0..options.rounds() {
                progress.say(&format!("the instrument: {cell}, round {}", round + 1));
                let load = load_of(options, &cell, round, false);
                let turn = async |driver| drive(spdk, LEGS[0], &load, driver, &[]).await;
                // C, ours, C, ours, C: each of ours, and a C, between two others.
                let mut rates = Vec::new();
                for driver in [Driver::C, Driver::Rust, Driver::C, Driver::Rust, Driver::C] {
                    rates.push(turn(driver).await?.rate);
                }
                let between = |at: usize| rates[at] / ((rates[at - 1] + rates[at + 1]) / 2.0);
                found.ratios.push((between(1) + between(3)) / 2.0);
                found.control.push(rates[2] / ((rates[0] + rates[4]) / 2.0));
            }
            progress.print(&found.line());
            all.push(found);
        }
    }
    Ok(all)
}
