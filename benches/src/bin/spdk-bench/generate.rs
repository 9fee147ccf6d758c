//! The load generator by itself, on any bdev.

use std::time::Duration;

use serde_json::json;
use spdk_benches::client::{Order, RigError};
use spdk_benches::load::{Done, Driver, End, Load, drive};
use spdk_benches::stack::{LEGS, app};
use spdk_safe::app::Spdk;
use spdk_safe::bdev::{BdevDesc, MallocBdev};
use spdk_safe::units::{Lba, Mib};

use crate::Error;
use crate::compare::size;
use crate::options::Generate;

pub(crate) fn generate(options: &Generate) -> Result<(), Error> {
    let (app, _dir) = app("spdk-bench", &options.cores)?;
    let app = app.memory(Mib(options.memory));
    let app = match &options.config {
        Some(file) => app.config_file(file),
        None => app,
    };
    let done = app.run(async |spdk| {
        if options.config.is_none() {
            for leg in LEGS {
                MallocBdev::builder(leg)
                    .blocks(65_536)
                    .create(&spdk)
                    .await?;
            }
        }
        work(&spdk, options).await
    })??;
    print(options, &done);
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", json(options, &done));
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

async fn work(spdk: &Spdk, options: &Generate) -> Result<Done, RigError> {
    let desc = BdevDesc::open(spdk, &options.bdev).read_only()?;
    let (blocks, block_size) = (desc.num_blocks(), desc.info().block_size);
    desc.close().await;
    let io_blocks = options.size / block_size;
    if io_blocks * block_size != options.size || u64::from(io_blocks) > blocks.0 {
        return Err(RigError::Work {
            what: "the size",
            allowed: format!("a multiple of {block_size}, and no larger than the bdev"),
        });
    }
    let cores: Vec<u32> = options
        .cores
        .iter()
        .flat_map(|core| std::iter::repeat_n(*core, options.threads as usize))
        .collect();
    let load = Load {
        reads: options.io.reads(options.mix),
        depth: options.depth,
        io_blocks,
        order: match options.io.is_random() {
            true => Order::Random(options.seed),
            false => Order::Sequential,
        },
        end: match options.count {
            Some(count) => End::Count(count),
            None => End::Time(Duration::from_secs_f64(options.time)),
        },
        latency: true,
        verify: options.verify.then_some(options.seed),
    };
    if options.verify {
        let Lba(all) = Lba(blocks.0 / u64::from(io_blocks));
        let fill = Load {
            reads: 0,
            order: Order::Sequential,
            end: End::Count(all),
            ..load
        };
        drive(spdk, &options.bdev, &fill, Driver::Rust, &[]).await?;
    }
    drive(spdk, &options.bdev, &load, Driver::Rust, &cores).await
}

fn print(options: &Generate, done: &Done) {
    let seconds = done.wall.as_secs_f64();
    let rate = done.completed as f64 / seconds;
    println!(
        "{}: {} of {} at depth {}: {} I/Os in {seconds:.3} s, {:.3} million a second, {:.1} MiB/s",
        options.bdev,
        options.io.name(),
        size(options.size),
        options.depth,
        done.completed,
        rate / 1e6,
        rate * f64::from(options.size) / f64::from(1 << 20),
    );
    let at = |percent| done.latency.percentile(percent).unwrap_or_default();
    println!(
        "latency: p50 {:?}, p99 {:?}, p99.9 {:?}; {:.3} million a second of a core's time",
        at(50.0),
        at(99.0),
        at(99.9),
        done.rate / 1e6
    );
    if options.verify {
        println!("verified: all that was read is what was written");
    }
}

fn json(options: &Generate, done: &Done) -> serde_json::Value {
    let at = |percent| {
        done.latency
            .percentile(percent)
            .map(|time| time.as_nanos() as u64)
    };
    json!({
        "bdev": options.bdev,
        "io": options.io.name(),
        "depth": options.depth,
        "size": options.size,
        "completed": done.completed,
        "wall_s": done.wall.as_secs_f64(),
        "cpu_s": done.cpu.as_secs_f64(),
        "iops": done.completed as f64 / done.wall.as_secs_f64(),
        "latency_ns": {"p50": at(50.0), "p99": at(99.0), "p99.9": at(99.9)},
        "is_verified": options.verify,
    })
}
