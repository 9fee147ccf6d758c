//! One case, from the creation of its disks to their end.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, join, join_all, select, try_join_all};
use spdk_raid::raid1::persist::{PersistError, Persistence, Record, Recorded};
use spdk_raid::raid1::state::{ArrayState, FaultReason, LegState};
use spdk_raid::raid1::{BaseInfo, Options, Process, ProcessInfo, Raid1, ReadPolicy};
use spdk_safe::app::yield_now;
use spdk_safe::prelude::*;
use spdk_safe::test::{Case, Open};
use spdk_safe::thread;

use super::disks::{Disk, JUNK};
use super::io::{Checked, Shared, pause, work};
use super::model::{Legs, Model, tags};
use super::plan::{Admin, Deed, Kind, PRIMARY, Plan};
use super::{BLOCKS, ROOM, SIZE, total};

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

/// Blocks, blocks a second, and seconds.
fn options(number: usize, window: u64, bandwidth: u64, patience: u64) -> Options {
    let mut options = Options::default();
    options.read_policy = policy(number);
    options.window = Bytes(window * SIZE as u64);
    options.max_bandwidth = (bandwidth != 0).then_some(Bytes(bandwidth * SIZE as u64));
    // By SPDK's clock, which is not in the seed: nobody needs so long, but for those who do not answer at all.
    options.io_timeout = (patience != 0).then_some(Duration::from_secs(patience));
    options.slow_io = options.io_timeout;
    options
}

/// How long those have to answer who do not.
fn patience(plan: &Plan) -> u64 {
    u64::from(plan.kind == Kind::Late)
}

