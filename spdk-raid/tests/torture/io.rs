//! What lanes do: I/O of all types, and what of it may fail.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use spdk_raid::raid1::state::{ArrayState, LegState};
use spdk_raid::raid1::{BaseInfo, Raid1};
use spdk_safe::bdev::SharedDesc;
use spdk_safe::prelude::*;
use spdk_safe::test::Random;

use super::disks::Disk;
use super::model::{Legs, Model, Since, pattern};
use super::plan::{Plan, Step, What};
use super::{BLOCKS, SIZE, total};

pub(crate) type Checked = Result<(), String>;

/// What all lanes of a case know.
pub(crate) struct Shared {
    pub(crate) md: Raid1,
    pub(crate) model: Model,
    pub(crate) disks: Vec<Arc<Disk>>,
    pub(crate) plan: Plan,
    pub(crate) tags: AtomicU64,
    /// RESETs that have begun, and those under way.
    pub(crate) resets: AtomicU64,
    pub(crate) resetting: AtomicU64,
    /// How often the array's state could not be kept.
    pub(crate) forgotten: Arc<AtomicU64>,
    /// Threads that are not done.
    pub(crate) at_work: AtomicU64,
    /// The array is being deleted.
    pub(crate) is_ending: AtomicBool,
    /// Somebody has ended the job that makes legs equal: they stay as they are.
    pub(crate) stays_dirty: AtomicBool,
    /// A scrub has made them equal in the end.
    pub(crate) is_repaired: AtomicBool,
    /// Where a write failed last.
    pub(crate) failed: Mutex<Option<(usize, usize)>>,
    /// Failed reads that the array has forgotten.
    pub(crate) read_errors: AtomicU64,
    /// What there was when the legs were equal last.
    pub(crate) since: Mutex<Option<Since>>,
}

/// What there was before an I/O.
pub(crate) struct Before {
    /// Disks in sync: how often something was done to them, and went wrong on them.
    in_sync: Vec<(usize, u64, u64)>,
    /// How often something went wrong on all disks.
    injected: u64,
    resets: u64,
    resetting: u64,
    forgotten: u64,
}

impl Shared {
    /// The disks in sync.
    pub(crate) fn in_sync(&self) -> Vec<usize> {
        let bases = self.md.info().base_bdevs_list;
        let in_sync = bases
            .iter()
            .filter(|base| base.state == LegState::InSync)
            .filter_map(|base| base.name.as_deref());
        let number = |name: &str| self.disks.iter().position(|disk| disk.name == name);
        in_sync.filter_map(number).collect()
    }

    fn injected(&self) -> u64 {
        self.disks.iter().map(|disk| disk.injected()).sum()
    }

    fn before(&self) -> Before {
        let look = |at: usize| {
            let disk = &self.disks[at];
            (at, disk.touched.load(Ordering::Relaxed), disk.injected())
        };
        Before {
            in_sync: self.in_sync().into_iter().map(look).collect(),
            injected: self.injected(),
            resets: self.resets.load(Ordering::Relaxed),
            resetting: self.resetting.load(Ordering::Relaxed),
            forgotten: self.forgotten.load(Ordering::Relaxed),
        }
    }

    /// Whether the array goes, or is gone.
    pub(crate) fn is_over(&self) -> bool {
        self.is_ending.load(Ordering::Relaxed) || self.md.info().state == ArrayState::Failed
    }

    /// Why an I/O that failed should not have; `None` if it may have.
    fn objection(&self, before: &Before) -> Option<String> {
        let was_reset =
            before.resetting != 0 || self.resets.load(Ordering::Relaxed) != before.resets;
        let was_forgotten = self.forgotten.load(Ordering::Relaxed) != before.forgotten;
        if self.is_over() || was_reset || was_forgotten {
            return None;
        }
        let did_wrong =
            |&(at, _, injected): &(usize, u64, u64)| self.disks[at].injected() != injected;
        // One that is being filled may refuse, too.
        if self.plan.refuses && self.injected() != before.injected {
            return None;
        }
        if let Some(rock) = self.plan.rock {
            return Some(format!("and disk {rock} is there, which does it"));
        }
        // The last leg is reset if it does not answer, which aborts also what comes meanwhile.
        if self.md.info().counters.timeouts != 0 {
            return None;
        }
        let now = self.in_sync();
        let innocent = before.in_sync.iter().find(|leg| {
            let disk = &self.disks[leg.0];
            now.contains(&leg.0)
                && !did_wrong(leg)
                // One that was filled is in sync a little later for each thread than for us.
                && (leg.1, disk.touched.load(Ordering::Relaxed)) == (0, 0)
                && !disk.is_out()
        });
        innocent.map(|leg| format!("and disk {} did nothing wrong", leg.0))
    }

