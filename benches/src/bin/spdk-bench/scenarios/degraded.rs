//! An array that has lost a leg.

use spdk_benches::client::RigError;
use spdk_benches::load::{Done, Driver, Load, drive};
use spdk_benches::stack::{Base, Legs};
use spdk_safe::units::Mib;
use tempfile::TempDir;

use super::report::{Found, Report};
use super::{IOS, OnApp, Scenarios, mirrors, remove_leg, rpc};

pub(super) async fn run(
    spdk: OnApp<'_>,
    dir: &TempDir,
    options: &Scenarios,
    report: &mut Report,
) -> Result<(), RigError> {
    let title = "A mirror that has lost a leg beside itself when it had both, qd 64 (a write goes to one leg then)";
    let heads = ["rate by that with both", "p99 with both, us", "p99, us"];
    report.table("degraded", title.into(), &heads);
    for base in Base::ALL {
        let legs = Legs::new(spdk, dir, base, Mib(32)).await?;
        for contender in mirrors() {
            for (io, reads) in IOS {
                let row = format!("{} {} {io}", base.name(), contender.name());
                let mut ratios = Vec::new();
                let mut p99 = [Vec::new(), Vec::new()];
                for round in 0..options.rounds {
                    report.measures(&row, round, options.rounds);
                    let stack = legs.build(contender).await?;
                    let load = options.load(reads, 64, round);
                    let timed = Load {
                        latency: true,
                        ..load
                    };
                    let turn = async |load: &Load| -> Result<Done, RigError> {
                        drive(spdk, stack.bdev(), load, Driver::Rust, &[]).await
                    };
                    turn(&load).await?;
                    let mut rates = Vec::new();
                    for at in &mut p99 {
                        rates.push(turn(&load).await?.rate);
                        let latency = turn(&timed).await?.latency.percentile(99.0);
                        at.push(latency.unwrap_or_default().as_secs_f64() * 1e6);
                        if rates.len() == 1 {
                            remove_leg(&stack, &rpc(dir)).await?;
                        }
                    }
                    legs.tear_down(stack).await?;
                    ratios.push(rates[1] / rates[0]);
                }
                let found: [Found<'_>; 3] = [
                    ("ratio", 2, &[&ratios]),
                    ("p99_with_both_us", 1, &[&p99[0]]),
                    ("p99_us", 1, &[&p99[1]]),
                ];
                report.row(&row, &found);
            }
        }
        legs.delete().await?;
    }
    Ok(())
}
