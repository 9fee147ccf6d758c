//! Two cores beside one.

use spdk_benches::client::RigError;
use spdk_benches::load::{Done, Driver, drive};
use spdk_benches::stack::{Base, Legs};
use spdk_safe::units::Mib;
use tempfile::TempDir;

use super::report::{Found, Report};
use super::{IOS, OnApp, Scenarios, mirrors};

/// A thread of the load on each core, 64 I/Os in flight on each.
pub(super) async fn run(
    spdk: OnApp<'_>,
    dir: &TempDir,
    options: &Scenarios,
    report: &mut Report,
) -> Result<(), RigError> {
    let title = "Two cores beside one: I/Os per second of both by those of one, qd 64 on each (the goal is 1.9)";
    let heads = ["by the cores' time", "by the wall's clock"];
    report.table("cores", title.into(), &heads);
    for base in Base::ALL {
        let legs = Legs::new(spdk, dir, base, Mib(32)).await?;
        for contender in mirrors() {
            for (io, reads) in IOS {
                let row = format!("{} {} {io}", base.name(), contender.name());
                let (mut by_cores, mut by_wall) = (Vec::new(), Vec::new());
                for round in 0..options.rounds {
                    report.measures(&row, round, options.rounds);
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
                let by_cores: Found<'_> = ("by_cores_time", 2, &[&by_cores]);
                report.row(&row, &[by_cores, ("by_wall", 2, &[&by_wall])]);
            }
        }
        legs.delete().await?;
    }
    Ok(())
}