    /// Checks how an I/O ended: whether it did what it was to.
    fn ended(
        &self,
        what: &str,
        before: &Before,
        result: Result<(), IoError>,
    ) -> Result<bool, String> {
        total::IOS.add(1);
        let Err(error) = result else {
            return Ok(true);
        };
        total::FAILED.add(1);
        match self.objection(before) {
            None => Ok(false),
            Some(why) => Err(format!("{what} failed ({error}), {why}")),
        }
    }

    /// As [`ended`](Self::ended), of what was to change blocks.
    fn changed(
        &self,
        what: &str,
        step: &Step,
        before: &Before,
        result: Result<(), IoError>,
    ) -> Result<bool, String> {
        let done = self.ended(what, before, result)?;
        if !done {
            *self.failed.lock().unwrap() = Some((step.first, step.count));
        }
        Ok(done)
    }

    /// What the array says of its legs now.
    pub(crate) fn legs(&self) -> Legs {
        let touched = |disk: &Arc<Disk>| disk.touched.load(Ordering::Relaxed);
        let touched: u64 = self.disks.iter().map(touched).sum();
        let info = self.md.info();
        let mask = self.in_sync().iter().fold(0, |mask, at| mask | 1 << at);
        let read_errors = self.read_errors.load(Ordering::Relaxed) + info.counters.read_errors;
        let now = (mask, touched, read_errors);
        // Not all threads know yet that it has left; and what is repaired may be written from another leg still.
        let leaves = |base: &BaseInfo| base.uuid.is_some() && !base.is_configured;
        let is_moving = info.repairs != 0 || info.base_bdevs_list.iter().any(leaves);
        let mut since = self.since.lock().unwrap();
        let is_same = *since == Some(now) && !is_moving;
        let is_equal = info.dirty_ranges == 0;
        if is_equal {
            *since = (!is_moving).then_some(now);
        }
        Legs {
            is_equal,
            since: is_same.then_some(now),
        }
    }

    /// Whether the array says that its legs are equal wherever nobody writes.
    pub(crate) fn is_equal(&self) -> bool {
        self.md.info().dirty_ranges == 0
    }
}

/// Memory in one of several forms, with `bytes` in it.
enum Buffer {
    Heap(Vec<u8>),
    Dma(DmaBuf),
    /// In pieces that are no whole blocks, at odd addresses.
    Pieces(Vec<Vec<u8>>),
}

impl Buffer {
    fn of(bytes: &[u8], ch: &IoChannel<ReadWrite>, random: &mut Random) -> Self {
        match random.below(3) {
            0 => Self::Heap(bytes.to_vec()),
            1 => {
                let mut buf = ch.alloc(Blocks((bytes.len() / SIZE) as u64)).unwrap();
                buf.copy_from_slice(bytes);
                Self::Dma(buf)
            }
            _ => Self::Pieces(
                bytes
                    .chunks(1 + random.below(SIZE * 2))
                    .map(<[u8]>::to_vec)
                    .collect(),
            ),
        }
    }

    async fn write(self, ch: &IoChannel<ReadWrite>, lba: Lba) -> Result<(), IoError> {
        match self {
            Self::Heap(buf) => ch.write(lba, buf).await.0,
            Self::Dma(buf) => ch.write(lba, buf).await.0,
            Self::Pieces(buf) => ch.write(lba, buf).await.0,
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
        })
    }

    async fn compare(self, ch: &IoChannel<ReadWrite>, lba: Lba) -> Result<(), IoError> {
        match self {
            Self::Heap(buf) => ch.compare(lba, buf).await.0,
            Self::Dma(buf) => ch.compare(lba, buf).await.0,
            Self::Pieces(buf) => ch.compare(lba, buf).await.0,
        }
    }
}

/// All lanes of one thread.
pub(crate) async fn work(
    shared: Arc<Shared>,
    desc: SharedDesc<ReadWrite>,
    steps: Vec<Step>,
) -> Checked {
    let mut keep = None;
    while keep.is_none() && (shared.plan.locks || shared.plan.resets()) && !shared.is_over() {
        keep = desc.channel().ok();
        pause(usize::from(keep.is_none())).await;
    }
    let of = |lane| steps.iter().filter(move |step| step.lane == lane);
    let lanes = (0..shared.plan.lanes).map(|at| lane(&shared, &desc, of(at).cloned().collect()));
    let checked = join_all(lanes).await.into_iter().collect();
    shared.at_work.fetch_sub(1, Ordering::AcqRel);
    while keep.is_some() && shared.at_work.load(Ordering::Acquire) != 0 {
        pause(1).await;
    }
    checked
}

