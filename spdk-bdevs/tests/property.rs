//! Random I/O of all types on several SPDK threads, over a ramdisk, a pass-through on one, and a malloc bdev, with
//! faults from a plan and schedules from a seed; one model says what may be read.
//!
//! `SPDK_TEST_SEED=<seed>` runs one case, `PROPERTY_CASES=<n>` says how many there are. A case that fails runs again with
//! parts left out, on new bdevs and by the same schedule, until nothing more can be.

#[path = "property/model.rs"]
mod model;
#[path = "property/plan.rs"]
mod plan;

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::future::{Either, join_all, select};
use model::{Model, pattern};
use plan::{Plan, Step, What};
use spdk_bdevs::passthru::{self, Passthru};
use spdk_bdevs::ramdisk::{self, Action, Fault, Ramdisk};
use spdk_safe::app::yield_now;
use spdk_safe::bdev::SharedDesc;
use spdk_safe::prelude::*;
use spdk_safe::test::{Case, Open, Random, SeededHarness};

static SPDK: SeededHarness = SeededHarness::new(&[&ramdisk::MODULE, &passthru::MODULE]);

/// So few that they meet, and across a boundary in the ramdisk's memory.
const BLOCKS: u64 = 24;
/// Where they begin.
const FIRST: u64 = 116;
const SIZE: usize = 512;
/// The app thread, and two more.
const THREADS: usize = 3;
/// What one channel does at a time.
const LANES: usize = 3;
/// What one lane does.
const OPS: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Malloc,
    Ramdisk,
    Passthru,
}

impl Kind {
    fn top(self) -> &'static str {
        match self {
            Self::Passthru => "pt",
            _ => "disk",
        }
    }
}

/// What all lanes of a case know.
struct Shared {
    kind: Kind,
    model: Model,
    /// Whether I/O may fail.
    may_fail: bool,
    tags: AtomicU64,
    done: AtomicU64,
}

type Checked = Result<(), String>;

impl Shared {
    /// Checks how an I/O ended: whether it did what it was to.
    fn ended(&self, what: &str, result: Result<(), IoError>) -> Result<bool, String> {
        self.done.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(()) => Ok(true),
            Err(_) if self.may_fail => Ok(false),
            Err(error) => Err(format!("{what}: {error}")),
        }
    }
}

/// Memory in one of several forms, with `bytes` in it.
enum Buffer {
    Heap(Vec<u8>),
    Dma(DmaBuf),
    /// In pieces that are no whole blocks, at odd addresses.
    Pieces(Vec<Vec<u8>>),
    Uneven((Vec<u8>, Box<[u8]>)),
}

impl Buffer {
    fn of(bytes: &[u8], ch: &IoChannel<ReadWrite>, random: &mut Random) -> Self {
        match random.below(4) {
            0 => Self::Heap(bytes.to_vec()),
            1 => {
                let mut buf = ch.alloc(Blocks((bytes.len() / SIZE) as u64)).unwrap();
                buf.copy_from_slice(bytes);
                Self::Dma(buf)
            }
            2 => Self::Pieces(
                bytes
                    .chunks(1 + random.below(SIZE * 2))
                    .map(<[u8]>::to_vec)
                    .collect(),
            ),
            _ => {
                let (first, second) = bytes.split_at(1 + random.below(bytes.len() - 1));
                Self::Uneven((first.to_vec(), second.into()))
            }
        }
    }

    async fn write(self, ch: &IoChannel<ReadWrite>, lba: Lba) -> Result<(), IoError> {
        match self {
            Self::Heap(buf) => ch.write(lba, buf).await.0,
            Self::Dma(buf) => ch.write(lba, buf).await.0,
            Self::Pieces(buf) => ch.write(lba, buf).await.0,
            Self::Uneven(buf) => ch.write(lba, buf).await.0,
        }
    }