pub(crate) async fn run(case: Case, mut plan: Plan) -> Checked {
    let before = Open::now();
    let mut plans = Vec::new();
    while let Some(other) = plan.other.take() {
        plans.push(std::mem::replace(&mut plan, *other));
    }
    plans.push(plan);
    let arrays = plans.into_iter().enumerate();
    let arrays = arrays.map(|(at, plan)| run_array(&case, ["", "other-"][at], plan));
    try_join_all(arrays).await?;
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

/// One array, with disks of its own.
async fn run_array(case: &Case, prefix: &str, plan: Plan) -> Checked {
    let spdk = &case.spdk;
    let mut disks = Vec::new();
    let forgotten = Arc::new(AtomicU64::new(0));
    let persistence = Slow {
        polls: plan.persist,
        fails: plan.forgets as u64,
        asked: AtomicU64::new(0),
        forgotten: Arc::clone(&forgotten),
    };
    let is_unequal = plan.kind == Kind::Unequal;
    let mut builder = Raid1::builder(format!("{prefix}md"))
        .options(options(
            plan.policy,
            plan.window,
            plan.bandwidth,
            patience(&plan),
        ))
        .persistence(Arc::new(persistence));
    for (at, what) in plan.disks.iter().enumerate() {
        let of = plan.faults.iter().filter(|(disk, _)| *disk == at);
        let faults = of.map(|(_, fault)| fault.clone()).collect();
        let disk = Disk::new(format!("{prefix}d{at}"), what.clone(), faults);
        let is_empty = what.is_leg && (at == 0 || !is_unequal);
        disk.create(spdk, is_empty).await;
        if what.is_leg {
            builder = builder.base(&disk.name);
        }
        disks.push(disk);
    }
    if plan.missing {
        builder = builder.missing();
    }
    if is_unequal {
        builder = builder.resync();
    }
    let md = builder.create(spdk).await.unwrap();
    let shared = Arc::new(Shared {
        md,
        model: Model::new(BLOCKS as usize, ROOM as usize, |at| JUNK + at as u32),
        disks,
        plan,
        tags: AtomicU64::new(1),
        resets: AtomicU64::new(0),
        resetting: AtomicU64::new(0),
        forgotten,
        at_work: AtomicU64::new(super::THREADS as u64),
        is_ending: AtomicBool::new(false),
        stays_dirty: AtomicBool::new(false),
        is_repaired: AtomicBool::new(false),
        failed: Mutex::new(None),
        read_errors: AtomicU64::new(0),
        since: Mutex::new(None),
    });
    let is_late = shared.plan.kind == Kind::Late;
    let relief = async {
        loop {
            for _ in 0..200 {
                yield_now().await;
                if is_late {
                    // It takes seconds, whatever we do.
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
            if is_late {
                continue;
            }
            shared.disks.iter().for_each(|disk| disk.let_go());
        }
    };
    let body = body(spdk, case, &shared);
    match select(pin!(body), pin!(relief)).await {
        Either::Left((checked, _)) => checked,
        Either::Right((never, _)) => never,
    }
}

async fn body(spdk: &Spdk, case: &Case, shared: &Arc<Shared>) -> Checked {
    let desc = BdevDesc::open(spdk, shared.md.name()).read_write().unwrap();
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
    may_have_failed(shared)?;
    if !shared.is_over() {
        settle(shared).await?;
    }
    if !shared.is_over() {
        legs = last_look(spdk, shared, &desc).await?;
    }
    let blocks = shared.md.num_blocks();
    count(shared);
    desc.close().await;
    shared.md.clone().delete().await;
    let unstable = shared.model.unstable();
    let is_equal = shared.is_equal();
    compare(spdk, shared, &legs, blocks, &unstable, is_equal).await?;
    for disk in &shared.disks {
        disk.delete(spdk).await;
    }
    Ok(())
}

/// An array fails if its last leg in sync goes, and by nothing else.
fn may_have_failed(shared: &Shared) -> Checked {
    let info = shared.md.info();
    let is_gone = |base: &BaseInfo| {
        let reason = FaultReason::Gone;
        base.state == LegState::Faulted { reason }
    };
    // Somebody may have taken it away since, or put it back.
    let was_out = |disk: &Arc<Disk>| disk.is_out() || disk.touched.load(Ordering::Relaxed) != 0;
    let went = info.base_bdevs_list.iter().any(is_gone) || shared.disks.iter().any(was_out);
    let is_fair = shared.plan.rock.is_none() && went;
    match info.state == ArrayState::Failed && !is_fair {
        true => Err(format!("the array has failed: {info:?}")),
        false => Ok(()),
    }
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
                patience: seconds,
            } => {
                let seconds = match patience(&shared.plan) {
                    0 => seconds,
                    late => late,
                };
                let options = options(policy, window, bandwidth, seconds);
                let _ = md.set_options(options).await;
            }
            Deed::Grow(at, more) => {
                disks[at].grow(BLOCKS + more);
                total::GROWN.add(1);
            }
            Deed::PauseJobs | Deed::ResumeJobs | Deed::AbortJobs => {
                for job in jobs(md) {
                    let _ = match deed {
                        Deed::PauseJobs => md.pause(&job),
                        Deed::ResumeJobs => md.resume(&job),
                        _ => {
                            total::ABORTED.add(1);
                            if job == Process::Resync {
                                shared.stays_dirty.store(true, Ordering::Relaxed);
                            }
                            md.abort(&job).await
                        }
                    };
                }
            }
            Deed::LetGo => disks.iter().for_each(|disk| disk.let_go()),
            Deed::Faults => disks.iter().for_each(|disk| disk.arm()),
            Deed::ResetCounters => {
                let errors = md.info().counters.read_errors;
                shared.read_errors.fetch_add(errors, Ordering::Relaxed);
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
        None if job.kind == "resync" => Process::Resync,
        None => Process::Scrub,
    };
    md.info().processes.iter().map(of).collect()
}

/// Waits until the array has nothing more to do, when nothing goes wrong any more.
async fn settle(shared: &Shared) -> Checked {
    shared.disks.iter().for_each(|disk| disk.disarm());
    let policy = match shared.plan.kind {
        Kind::Corrupt => PRIMARY,
        _ => 1,
    };
    let options = options(policy, 8, 0, patience(&shared.plan));
    let _ = shared.md.set_options(options).await;
    for job in jobs(&shared.md) {
        let _ = shared.md.resume(&job);
    }
    for _ in 0..PATIENCE {
        let info = shared.md.info();
        let is_dirty = info.dirty_ranges != 0 && !shared.stays_dirty.load(Ordering::Relaxed);
        let is_busy = is_dirty || info.repairs != 0 || !info.processes.is_empty();
        if info.state == ArrayState::Failed || !is_busy {
            break;
        }
        yield_now().await;
    }
    let info = shared.md.info();
    let stays_dirty = shared.stays_dirty.load(Ordering::Relaxed);
    if shared.is_over() {
        return Ok(());
    }
    match (info.processes.is_empty(), info.dirty_ranges) {
        (false, _) => Err(format!("a job does not end: {info:?}")),
        (_, 1..) if !stays_dirty => Err(format!("legs are not made equal: {info:?}")),
        _ => Ok(()),
    }
}

/// All is what it may be, on all legs. Those in sync.
async fn last_look(
    spdk: &Spdk,
    shared: &Shared,
    desc: &BdevDesc<ReadWrite, Opened>,
) -> Result<Vec<usize>, String> {
    let (md, plan) = (&shared.md, &shared.plan);
    if let Some(repair) = plan.last_scrub {
        last_scrub(spdk, shared, repair).await?;
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
    let blocks = looked_at(md.num_blocks());
    for _ in 0..=legs.len() {
        let read = shared.model.begin_read(0, blocks.0 as usize, shared.legs());
        match ch.read_blocks(Lba(0), blocks).await {
            Ok(bytes) => read.end_of(Some(&bytes), Some(shared.legs()))?,
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

/// Those that somebody may have written to.
fn looked_at(blocks: Blocks) -> Blocks {
    Blocks(blocks.0.min(BLOCKS + ROOM))
}

/// A scrub finds exactly what there is to find.
async fn last_scrub(spdk: &Spdk, shared: &Shared, repair: bool) -> Checked {
    let (md, disks) = (&shared.md, &shared.disks);
    let legs = shared.in_sync();
    if shared.is_over() || legs.iter().any(|&at| disks[at].is_out()) {
        return Ok(());
    }
    let blocks = md.num_blocks();
    let first = disks[legs[0]].contents(spdk, blocks).await;
    let mut differing = 0;
    for &at in &legs[1..] {
        let bytes = disks[at].contents(spdk, blocks).await;
        let pairs = first.chunks(SIZE).zip(bytes.chunks(SIZE));
        differing += pairs.filter(|(one, other)| one != other).count() as u64;
    }
    let before = md.info().counters.mismatches;
    if md.scrub(repair).await.is_err() {
        return Ok(());
    }
    total::SCRUBS.add(1);
    settle(shared).await?;
    shared.is_repaired.store(repair, Ordering::Relaxed);
    let found = md.info().counters.mismatches - before;
    match found == differing || legs != shared.in_sync() {
        true => Ok(()),
        false => Err(format!(
            "{differing} blocks differ, and a scrub has found {found}: {:?}",
            md.info()
        )),
    }
}

/// Looks at the legs themselves, when the array is gone.
async fn compare(
    spdk: &Spdk,
    shared: &Shared,
    legs: &[usize],
    blocks: Blocks,
    unstable: &[bool],
    is_equal: bool,
) -> Checked {
    if !is_equal {
        total::DIRTY.add(1);
    }
    let is_repaired = shared.is_repaired.load(Ordering::Relaxed);
    let blocks = looked_at(blocks);
    let legs_say = |is_equal| Legs {
        is_equal,
        since: None,
    };
    let mut first: Option<(usize, Vec<u8>)> = None;
    for &at in legs.iter().filter(|&&at| !shared.disks[at].is_out()) {
        let bytes = shared.disks[at].contents(spdk, blocks).await;
        let read = shared
            .model
            .begin_read(0, blocks.0 as usize, legs_say(is_equal));
        let is_corrupt = shared.plan.kind == Kind::Corrupt && at != 0 && !is_repaired;
        if is_equal && !is_corrupt {
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
            let may_differ = !is_equal || is_corrupt || (unstable[block] && !is_repaired);
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
    total::RESCUED.add(counts.rescued);
    total::TIMEOUTS.add(counts.timeouts);
    total::RESYNCED.add(counts.resynced);
    total::LOCKS.add(counts.locks);
    total::RETRIES.add(counts.lock_retries);
    total::MISMATCHES.add(counts.mismatches);
}
