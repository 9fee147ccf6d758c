//! A leg that is filled: what users see of it, and how fast it is.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures::future::try_join;
use spdk_benches::client::RigError;
use spdk_benches::load::{Done, Driver, End, Load, drive};
use spdk_benches::stack::{Base, LEGS, Legs};
use spdk_safe::bdev::BdevDesc;
use spdk_safe::units::{Blocks, Lba, Mib};
use tempfile::TempDir;

use super::report::{Found, Report};
use super::{IOS, OnApp, Scenarios, fill_leg, mirrors, remove_leg, rpc};

/// Large enough that filling it takes a while.
const LEG: Mib = Mib(128);
/// What a rebuild of ours moves at a time.
const WINDOW: Blocks = Blocks(2048);

pub(super) async fn run(
    spdk: OnApp<'_>,
    dir: &TempDir,
    options: &Scenarios,
    report: &mut Report,
) -> Result<(), RigError> {
    let legs = Legs::new(spdk, dir, Base::Malloc, LEG).await?;
    let title = format!(
        "How fast a leg of {} MiB in memory is filled, with nothing else to do, MiB/s by the wall's clock",
        LEG.0
    );
    report.table("rebuild", title, &["MiB/s"]);
    let rate = |time: Duration| LEG.0 as f64 / time.as_secs_f64();
    let mut copies = Vec::new();
    for _ in 0..options.rounds {
        copies.push(rate(copy(spdk).await?));
    }
    let plain = "a plain loop: read 1 MiB, write 1 MiB";
    report.row(plain, &[("mib_s", 0, &[&copies])]);
    for contender in mirrors() {
        let mut rates = Vec::new();
        for round in 0..options.rounds {
            report.measures(contender.name(), round, options.rounds);
            let stack = legs.build(contender).await?;
            remove_leg(&stack, &rpc(dir)).await?;
            let began = Instant::now();
            fill_leg(&stack, &rpc(dir)).await?;
            rates.push(rate(began.elapsed()));
            legs.tear_down(stack).await?;
        }
        report.row(contender.name(), &[("mib_s", 0, &[&rates])]);
    }

    let title = format!(
        "User I/O on a mirror in memory, qd 4, while a leg of {} MiB is filled over and over, and while it is not",
        LEG.0
    );
    let heads = [
        "rate by that without",
        "p50, p99, p99.9 without, us",
        "p50, p99, p99.9, us",
    ];
    report.table("users", title, &heads);
    for contender in mirrors() {
        for (io, reads) in IOS {
            let row = format!("{} {io}", contender.name());
            let mut ratios = Vec::new();
            let mut latencies = [(); 2].map(|()| [(); 3].map(|()| Vec::new()));
            for round in 0..options.rounds {
                report.measures(&row, round, options.rounds);
                let stack = legs.build(contender).await?;
                let load = Load {
                    latency: true,
                    end: End::Time(options.turn() * 4),
                    ..options.load(reads, 4, round)
                };
                let user = async || drive(spdk, stack.bdev(), &load, Driver::Rust, &[]).await;
                let without = user().await?;
                let is_over = Cell::new(false);
                let watched = async {
                    let done = user().await;
                    is_over.set(true);
                    done
                };
                let filled = async {
                    while !is_over.get() {
                        remove_leg(&stack, &rpc(dir)).await?;
                        fill_leg(&stack, &rpc(dir)).await?;
                    }
                    Ok(())
                };
                let (with, ()) = try_join(watched, filled).await?;
                legs.tear_down(stack).await?;
                let rate = |done: &Done| done.completed as f64 / done.wall.as_secs_f64();
                ratios.push(rate(&with) / rate(&without));
                for (done, samples) in [&without, &with].into_iter().zip(&mut latencies) {
                    for (percent, sample) in [50.0, 99.0, 99.9].into_iter().zip(samples) {
                        let time = done.latency.percentile(percent).unwrap_or_default();
                        sample.push(time.as_secs_f64() * 1e6);
                    }
                }
            }
            let [without, with] = latencies
                .each_ref()
                .map(|at| at.each_ref().map(Vec::as_slice));
            let found: [Found<'_>; 3] = [
                ("ratio", 2, &[&ratios]),
                ("latency_without_us", 1, &without),
                ("latency_us", 1, &with),
            ];
            report.row(&row, &found);
        }
    }
    legs.delete().await
}

/// The first leg to the second, a window at a time.
async fn copy(spdk: OnApp<'_>) -> Result<Duration, RigError> {
    let from = BdevDesc::open(spdk, LEGS[0]).read_only()?;
    let to = BdevDesc::open(spdk, LEGS[1]).read_write()?;
    let (source, target) = (from.channel()?, to.channel()?);
    let mut buf = source.alloc(WINDOW)?;
    let began = Instant::now();
    let mut lba = Lba(0);
    while lba.0 < from.num_blocks().0 {
        let (result, back) = source.read(lba, buf).await;
        result?;
        let (result, back) = target.write(lba, back).await;
        result?;
        buf = back;
        lba = Lba(lba.0 + WINDOW.0);
    }
    let took = began.elapsed();
    drop((source, target));
    from.close().await;
    to.close().await;
    Ok(took)
}