    async fn read(self, ch: &IoChannel<ReadWrite>, lba: Lba) -> Result<Vec<u8>, IoError> {
        Ok(match self {
            Self::Heap(buf) => {
                let (result, buf) = ch.read(lba, buf).await;
                result.map(|()| buf)?
            }
            Self::Dma(buf) => {
                let (result, buf) = ch.read(lba, buf).await;
                result.map(|()| buf.to_vec())?
            }
            Self::Pieces(buf) => {
                let (result, buf) = ch.read(lba, buf).await;
                result.map(|()| buf.concat())?
            }
            Self::Uneven(buf) => {
                let (result, (first, second)) = ch.read(lba, buf).await;
                result.map(|()| [&first[..], &second].concat())?
            }
        })
    }

    async fn compare(self, ch: &IoChannel<ReadWrite>, lba: Lba) -> Result<(), IoError> {
        match self {
            Self::Heap(buf) => ch.compare(lba, buf).await.0,
            Self::Dma(buf) => ch.compare(lba, buf).await.0,
            Self::Pieces(buf) => ch.compare(lba, buf).await.0,
            Self::Uneven(buf) => ch.compare(lba, buf).await.0,
        }
    }
}

/// One I/O after the other.
async fn lane(shared: &Shared, ch: &IoChannel<ReadWrite>, steps: Vec<Step>) -> Checked {
    for step in steps {
        let mut random = Random::new(step.seed);
        run_step(shared, ch, &step, &mut random).await?;
    }
    Ok(())
}

async fn run_step(
    shared: &Shared,
    ch: &IoChannel<ReadWrite>,
    step: &Step,
    random: &mut Random,
) -> Checked {
    let model = &shared.model;
    let &Step { first, count, .. } = step;
    let (lba, blocks) = (Lba(FIRST + first as u64), Blocks(count as u64));
    let tag = shared.tags.fetch_add(1, Ordering::Relaxed) as u32;
    match step.what {
        What::Read => {
            let read = model.begin_read(first, count);
            let buffer = Buffer::of(&pattern(&vec![tag; count]), ch, random);
            match buffer.read(ch, lba).await {
                Ok(bytes) => {
                    shared.done.fetch_add(1, Ordering::Relaxed);
                    read.end(Some(&bytes))?;
                }
                Err(error) => {
                    read.end(None)?;
                    shared.ended("read", Err(error))?;
                }
            }
        }
        What::Write => {
            let Some(write) = model.begin_write(first, &vec![tag; count]) else {
                return Ok(());
            };
            let buffer = Buffer::of(&pattern(&vec![tag; count]), ch, random);
            let result = buffer.write(ch, lba).await;
            write.end(shared.ended("write", result)?);
        }
        What::AbortedWrite => {
            let Some(write) = model.begin_write(first, &vec![tag; count]) else {
                return Ok(());
            };
            let batch = ch.batch();
            let io = ch.write(lba, pattern(&vec![tag; count])).in_batch(&batch);
            // Whether it comes in time, and whether the bdev can, is seen by the write.
            let (io, _) = futures::join!(io, batch.abort());
            write.end(shared.ended("aborted write", io.0)?);
        }
        What::Unmap | What::WriteZeroes => {
            let Some(write) = model.begin_write(first, &vec![0; count]) else {
                return Ok(());
            };
            let result = match step.what {
                What::Unmap => ch.unmap(lba, blocks).await,
                _ => ch.write_zeroes(lba, blocks).await,
            };
            write.end(shared.ended("unmap or write zeroes", result)?);
        }
        What::Compare => {
            let tags = model.guess(first, count, random);
            let read = model.begin_read(first, count);
            let result = Buffer::of(&pattern(&tags), ch, random)
                .compare(ch, lba)
                .await;
            read.end_compare(&tags, &result)?;
            if !matches!(&result, Err(error) if error.is_miscompare()) {
                shared.ended("compare", result)?;
            }
        }
        What::CompareAndWrite => {
            // SPDK's own, over what a device does not do, takes one block.
            let count = if ch.info().acwu == 1 { 1 } else { count };
            let tags = model.guess(first, count, random);
            let Some(write) = model.begin_write(first, &vec![tag; count]) else {
                return Ok(());
            };
            let (compare, new) = (pattern(&tags), pattern(&vec![tag; count]));
            let result = ch.compare_and_write(lba, compare, new).await.0;
            if matches!(&result, Err(error) if error.is_miscompare()) {
                // SPDK's own says so too when its compare has failed.
                let is_sure = !shared.may_fail || shared.kind == Kind::Ramdisk;
                write.end_miscompare(&tags, is_sure)?;
            } else {
                let done = shared.ended("compare and write", result)?;
                write.end_equal(done, &tags)?;
            }
        }
        What::Copy(to) if ch.supports(IoType::Copy) => {
            let Some(copy) = model.begin_copy(first, to, count) else {
                return Ok(());
            };
            let result = ch.copy(Lba(FIRST + to as u64), lba, blocks).await;
            copy.end(shared.ended("copy", result)?);
        }
        What::ZcopyRead if ch.supports(IoType::ZeroCopy) => {
            zcopy_read(shared, ch, first, count).await?;
        }
        What::ZcopyWrite if ch.supports(IoType::ZeroCopy) => {
            zcopy_write(shared, ch, first, count, tag).await?;
        }
        What::SeekData if ch.supports(IoType::SeekData) => {
            let read = model.begin_read(first, BLOCKS as usize - first);
            match ch.seek_data(lba).await {
                Ok(found) => read.end_hole(found.map_or(BLOCKS, |lba| lba.0 - FIRST))?,
                Err(error) => {
                    read.end(None)?;
                    shared.ended("seek", Err(error))?;
                }
            }
        }
        What::SeekHole if ch.supports(IoType::SeekHole) => {
            let result = ch.seek_hole(lba).await;
            shared.ended("seek", result.map(|_| ()))?;
        }
        What::Reset => {
            shared.ended("reset", ch.reset().await)?;
        }
        _ => {
            shared.ended("flush", ch.flush(lba, blocks).await)?;
        }
    }
    Ok(())
}

