//! Memory of arrays, threads and requests.

use spdk_benches::client::RigError;
use spdk_benches::memory::{context_size, heap};
use spdk_benches::stack::BLOCK_SIZE;
use spdk_safe::bdev::{BdevDesc, NullBdev};
use spdk_safe::thread::Thread;
use tempfile::TempDir;

use super::arrays::{Arrays, delete_legs, make_legs};
use super::report::{Found, Report};
use super::{OnApp, Scenarios, mirrors};

/// Threads that have a channel of each array.
const THREADS: u32 = 4;
/// A bdev that each thread has a channel of before: with its first one SPDK takes 2.3 MB for the thread (its accel
/// channel; not in 20.07), and gives them back with its last.
const BYSTANDER: &str = "bystander";

pub(super) async fn run(
    spdk: OnApp<'_>,
    dir: &TempDir,
    options: &Scenarios,
    report: &mut Report,
) -> Result<(), RigError> {
    let count = options.arrays;
    let title = format!(
        "Memory in bytes, of {count} arrays on null legs, from malloc (DPDK's is not in it; a bdev_io and its context are)"
    );
    let heads = [
        "an idle array",
        "a thread's channel of an array, with SPDK's own of it and its legs",
        "a request's context",
    ];
    report.table("memory", title, &heads);
    let bystander = NullBdev::builder(BYSTANDER)
        .blocks(8)
        .block_size(BLOCK_SIZE);
    bystander.create(spdk).await?;
    let bystander = BdevDesc::open(spdk, BYSTANDER).read_only()?;
    let here = bystander.channel()?;
    make_legs(spdk, count).await?;
    for contender in mirrors() {
        // What is taken once, and kept, is not of an array.
        Arrays::create(spdk, dir, contender, 1)
            .await?
            .delete(dir)
            .await?;
        let before = heap();
        let arrays = Arrays::create(spdk, dir, contender, count).await?;
        let with_arrays = heap();
        let context = context_size(spdk, &arrays.names()[0])?;

        let mut descs = Vec::new();
        for name in arrays.names() {
            descs.push(BdevDesc::open(spdk, name).read_only()?);
        }
        let core = options.cores[0];
        let mut threads = Vec::new();
        for at in 0..THREADS {
            let thread = Thread::builder(format!("memory{at}")).core(core);
            threads.push(thread.create(spdk).await?);
        }
        let mut grown = 0;
        for thread in &threads {
            let shared: Vec<_> = descs.iter().map(BdevDesc::share).collect();
            let bystander = bystander.share();
            let task = thread.handle().spawn(move || async move {
                let _there = bystander.channel()?;
                let mut channels = Vec::with_capacity(shared.len());
                let before = heap();
                for desc in &shared {
                    channels.push(desc.channel()?);
                }
                Ok::<u64, RigError>(heap().saturating_sub(before))
            });
            grown += task.await?.await??;
        }
        let array = with_arrays.saturating_sub(before) as f64 / f64::from(count);
        let channel = grown as f64 / f64::from(count * THREADS);
        let found: [Found<'_>; 3] = [
            ("array_bytes", 0, &[&[array]]),
            ("channel_bytes", 0, &[&[channel]]),
            ("context_bytes", 0, &[&[f64::from(context)]]),
        ];
        report.row(contender.name(), &found);
        for thread in threads {
            thread.exit().await;
        }
        for desc in descs {
            desc.close().await;
        }
        arrays.delete(dir).await?;
    }
    delete_legs(spdk, count).await?;
    drop(here);
    bystander.close().await;
    NullBdev::delete(spdk, BYSTANDER).await?;
    Ok(())
}
