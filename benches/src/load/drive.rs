//! Loads on a bdev that is known by its name.

use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;
use spdk_safe::app::Spdk;
use spdk_safe::bdev::{BdevDesc, ReadWrite, SharedDesc};
use spdk_safe::env::DmaBuf;
use spdk_safe::thread::{Poller, PollerStatus, Thread};
use spdk_safe::units::{Blocks, Mib};

use super::{Done, End, Load, run};
use crate::client::c::Client;
use crate::client::{Direction, Order, Ran, RigError, Shape, Work};

/// What the loop is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// The safe client.
    Rust,
    /// The loop in C, `csrc/client.c`, on the app thread: it only reads or only writes, and neither verifies nor looks
    /// at the clock.
    C,
}

/// Opens the bdev named `bdev`, does `load` on it on an SPDK thread on each of `cores`, or on the app thread if there are
/// none, and closes it.
///
/// # Errors
///
/// [`RigError::Io`] if I/O failed, [`RigError::Mismatch`] if what was read is not what was written, and all that
/// can go wrong before.
pub async fn drive(
    spdk: &Spdk,
    bdev: &str,
    load: &Load,
    driver: Driver,
    cores: &[u32],
) -> Result<Done, RigError> {
    let desc = BdevDesc::open(spdk, bdev).read_write()?;
    let done = match (driver, cores) {
        (Driver::C, _) => in_c(spdk, bdev, load, &desc.share()).await,
        (Driver::Rust, []) => here(&desc.share(), load).await,
        (Driver::Rust, cores) => on_threads(spdk, &desc.share(), load, cores).await,
    };
    desc.close().await;
    let done = done?;
    if done.failed != 0 {
        return Err(RigError::Io {
            bdev: bdev.to_owned(),
            failed: done.failed,
        });
    }
    match done.mismatch {
        None => Ok(done),
        Some(at) => Err(RigError::Mismatch {
            bdev: bdev.to_owned(),
            block: at.block,
            byte: at.byte,
        }),
    }
}

/// On the current thread.
async fn here(desc: &SharedDesc<ReadWrite>, load: &Load) -> Result<Done, RigError> {
    let channel = Rc::new(desc.channel()?);
    let blocks = Blocks(u64::from(load.io_blocks));
    let bufs: Result<Vec<DmaBuf>, _> = (0..load.depth).map(|_| channel.alloc(blocks)).collect();
    Ok(run(channel, load, bufs?).await?.0)
}

async fn on_threads(
    spdk: &Spdk,
    desc: &SharedDesc<ReadWrite>,
    load: &Load,
    cores: &[u32],
) -> Result<Done, RigError> {
    let mut threads = Vec::new();
    for (at, core) in cores.iter().enumerate() {
        let thread = Thread::builder(format!("load{at}")).core(*core);
        threads.push(thread.create(spdk).await?);
    }
    let mut tasks = Vec::new();
    for (at, thread) in threads.iter().enumerate() {
        let (desc, mut load) = (desc.clone(), *load);
        // Each goes its own way.
        if let Order::Random(seed) = &mut load.order {
            *seed = seed
                .wrapping_add(at as u64 + 1)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        let make = move || async move { here(&desc, &load).await };
        tasks.push(thread.handle().spawn(make).await?);
    }
    let mut all = Done::default();
    let mut error = None;
    for result in join_all(tasks).await {
        match result {
            Ok(Ok(done)) => all.and(&done),
            Ok(Err(failed)) => error = error.or(Some(failed)),
            Err(failed) => error = error.or(Some(failed.into())),
        }
    }
    for thread in threads {
        thread.exit().await;
    }
    error.map_or(Ok(all), Err)
}

async fn in_c(
    spdk: &Spdk,
    bdev: &str,
    load: &Load,
    desc: &SharedDesc<ReadWrite>,
) -> Result<Done, RigError> {
    let refuse = |what, allowed: &str| {
        Err(RigError::Work {
            what,
            allowed: allowed.into(),
        })
    };
    if load.latency || load.verify.is_some() {
        return refuse("what the loop in C does", "neither timed nor verified");
    }
    let direction = match load.reads {
        0 => Direction::Write,
        100 => Direction::Read,
        _ => return refuse("the mix of the loop in C", "0 or 100 % reads"),
    };
    let info = desc.info();
    let shape = Shape {
        disk: Mib((info.num_blocks.0 * u64::from(info.block_size)) >> 20),
        block_size: info.block_size,
        io_blocks: load.io_blocks,
        depth: load.depth,
    };
    if shape.places() == 0 || shape.places() > u64::from(u32::MAX) {
        return refuse("the size of a bdev for the loop in C", "1 MiB at least");
    }
    let client = Client::open(spdk, bdev)?;
    let blocks = Blocks(u64::from(load.io_blocks));
    let channel = desc.channel()?;
    let bufs: Result<Vec<DmaBuf>, _> = (0..load.depth).map(|_| channel.alloc(blocks)).collect();
    let _stops = match load.end {
        End::Count(_) => None,
        End::Time(time) => Some(stop_after(&client, time)?),
    };
    let work = Work {
        direction,
        depth: load.depth,
        count: match load.end {
            End::Count(count) => count,
            End::Time(_) => u64::MAX,
        },
        order: load.order,
    };
    let (ran, failed): (Ran, u64) = client.run(&shape, &work, false, bufs?).await.0?;
    Ok(Done {
        completed: ran.completed,
        failed,
        wall: ran.wall,
        cpu: ran.cpu,
        rate: ran.rate(),
        ..Done::default()
    })
}

fn stop_after(client: &Rc<Client>, time: Duration) -> Result<Poller, RigError> {
    let client = Rc::clone(client);
    let stop = move || {
        client.stop();
        PollerStatus::Busy
    };
    Ok(Poller::register(Some(time), stop)?)
}