async fn zcopy_read(
    shared: &Shared,
    ch: &IoChannel<ReadWrite>,
    first: usize,
    count: usize,
) -> Checked {
    let read = shared.model.begin_read(first, count);
    let region = match ch
        .zcopy(Lba(FIRST + first as u64), Blocks(count as u64))
        .await
    {
        Ok(region) => region,
        Err(error) => {
            read.end(None)?;
            shared.ended("zcopy", Err(error))?;
            return Ok(());
        }
    };
    let mut bytes = vec![0; count * SIZE];
    let copied = region.copy_out(0, &mut bytes);
    read.end(copied.is_ok().then_some(&bytes[..]))?;
    shared.ended("end of a zcopy", region.discard().await)?;
    Ok(())
}

async fn zcopy_write(
    shared: &Shared,
    ch: &IoChannel<ReadWrite>,
    first: usize,
    count: usize,
    tag: u32,
) -> Checked {
    let (lba, blocks) = (Lba(FIRST + first as u64), Blocks(count as u64));
    let Some(write) = shared.model.begin_write(first, &vec![tag; count]) else {
        return Ok(());
    };
    let result = async {
        let mut region = ch.zcopy_overwrite(lba, blocks).await?;
        region.copy_in(0, &pattern(&vec![tag; count]))?;
        region.commit().await
    };
    write.end(shared.ended("zcopy", result.await)?);
    Ok(())
}

