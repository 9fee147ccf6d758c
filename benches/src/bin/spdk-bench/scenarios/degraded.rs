//! An array that has lost a leg.

use spdk_benches::client::RigError;
use spdk_benches::load::{Done, Driver, Load, drive};
use spdk_benches::stack::{Base, Legs};
use spdk_safe::units::Mib;
use tempfile::TempDir;

use super::{IOS, OnApp, Scenarios, bracketed, mirrors, remove_leg, rpc};

pub(super) async fn run(
    spdk: OnApp<'_>,
    dir: &TempDir,
    options: &Scenarios,
) -> Result<(), RigError> {
    println!(
        "A mirror that has lost a leg beside itself when it had both, qd 64 (a write goes to one leg then)\n\n\
         | | rate by that with both | p99 with both, us | p99, us |\n| --- | --- | ---: | ---: |"
    );
    for base in Base::ALL {
        let legs = Legs::new(spdk, dir, base, Mib(32)).await?;
        for contender in mirrors() {
            for (io, reads) in IOS {
                let mut ratios = Vec::new();
                let mut p99 = [Vec::new(), Vec::new()];
                for round in 0..options.rounds {
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
                println!(
                    "| {} {} {io} | {} | {} | {} |",
                    base.name(),
                    contender.name(),
                    bracketed(&ratios, 2),
                    bracketed(&p99[0], 1),
                    bracketed(&p99[1], 1)
                );
            }
        }
        legs.delete().await?;
    }
    Ok(())
}
