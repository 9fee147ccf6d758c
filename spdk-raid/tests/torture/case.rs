//! One case, from the creation of its disks to their end.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::future::{Either, join, join_all, select};
use spdk_raid::raid1::persist::{PersistError, Persistence, Record, Recorded};
use spdk_raid::raid1::state::{ArrayState, LegState};
use spdk_raid::raid1::{Options, Process, ProcessInfo, Raid1, ReadPolicy};
use spdk_safe::app::yield_now;
use spdk_safe::prelude::*;
use spdk_safe::test::{Case, Open};
use spdk_safe::thread;

use super::disks::Disk;
use super::io::{Checked, Shared, pause, work};
use super::model::{Model, tags};
use super::plan::{Admin, Deed, Plan};
use super::{BLOCKS, SIZE, total};

/// Jobs that have not ended after so many polls, though nothing goes wrong, hang.
const PATIENCE: usize = 100_000;

/// Keeps nothing, but takes its time, and fails now and then.
struct Slow {
    polls: usize,
    fails: u64,
    asked: AtomicU64,
    forgotten: Arc<AtomicU64>,
}

impl Persistence for Slow {
    fn record<'a>(&'a self, record: &'a Record) -> Recorded<'a> {
        Box::pin(async move {
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            pause(self.polls * (asked % 3) as usize / 2).await;
            if self.fails == 0 || asked % self.fails != 1 {
                return Ok(());
            }
            self.forgotten.fetch_add(1, Ordering::Relaxed);
            Err(PersistError {
                array: record.name.clone(),
                why: "the plan says so".into(),
            })
        })
    }
}

fn policy(number: usize) -> ReadPolicy {
    match number {
        0 => ReadPolicy::LeastLoaded,
        1 => ReadPolicy::RoundRobin,
        _ => ReadPolicy::Primary,
    }
}

fn options(number: usize, window: u64, bandwidth: u64) -> Options {
    let mut options = Options::default();
    options.read_policy = policy(number);
    options.window = Bytes(window * SIZE as u64);
    options.max_bandwidth = (bandwidth != 0).then_some(Bytes(bandwidth * SIZE as u64));
    // By SPDK's clock, which is not in the seed.
    options.io_timeout = None;
    options
}

pub(crate) async fn run(case: Case, plan: Plan) -> Checked {
    let spdk = case.spdk.clone();
    let before = Open::now();
    let mut disks = Vec::new();
    let forgotten = Arc::new(AtomicU64::new(0));
    let persistence = Slow {
        polls: plan.persist,
        fails: plan.forgets as u64,
        asked: AtomicU64::new(0),
        forgotten: Arc::clone(&forgotten),
    };
    let mut builder = Raid1::builder("md")
        .options(options(plan.policy, plan.window, 0))
        .persistence(Arc::new(persistence));
    for (at, what) in plan.disks.iter().enumerate() {
        let of = plan.faults.iter().filter(|(disk, _)| *disk == at);
        let faults = of.map(|(_, fault)| fault.clone()).collect();
        let disk = Disk::new(format!("d{at}"), what.clone(), faults);
        disk.create(&spdk, what.is_leg).await;
        if what.is_leg {
            builder = builder.base(&disk.name);
        }
        disks.push(disk);
    }
    if plan.missing {
        builder = builder.missing();
    }
    let md = builder.create(&spdk).await.unwrap();
    let shared = Arc::new(Shared {
        md,
        model: Model::new(BLOCKS as usize),
        disks,
        plan,
        tags: AtomicU64::new(1),
        resets: AtomicU64::new(0),
        resetting: AtomicU64::new(0),
        forgotten,
        at_work: AtomicU64::new(super::THREADS as u64),
        is_ending: AtomicBool::new(false),
    });
    let relief = async {
        loop {
            for _ in 0..200 {
                yield_now().await;
            }
            shared.disks.iter().for_each(|disk| disk.let_go());
        }
    };
    let body = body(&spdk, &case, &shared);
    match select(pin!(body), pin!(relief)).await {
        Either::Left((checked, _)) => checked?,
        Either::Right((never, _)) => never,
    }
    drop(shared);
    // Channels are put by message, threads exit.
    for _ in 0..2000 {
        let now = Open::now();
        if now.bdev_ios == before.bdev_ios && now.names == before.names && now.held == before.held {
            break;
        }
        yield_now().await;
    }
    let after = Open::now();
    match before == after {
        true => Ok(()),
        false => Err(format!(
            "not all was given back: {before:?} was there before, {after:?} is now"
        )),
    }
}

