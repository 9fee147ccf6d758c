//! Random I/O of all types on several SPDK threads, over a ramdisk, a pass-through on one, and a malloc bdev, with
//! faults from a plan and schedules from a seed; one model says what may be read.
//!
//! `SPDK_TEST_SEED=<seed>` runs one case, `PROPERTY_CASES=<n>` says how many there are.

#[path = "property/model.rs"]
mod model;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::{Either, join_all, select};
use model::{Model, pattern};
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
async fn lane(shared: &Shared, ch: &IoChannel<ReadWrite>, mut random: Random) -> Checked {
    for _ in 0..OPS {
        let first = random.below(BLOCKS as usize - 1);
        let count = 1 + random.below((BLOCKS as usize - first).min(6));
        step(shared, ch, &mut random, first, count).await?;
    }
    Ok(())
}

/// One I/O on `count` blocks from the `first` on.
async fn step(
    shared: &Shared,
    ch: &IoChannel<ReadWrite>,
    random: &mut Random,
    first: usize,
    count: usize,
) -> Checked {
    let model = &shared.model;
    let (lba, blocks) = (Lba(FIRST + first as u64), Blocks(count as u64));
    let tag = shared.tags.fetch_add(1, Ordering::Relaxed) as u32;
    match random.below(20) {
        0..5 => {
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
        5..10 => {
            let Some(write) = model.begin_write(first, &vec![tag; count]) else {
                return Ok(());
            };
            let buffer = Buffer::of(&pattern(&vec![tag; count]), ch, random);
            let result = buffer.write(ch, lba).await;
            write.end(shared.ended("write", result)?);
        }
        which @ 10..12 => {
            let Some(write) = model.begin_write(first, &vec![0; count]) else {
                return Ok(());
            };
            let result = match which {
                10 => ch.unmap(lba, blocks).await,
                _ => ch.write_zeroes(lba, blocks).await,
            };
            write.end(shared.ended("unmap or write zeroes", result)?);
        }
        12 | 13 => {
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
        14 | 15 => {
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
        16 if ch.supports(IoType::Copy) => {
            let to = random.below(BLOCKS as usize - count + 1);
            let Some(copy) = model.begin_copy(first, to, count) else {
                return Ok(());
            };
            let result = ch.copy(Lba(FIRST + to as u64), lba, blocks).await;
            copy.end(shared.ended("copy", result)?);
        }
        17 if ch.supports(IoType::ZeroCopy) => zcopy(shared, ch, random, first, count, tag).await?,
        18 if ch.supports(IoType::SeekData) => {
            let read = model.begin_read(first, BLOCKS as usize - first);
            match (random.one_in(2), Lba(FIRST + first as u64)) {
                (true, at) => match ch.seek_data(at).await {
                    Ok(found) => read.end_hole(found.map_or(BLOCKS, |lba| lba.0 - FIRST))?,
                    Err(error) => {
                        read.end(None)?;
                        shared.ended("seek", Err(error))?;
                    }
                },
                (false, at) => {
                    let result = ch.seek_hole(at).await;
                    read.end(None)?;
                    shared.ended("seek", result.map(|_| ()))?;
                }
            }
        }
        19 if shared.may_fail && random.one_in(2) => {
            shared.ended("reset", ch.reset().await)?;
        }
        _ => {
            shared.ended("flush", ch.flush(lba, blocks).await)?;
        }
    }
    Ok(())
}

async fn zcopy(
    shared: &Shared,
    ch: &IoChannel<ReadWrite>,
    random: &mut Random,
    first: usize,
    count: usize,
    tag: u32,
) -> Checked {
    let (lba, blocks) = (Lba(FIRST + first as u64), Blocks(count as u64));
    if random.one_in(2) {
        let read = shared.model.begin_read(first, count);
        let region = match ch.zcopy(lba, blocks).await {
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
        return Ok(());
    }
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
async fn work(shared: &Shared, desc: SharedDesc<ReadWrite>, mut random: Random) -> Checked {
    let ch = match desc.channel() {
        Ok(ch) => ch,
        Err(_) if shared.may_fail => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    drop(desc);
    let lanes = (0..LANES).map(|_| lane(shared, &ch, Random::new(random.next())));
    join_all(lanes).await.into_iter().collect()
}

fn some_faults(random: &mut Random) -> Vec<Fault> {
    let io = |random: &mut Random| {
        [
            IoType::Read,
            IoType::Write,
            IoType::Unmap,
            IoType::WriteZeroes,
            IoType::Compare,
            IoType::CompareAndWrite,
            IoType::ZeroCopy,
            IoType::Flush,
        ][random.below(8)]
    };
    let mut one = || {
        let action = match random.below(20) {
            0 | 1 => Action::Fail,
            2 => Action::Nvme { sct: 2, sc: 0x81 },
            3 => Action::Abort,
            4..8 => Action::NoMemory,
            8..11 => Action::Short(Blocks(random.below(4) as u64)),
            11..16 => Action::DelayPolls(random.below(30) as u32),
            16..19 => Action::Hold,
            _ => Action::Remove,
        };
        let fault = Fault::new(action)
            .after(random.below(30) as u64)
            .times(1 + random.below(8) as u64);
        let fault = match random.one_in(2) {
            true => fault.io(io(random)),
            false => fault,
        };
        match random.one_in(3) {
            true => fault.range(Lba(FIRST + random.below(BLOCKS as usize) as u64), Blocks(3)),
            false => fault,
        }
    };
    (0..6).map(|_| one()).collect()
}

/// How many I/Os a case did.
async fn run(
    case: &mut Case,
    kind: Kind,
    faults: Vec<Fault>,
    may_fail: bool,
) -> Result<u64, String> {
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
        disk.set_faults(faults);
    }
    let shared = Arc::new(Shared {
        kind,
        model: Model::new(BLOCKS as usize, SIZE),
        may_fail,
        tags: AtomicU64::new(1),
        done: AtomicU64::new(0),
    });
    let others: Vec<_> = case
        .threads
        .iter()
        .map(|thread| {
            let (desc, random, shared) = (
                desc.share(),
                Random::new(case.random.next()),
                Arc::clone(&shared),
            );
            thread.run(async move || work(&shared, desc, random).await)
        })
        .collect();
    let ours = work(&shared, desc.share(), Random::new(case.random.next()));
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
    for _ in 0..100 {
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

fn cases() -> u64 {
    let said = std::env::var("PROPERTY_CASES");
    said.map_or(60, |said| said.parse().expect("a number"))
}

fn all_cases(kind: Kind) {
    SPDK.run(0..cases(), 2, async move |mut case: Case| {
        // One in four without anything that goes wrong.
        let may_fail = case.seed % 4 != 0;
        let faults = match may_fail {
            true => some_faults(&mut case.random),
            false => Vec::new(),
        };
        let done = run(&mut case, kind, faults, may_fail).await;
        let done = done.unwrap_or_else(|error| panic!("{error}"));
        assert!(may_fail || done > 3 * LANES as u64, "it did {done}");
    });
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

/// The model must see what it is for.
fn is_seen(fault: Fault) {
    SPDK.run(0..10, 2, async move |mut case: Case| {
        let seen = run(&mut case, Kind::Passthru, vec![fault.clone()], true).await;
        let error = seen.expect_err("it was not seen");
        assert!(error.contains("block"), "{error}");
    });
}

#[test]
fn control_a_lie_of_a_read_is_seen() {
    is_seen(
        Fault::new(Action::Corrupt)
            .io(IoType::Read)
            .after(4)
            .times(20),
    );
}

#[test]
fn control_a_lie_of_a_write_is_seen() {
    is_seen(Fault::new(Action::Corrupt).io(IoType::Write).always());
}
