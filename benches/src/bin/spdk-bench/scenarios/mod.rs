//! What is measured beside the rows: each prints a table.

mod arrays;
mod cores;
mod degraded;
mod idle;
mod memory;
mod rebuild;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use futures::channel::oneshot;
use serde_json::{Value, json};
use spdk_benches::client::{Order, RigError};
use spdk_benches::load::{End, Load};
use spdk_benches::stack::{Contender, LEGS, Rpc, Stack, app};
use spdk_safe::app::Spdk;
use spdk_safe::thread::{Poller, PollerStatus};
use tempfile::TempDir;

use self::report::Report;
use crate::Error;
use crate::host::Host;

#[derive(Debug, Args)]
pub(crate) struct Scenarios {
    /// Which; all of them if none is named.
    #[arg(value_enum)]
    which: Vec<Which>,
    /// Rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Milliseconds of a turn.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    millis: u64,
    /// Cores: the scenario of that name needs two, the others take the first.
    #[arg(long, value_delimiter = ',', default_value = "0,1")]
    cores: Vec<u32>,
    /// How many arrays, where there are many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    arrays: u32,
    /// Writes all of it to this file, as JSON: every round.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Two cores beside one.
    Cores,
    /// Many arrays at once beside one with as much in flight.
    Arrays,
    /// Memory of an array, of a thread that uses it, and of a request.
    Memory,
    /// An array that has lost a leg.
    Degraded,
    /// User I/O while a leg is filled, and how fast that is.
    Rebuild,
    /// What an attached executor costs when nobody uses it.
    Idle,
}

impl Scenarios {
    fn turn(&self) -> Duration {
        Duration::from_millis(self.millis)
    }

    /// 4 KiB at random for a turn.
    fn load(&self, reads: u8, depth: u32, round: u32) -> Load {
        Load {
            reads,
            depth,
            io_blocks: 8,
            order: Order::Random(u64::from(round) + 1),
            end: End::Time(self.turn()),
            latency: false,
            verify: None,
        }
    }
}

/// The mirrors that the linked SPDK has.
fn mirrors() -> Vec<Contender> {
    let all = [Contender::Raid1, Contender::CRaid1];
    all.into_iter().filter(|who| who.is_there()).collect()
}

const IOS: [(&str, u8); 2] = [("randread", 100), ("randwrite", 0)];

pub(crate) fn run(options: &Scenarios) -> Result<(), Error> {
    use clap::ValueEnum as _;
    let host = Host::this();
    println!("{host}");
    let all = match &options.which[..] {
        [] => Which::value_variants().to_vec(),
        some => some.to_vec(),
    };
    let two = options.cores.len() >= 2;
    if all.contains(&Which::Cores) && !two {
        return Err("the scenario of two cores needs two: --cores 0,1".into());
    }
    let uses = match all.contains(&Which::Cores) {
        true => &options.cores[..],
        false => &options.cores[..1],
    };
    let (app, dir) = app("spdk-bench", uses)?;
    let report = app.run(async |spdk| {
        let mut all_of_it = Report::new();
        for which in all {
            let report = &mut all_of_it;
            match which {
                Which::Cores => cores::run(&spdk, &dir, options, report).await?,
                Which::Arrays => arrays::run(&spdk, &dir, options, report).await?,
                Which::Memory => memory::run(&spdk, &dir, options, report).await?,
                Which::Degraded => degraded::run(&spdk, &dir, options, report).await?,
                Which::Rebuild => rebuild::run(&spdk, &dir, options, report).await?,
                Which::Idle => idle::run(options, report).await?,
            }
        }
        Ok::<Report, RigError>(all_of_it)
    })??;
    if let Some(path) = &options.json {
        let json = report.json(&host, options.rounds, options.millis);
        std::fs::write(path, format!("{json:#}\n"))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Lets that much time pass.
async fn pause(time: Duration) -> Result<(), RigError> {
    let (sender, receiver) = oneshot::channel();
    let mut sender = Some(sender);
    let _poller = Poller::register(Some(time), move || {
        if let Some(sender) = sender.take() {
            let _ = sender.send(());
        }
        PollerStatus::Busy
    })?;
    let _ = receiver.await;
    Ok(())
}

/// Takes the second leg out of a mirror.
async fn remove_leg(stack: &Stack, rpc: &Rpc) -> Result<(), RigError> {
    match stack.array() {
        Some(array) => {
            let removed = array.remove(LEGS[1]).await;
            removed.map_err(|error| RigError::Raid1(error.to_string()))
        }
        None => {
            let params = json!({ "name": LEGS[1] });
            rpc.call("bdev_raid_remove_base_bdev", params).await?;
            // That only begins it.
            while in_sync(stack, rpc).await? != 1 {
                pause(Duration::from_millis(1)).await?;
            }
            Ok(())
        }
    }
}

/// Puts it in again, and waits until it is filled.
async fn fill_leg(stack: &Stack, rpc: &Rpc) -> Result<(), RigError> {
    match stack.array() {
        Some(array) => {
            let added = array.add(LEGS[1]).await;
            added.map_err(|error| RigError::Raid1(error.to_string()))?;
        }
        None => {
            let params = json!({ "raid_bdev": stack.bdev(), "base_bdev": LEGS[1] });
            rpc.call("bdev_raid_add_base_bdev", params).await?;
        }
    }
    while in_sync(stack, rpc).await? != 2 {
        pause(Duration::from_millis(1)).await?;
    }
    Ok(())
}

/// How many legs are in sync.
async fn in_sync(stack: &Stack, rpc: &Rpc) -> Result<u64, RigError> {
    if let Some(array) = stack.array() {
        return Ok(array.info().num_base_bdevs_operational as u64);
    }
    let all = rpc
        .call("bdev_raid_get_bdevs", json!({ "category": "all" }))
        .await?;
    let all = all.as_array().map_or(&[][..], Vec::as_slice);
    let array = all.iter().find(|array| array["name"] == stack.bdev());
    let array = array.unwrap_or(&Value::Null);
    let operational = array["num_base_bdevs_operational"].as_u64().unwrap_or(0);
    // A leg that is being filled counts as operational there.
    let is_filling = array["process"].is_object();
    Ok(operational.saturating_sub(is_filling.into()))
}

/// The folder is kept by whoever runs the app.
fn rpc(dir: &TempDir) -> Rpc {
    Rpc::of(dir)
}

/// Only the app thread has it, and it says that we are on it.
type OnApp<'a> = &'a Spdk;