async fn body(spdk: &Spdk, case: &Case, shared: &Arc<Shared>) -> Checked {
    let desc = BdevDesc::open(spdk, "md").read_write().unwrap();
    let of = |at: usize| {
        let steps = shared.plan.steps.iter();
        let steps = steps.filter(move |step| step.thread == at);
        steps.cloned().collect::<Vec<_>>()
    };
    let others = (1..).zip(&case.threads).map(|(at, thread)| {
        let (desc, shared, steps) = (desc.share(), Arc::clone(shared), of(at));
        thread.run(async move || work(shared, desc, steps).await)
    });
    let others: Vec<_> = others.collect();
    let ours = work(Arc::clone(shared), desc.share(), of(0));
    let ((ours, others), ()) = join(join(ours, join_all(others)), admin(spdk, shared)).await;
    ours?;
    for other in others {
        other.map_err(|ended| ended.to_string())??;
    }
    let mut legs = Vec::new();
    if !shared.is_over() {
        settle(shared).await?;
    }
    if !shared.is_over() {
        legs = last_look(shared, &desc).await?;
    }
    count(shared);
    desc.close().await;
    shared.md.clone().delete().await;
    let unstable = shared.model.unstable();
    let is_equal = shared.is_equal();
    compare(spdk, shared, &legs, &unstable, is_equal).await?;
    for disk in &shared.disks {
        disk.delete(spdk).await;
    }
    Ok(())
}

/// What is done to the array and its disks.
async fn admin(spdk: &Spdk, shared: &Arc<Shared>) {
    let (md, disks) = (&shared.md, &shared.disks);
    for &Admin { pause: polls, deed } in &shared.plan.admin {
        pause(polls).await;
        trace!("{deed:?}");
        let touch = |at: usize| disks[at].touched.fetch_add(1, Ordering::Relaxed);
        match deed {
            Deed::Remove(at) => {
                touch(at);
                let _ = md.remove(&disks[at].name).await;
                touch(at);
                trace!("ended: {deed:?}");
            }
            Deed::Add(at) => {
                touch(at);
                if disks[at].is_out() {
                    disks[at].gone().await;
                    disks[at].create(spdk, false).await;
                }
                if md.add(&disks[at].name).await.is_ok() {
                    total::ADDED.add(1);
                }
                touch(at);
            }
            Deed::Replace(old, new) => {
                touch(old);
                touch(new);
                if md.replace(&disks[old].name, &disks[new].name).await.is_ok() {
                    total::ADDED.add(1);
                }
                touch(old);
                touch(new);
            }
            Deed::Pull(at) => {
                touch(at);
                total::PULLED.add(1);
                disks[at].pull(spdk);
            }
            Deed::Scrub { repair } => {
                if md.scrub(repair).await.is_ok() {
                    total::SCRUBS.add(1);
                }
            }
            Deed::Options {
                policy,
                window,
                bandwidth,
            } => {
                let _ = md.set_options(options(policy, window, bandwidth)).await;
            }
            Deed::PauseJobs | Deed::ResumeJobs | Deed::AbortJobs => {
                for job in jobs(md) {
                    let _ = match deed {
                        Deed::PauseJobs => md.pause(&job),
                        Deed::ResumeJobs => md.resume(&job),
                        _ => md.abort(&job).await,
                    };
                }
            }
            Deed::LetGo => disks.iter().for_each(|disk| disk.let_go()),
            Deed::Faults => disks.iter().for_each(|disk| disk.arm()),
            Deed::ResetCounters => {
                count(shared);
                md.reset_counters();
            }
            Deed::Delete => {
                shared.is_ending.store(true, Ordering::Relaxed);
                let md = md.clone();
                let _ = thread::spawn_local(md.delete());
            }
        }
    }
}

/// What the array does by itself.
fn jobs(md: &Raid1) -> Vec<Process> {
    let of = |job: &ProcessInfo| match &job.target {
        Some(base) => Process::Rebuild(base.clone()),
        None => Process::Scrub,
    };
    md.info().processes.iter().map(of).collect()
}