/// All lanes of one thread. A disk that goes ends them early.
async fn work(shared: &Shared, desc: SharedDesc<ReadWrite>, steps: Vec<Step>) -> Checked {
    let ch = match desc.channel() {
        Ok(ch) => ch,
        Err(_) if shared.may_fail => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    drop(desc);
    let of = |lane| steps.iter().filter(move |step| step.lane == lane);
    let lanes = (0..LANES).map(|at| lane(shared, &ch, of(at).cloned().collect()));
    join_all(lanes).await.into_iter().collect()
}

/// How many I/Os a case did.
async fn run(case: Case, kind: Kind, plan: Plan, may_fail: bool) -> Result<u64, String> {
    let of = |thread| plan.steps.iter().filter(move |step| step.thread == thread);
    let spdk = case.spdk.clone();
    let before = Open::now();
    let disk = match kind {
        Kind::Malloc => {
            MallocBdev::builder("disk")
                .blocks(256)
                .create(&spdk)
                .await
                .unwrap();
            None
        }
        _ => {
            let disk = Ramdisk::builder("disk").blocks(Blocks(256));
            Some(disk.create(&spdk).await.unwrap())
        }
    };
    if kind == Kind::Passthru {
        Passthru::builder("pt", "disk").create(&spdk).await.unwrap();
    }
    let desc = BdevDesc::open(&spdk, kind.top()).read_write().unwrap();
    if let Some(disk) = &disk {
        disk.set_faults(plan.faults.iter().cloned());
    }
    let shared = Arc::new(Shared {
        kind,
        model: Model::new(BLOCKS as usize, SIZE),
        may_fail,
        tags: AtomicU64::new(1),
        done: AtomicU64::new(0),
    });
    let others: Vec<_> = (1..)
        .zip(&case.threads)
        .map(|(at, thread)| {
            let (desc, shared) = (desc.share(), Arc::clone(&shared));
            let steps = of(at).cloned().collect();
            thread.run(async move || work(&shared, desc, steps).await)
        })
        .collect();
    let ours = work(&shared, desc.share(), of(0).cloned().collect());
    let all = async {
        let (ours, others) = futures::future::join(ours, join_all(others)).await;
        let others = others.into_iter().try_for_each(|other| other.unwrap());
        ours.and(others)
    };
    // Lets go of what the plan holds.
    let relief = async {
        loop {
            for _ in 0..200 {
                yield_now().await;
            }
            if let Some(disk) = &disk {
                disk.let_go();
            }
        }
    };
    let checked = match select(pin!(all), pin!(relief)).await {
        Either::Left((checked, _)) => checked,
        Either::Right((never, _)) => never,
    };
    let mut checked = checked;
    if checked.is_ok() && !disk.as_ref().is_some_and(Ramdisk::is_removed) {
        checked = last_look(&shared, &desc, disk.as_ref()).await;
    }
    desc.close().await;
    if kind == Kind::Passthru {
        Passthru::delete(&spdk, "pt").await.unwrap();
    }
    match &disk {
        None => MallocBdev::delete(&spdk, "disk").await.unwrap(),
        Some(disk) => {
            if disk.delete().await.is_err() {
                disk.gone().await;
            }
            assert_eq!(disk.held(), 0);
        }
    }
    // Channels are put by message.
    for _ in 0..10_000 {
        if Open::now().bdev_ios == before.bdev_ios {
            break;
        }
        yield_now().await;
    }
    let after = Open::now();
    assert_eq!(after.bdev_ios, before.bdev_ios, "all are back in the pool");
    assert_eq!(after.names, before.names);
    assert_eq!(after.dma_buffers, before.dma_buffers);
    checked.map(|()| shared.done.load(Ordering::Relaxed))
}

/// When nothing goes wrong any more, all of it can be read, and is what it may be.
async fn last_look(
    shared: &Shared,
    desc: &BdevDesc<ReadWrite, Opened>,
    disk: Option<&Ramdisk>,
) -> Checked {
    if let Some(disk) = disk {
        disk.set_faults([]);
    }
    let ch = desc.channel().map_err(|error| error.to_string())?;
    let read = shared.model.begin_read(0, BLOCKS as usize);
    match ch.read_blocks(Lba(FIRST), Blocks(BLOCKS)).await {
        Ok(bytes) => read.end(Some(&bytes)),
        Err(error) => Err(format!("the last look: {error}")),
    }
}

/// Runs `plan` by the schedule of `seed`. How many I/Os it did, or what is wrong.
fn attempt(seed: u64, kind: Kind, plan: &Plan, may_fail: bool) -> Result<u64, String> {
    let ended = Arc::new(Mutex::new(None));
    let (told, plan) = (Arc::clone(&ended), plan.clone());
    SPDK.run([seed], THREADS - 1, async move |case: Case| {
        let outcome = run(case, kind, plan.clone(), may_fail).await;
        *told.lock().unwrap() = Some(outcome);
    });
    let outcome = ended.lock().unwrap().take();
    outcome.expect("it has run")
}

/// What is left of a `plan` that fails, why it does, and how many tries that took.
fn shrink(seed: u64, kind: Kind, plan: Plan, may_fail: bool, why: String) -> (Plan, String, usize) {
    plan.shrink(why, 1000, |smaller| {
        attempt(seed, kind, smaller, may_fail).err()
    })
}

fn seeds() -> Vec<u64> {
    let number = |name| {
        let said = std::env::var(name).ok();
        said.map(|said| said.parse().expect("a number"))
    };
    match number("SPDK_TEST_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("PROPERTY_CASES").unwrap_or(60)).collect(),
    }
}

fn all_cases(kind: Kind) {
    for seed in seeds() {
        // One in four without anything that goes wrong.
        let may_fail = seed % 4 != 0;
        let plan = Plan::of(seed, may_fail);
        let done = attempt(seed, kind, &plan, may_fail);
        let done = done.unwrap_or_else(|why| {
            let of = plan.len();
            let (plan, why, tries) = shrink(seed, kind, plan, may_fail, why);
            panic!(
                "seed {seed}: {why}\n{plan}  ({} of {of} are enough, after {tries} tries; replay it with \
                 SPDK_TEST_SEED={seed})",
                plan.len()
            )
        });
        assert!(may_fail || done > 3 * LANES as u64, "it did {done}");
    }
}

#[test]
fn a_ramdisk_holds_what_was_written() {
    all_cases(Kind::Ramdisk);
}

#[test]
fn a_pass_through_on_a_ramdisk_does_too() {
    all_cases(Kind::Passthru);
}

#[test]
fn a_malloc_bdev_does_too() {
    all_cases(Kind::Malloc);
}

/// The model must see what it is for, and what is left of the case must be `most` things at most.
fn is_seen(fault: &Fault, most: usize) {
    for seed in 0..10 {
        let mut plan = Plan::of(seed, false);
        plan.faults.push(fault.clone());
        let of = plan.len();
        let seen = attempt(seed, Kind::Passthru, &plan, true);
        let why = seen.expect_err("it was not seen");
        assert!(why.contains("block"), "{why}");
        let (small, why, tries) = shrink(seed, Kind::Passthru, plan, true, why);
        println!("{of} to {} in {tries} tries: {why}\n{small}", small.len());
        assert!(small.len() <= most && small.faults == [fault.clone()]);
        let again = attempt(seed, Kind::Passthru, &small, true);
        assert_eq!(again.unwrap_err(), why, "it is the same each time");
    }
}

#[test]
fn control_a_lie_of_a_read_is_seen_and_made_small() {
    // The five that are read, at most, and the lie.
    is_seen(
        &Fault::new(Action::Corrupt)
            .io(IoType::Read)
            .after(4)
            .times(20),
        6,
    );
}

#[test]
fn control_a_lie_of_a_write_is_seen_and_made_small() {
    // One write: the last look sees it.
    is_seen(&Fault::new(Action::Corrupt).io(IoType::Write).always(), 2);
}