/// One I/O after the other.
async fn lane(shared: &Shared, desc: &SharedDesc<ReadWrite>, steps: Vec<Step>) -> Checked {
    let open = async || {
        loop {
            match desc.channel() {
                Ok(ch) => return Ok(Some(ch)),
                Err(_) if shared.is_over() => return Ok(None),
                Err(_) if shared.plan.is_short => pause(10).await,
                Err(error) => return Err(format!("there is no channel: {error}")),
            }
        }
    };
    let mut ch = None;
    for step in steps {
        match step.what {
            What::Pause(polls) => pause(polls).await,
            What::Reopen => {
                ch = None;
                pause(step.count).await;
            }
            _ => {
                if ch.is_none() {
                    ch = open().await?;
                }
                let Some(ch) = &ch else {
                    return Ok(());
                };
                let end = (step.first + step.count) as u64;
                if end > BLOCKS && end > desc.num_blocks().0 {
                    // It has not grown so far.
                    continue;
                }
                let mut random = Random::new(step.seed);
                run_step(shared, ch, &step, &mut random).await?;
                trace!("ended: {step:?}");
            }
        }
    }
    Ok(())
}

pub(crate) async fn pause(polls: usize) {
    for _ in 0..polls {
        spdk_exec::yield_now().await;
    }
}

async fn read(
    shared: &Shared,
    ch: &IoChannel<ReadWrite>,
    first: usize,
    count: usize,
    random: &mut Random,
) -> Checked {
    let before = shared.before();
    let read = shared.model.begin_read(first, count, shared.legs());
    let buffer = Buffer::of(&pattern(&vec![u32::MAX; count]), ch, random);
    match buffer.read(ch, Lba(first as u64)).await {
        Ok(bytes) => {
            total::IOS.add(1);
            trace!(
                "read of {count} from {first} on: {:?}",
                super::model::tags(&bytes)
            );
            read.end_of(Some(&bytes), Some(shared.legs()))
        }
        Err(error) => {
            read.end(None)?;
            shared.ended("a read", &before, Err(error)).map(|_| ())
        }
    }
}

async fn run_step(
    shared: &Shared,
    ch: &IoChannel<ReadWrite>,
    step: &Step,
    random: &mut Random,
) -> Checked {
    let model = &shared.model;
    let &Step { first, count, .. } = step;
    let (lba, blocks) = (Lba(first as u64), Blocks(count as u64));
    let tag = shared.tags.fetch_add(1, Ordering::Relaxed) as u32;
    let before = shared.before();
    trace!("tag {tag}: {step:?}");
    match step.what {
        What::Read => read(shared, ch, first, count, random).await?,
        What::Look(times) => {
            let failed = *shared.failed.lock().unwrap();
            let (first, count) = failed.unwrap_or((first, count));
            for _ in 0..times {
                read(shared, ch, first, count, random).await?;
            }
        }
        What::Write => {
            let Some(write) = model.begin_write(first, &vec![tag; count]) else {
                return Ok(());
            };
            let buffer = Buffer::of(&pattern(&vec![tag; count]), ch, random);
            let result = buffer.write(ch, lba).await;
            write.end(shared.changed("a write", step, &before, result)?);
        }
        What::Unmap | What::WriteZeroes => {
            let Some(write) = model.begin_write(first, &vec![0; count]) else {
                return Ok(());
            };
            let result = match step.what {
                What::Unmap if ch.supports(IoType::Unmap) => ch.unmap(lba, blocks).await,
                _ => ch.write_zeroes(lba, blocks).await,
            };
            write.end(shared.changed("an unmap or write zeroes", step, &before, result)?);
        }
        What::Compare => {
            let tags = model.guess(first, count, random);
            let read = model.begin_read(first, count, shared.legs());
            let result = Buffer::of(&pattern(&tags), ch, random)
                .compare(ch, lba)
                .await;
            read.end_compare(&tags, &result)?;
            if !matches!(&result, Err(error) if error.is_miscompare()) {
                shared.ended("a compare", &before, result)?;
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
                let is_sure = shared.plan.faults.is_empty() && !shared.plan.resets();
                write.end_miscompare(&tags, is_sure)?;
            } else {
                let done = shared.ended("a compare and write", &before, result)?;
                write.end_equal(done, &tags)?;
            }
        }
        What::Copy(to) if ch.supports(IoType::Copy) => {
            let Some(copy) = model.begin_copy(first, to, count) else {
                return Ok(());
            };
            let result = ch.copy(Lba(to as u64), lba, blocks).await;
            copy.end(shared.ended("a copy", &before, result)?);
        }
        What::Reset if ch.supports(IoType::Reset) => {
            shared.resets.fetch_add(1, Ordering::Relaxed);
            shared.resetting.fetch_add(1, Ordering::Relaxed);
            let result = ch.reset().await;
            // While it counts itself nothing is objected to.
            shared.ended("a reset", &before, result)?;
            shared.resetting.fetch_sub(1, Ordering::Relaxed);
        }
        _ if ch.supports(IoType::Flush) => {
            shared.ended("a flush", &before, ch.flush(lba, blocks).await)?;
        }
        _ => {}
    }
    Ok(())
}