/// Waits until the array has nothing more to do, when nothing goes wrong any more.
async fn settle(shared: &Shared) -> Checked {
    shared.disks.iter().for_each(|disk| disk.disarm());
    let _ = shared.md.set_options(options(1, 8, 0)).await;
    for job in jobs(&shared.md) {
        let _ = shared.md.resume(&job);
    }
    for _ in 0..PATIENCE {
        let info = shared.md.info();
        if info.state == ArrayState::Failed || (info.processes.is_empty() && info.dirty_ranges == 0)
        {
            break;
        }
        yield_now().await;
    }
    let info = shared.md.info();
    match info.processes.is_empty() || shared.is_over() {
        true => Ok(()),
        false => Err(format!("a job does not end: {info:?}")),
    }
}

/// All is what it may be, on all legs. Those in sync.
async fn last_look(
    shared: &Shared,
    desc: &BdevDesc<ReadWrite, Opened>,
) -> Result<Vec<usize>, String> {
    let (md, plan) = (&shared.md, &shared.plan);
    if plan.last_scrub && md.scrub(true).await.is_ok() {
        total::SCRUBS.add(1);
        settle(shared).await?;
    }
    let legs = shared.in_sync();
    for (at, disk) in shared.plan.disks.iter().enumerate() {
        let must = disk.is_leg && plan.is_left_alone(at) && !plan.resets();
        if must && !legs.contains(&at) {
            return Err(format!(
                "nobody did anything to disk {at}, and it is out of sync: {:?}",
                md.info()
            ));
        }
    }
    // The array may not have heard of it yet that its legs are gone.
    let may_fail = || shared.is_over() || legs.iter().any(|&at| shared.disks[at].is_out());
    let ch = match desc.channel() {
        Ok(ch) => ch,
        Err(_) if may_fail() => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    for _ in 0..=legs.len() {
        let read = shared.model.begin_read(0, BLOCKS as usize, shared.legs());
        match ch.read_blocks(Lba(0), Blocks(BLOCKS)).await {
            Ok(bytes) => read.end(Some(&bytes))?,
            Err(_) if may_fail() => return Ok(Vec::new()),
            Err(error) => return Err(format!("the last look: {error}")),
        }
    }
    let rebuilt = md.info().base_bdevs_list;
    let rebuilt = rebuilt
        .iter()
        .filter(|base| base.state == LegState::InSync)
        .filter_map(|base| {
            shared
                .disks
                .iter()
                .find(|disk| Some(&disk.name) == base.name.as_ref())
        })
        .filter(|disk| disk.touched.load(Ordering::Relaxed) != 0);
    total::REBUILT.add(rebuilt.count() as u64);
    Ok(legs)
}

/// Looks at the legs themselves, when the array is gone.
async fn compare(
    spdk: &Spdk,
    shared: &Shared,
    legs: &[usize],
    unstable: &[bool],
    is_equal: bool,
) -> Checked {
    if !is_equal {
        total::DIRTY.add(1);
    }
    let mut first: Option<(usize, Vec<u8>)> = None;
    for &at in legs.iter().filter(|&&at| !shared.disks[at].is_out()) {
        let bytes = shared.disks[at].contents(spdk).await;
        let read = shared
            .model
            .begin_read(0, BLOCKS as usize, (!is_equal).then_some(0));
        if is_equal {
            read.end(Some(&bytes))
                .map_err(|why| format!("disk {at} by itself: {why}"))?;
        } else {
            read.end(None)?;
        }
        let Some((of, first)) = &first else {
            first = Some((at, bytes));
            continue;
        };
        let pairs = first.chunks(SIZE).zip(bytes.chunks(SIZE));
        for (block, (one, other)) in pairs.enumerate() {
            let may_differ = !is_equal || (unstable[block] && !shared.plan.last_scrub);
            if one != other && !may_differ {
                return Err(format!(
                    "block {block} of disk {of} holds {:?}, and of disk {at} {:?}",
                    tags(one)[0],
                    tags(other)[0]
                ));
            }
        }
    }
    Ok(())
}

/// Adds what the array has counted.
fn count(shared: &Shared) {
    let counts = shared.md.info().counters;
    total::FAULTS.add(counts.faults);
    total::DIVERGED.add(counts.diverged);
    total::REPAIRED.add(counts.repaired);
    total::PARKED.add(counts.parked);
    total::LOCKS.add(counts.locks);
    total::RETRIES.add(counts.lock_retries);
    total::MISMATCHES.add(counts.mismatches);
}
