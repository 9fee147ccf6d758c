//! Two cores beside one.

use spdk_benches::client::RigError;
use spdk_benches::load::{Done, Driver, drive};
use spdk_benches::stack::{Base, Legs};
use spdk_safe::units::Mib;
use tempfile::TempDir;

use super::{IOS, OnApp, Scenarios, bracketed, mirrors};

/// A thread of the load on each core, 64 I/Os in flight on each.
pub(super) async fn run(
    spdk: OnApp<'_>,
    dir: &TempDir,
    options: &Scenarios,
) -> Result<(), RigError> {
    println!(
        "Two cores beside one: I/Os per second of both by those of one, qd 64 on each (the goal is 1.9)\n\n\
         | | by the cores' time | by the wall's clock |\n| --- | --- | --- |"
    );
    for base in Base::ALL {
        let legs = Legs::new(spdk, dir, base, Mib(32)).await?;
        for contender in mirrors() {
            for (io, reads) in IOS {
                let (mut by_cores, mut by_wall) = (Vec::new(), Vec::new());
                for round in 0..options.rounds {
                    let stack = legs.build(contender).await?;
                    let load = options.load(reads, 64, round);
                    let turn = async |cores: &[u32]| {
                        drive(spdk, stack.bdev(), &load, Driver::Rust, cores).await
                    };
                    turn(&options.cores[..2]).await?;
                    let one = turn(&options.cores[..1]).await?;
                    let two = turn(&options.cores[..2]).await?;
                    legs.tear_down(stack).await?;
                    let wall = |done: &Done| done.completed as f64 / done.wall.as_secs_f64();
                    by_cores.push(two.rate / one.rate);
                    by_wall.push(wall(&two) / wall(&one));
                }
                println!(
                    "| {} {} {io} | {} | {} |",
                    base.name(),
                    contender.name(),
                    bracketed(&by_cores, 2),
                    bracketed(&by_wall, 2)
                );
            }
        }
        legs.delete().await?;
    }
    Ok(())
}
