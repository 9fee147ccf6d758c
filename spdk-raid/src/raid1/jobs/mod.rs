//! What an array does by itself: rebuilds, repairs, resyncs.
//!
//! Each runs as a task on a thread of the array's own, window by window, under a range lock for each. What it finds out
//! about legs it tells control.

mod job;
mod pace;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spdk_safe::units::{Blocks, Lba};

pub(super) use self::job::{Job, JobKind, Seen};
use super::array::Array;
use super::control::Command;
use super::copy::{Compared, Copier, CopyError};
use super::lane::Lane;
use super::lock::RangeLock;
use super::snapshot::ALL;
use super::state::{FaultReason, LegId};
use crate::split::Extent;

/// How long a job waits before it tries again; some double that, so often.
const WAIT: Duration = Duration::from_millis(20);
const LONGEST: u32 = 9;

/// How often a rebuild tries again what was refused by nobody's fault.
const TRIES: u32 = 5;

/// Blocks of a window.
fn window(array: &Array) -> u64 {
    let bytes = array.status().options.window.0;
    (bytes / u64::from(array.block_size)).max(1)
}

/// Fills a leg from its beginning to its end.
pub(super) async fn rebuild(array: Arc<Array>, job: Arc<Job>, leg: LegId) {
    let mut copier = Copier::new(&array);
    if !is_reached(&array, &job, leg, &mut copier).await {
        return;
    }
    let mut tries = 0;
    let failed = loop {
        if !job.goes_on(&array, &mut copier).await {
            // Whoever wants that has said so to control.
            return;
        }
        let snapshot = array.published.get();
        let Some(target) = snapshot.legs.iter().find(|known| known.id == leg) else {
            return;
        };
        let (front, total) = (target.front, array.status().blocks.0);
        if front >= total {
            if copier.flush(target, Blocks(total)).await.is_err() {
                break Some(FaultReason::Rebuild);
            }
            // It may have grown meanwhile: then there is more to do.
            match array.ask(|done| Command::Rebuilt { leg, done }).await {
                Some(true) | None => return,
                Some(false) => continue,
            }
        }
        let blocks = Blocks(window(&array).min(total - front));
        let Ok(extent) = Extent::new(Lba(front), blocks) else {
            break Some(FaultReason::Rebuild);
        };
        let lock = RangeLock::take(&array, extent, &mut copier).await;
        let sources = in_sync(&array);
        let copied = copier.copy(extent, &sources, &[leg]).await;
        match copied {
            Ok(()) => {
                let end = front + blocks.0;
                lock.release(&mut copier, |snapshot| {
                    let target = snapshot.legs.iter_mut().find(|known| known.id == leg);
                    if let Some(target) = target {
                        target.front = end;
                    }
                })
                .await;
                let _ = array.status().legs.filled_to(leg, Lba(end));
                job.came_to(&array, end, blocks);
                tries = 0;
                copier.report();
            }
            Err(CopyError::Later) => {
                lock.release(&mut copier, |_| ()).await;
                spdk_exec::sleep(WAIT).await;
            }
            Err(CopyError::Targets(bad)) => {
                lock.release(&mut copier, |_| ()).await;
                break bad.first().map(|(_, reason)| *reason);
            }
            Err(CopyError::Refused(_)) if tries < TRIES => {
                lock.release(&mut copier, |_| ()).await;
                tries += 1;
                spdk_exec::sleep(WAIT).await;
            }
            Err(error @ (CopyError::Source { .. } | CopyError::Refused(_))) => {
                lock.release(&mut copier, |_| ()).await;
                log::error!("raid1 {:?}: a base can't be filled: {error}", array.name);
                break Some(FaultReason::Rebuild);
            }
        }
    };
    array
        .fault(vec![leg], failed.unwrap_or(FaultReason::Rebuild))
        .await;
}

/// Waits until all threads have a channel to a leg that nothing is on yet: one that has none could not write what the
/// others do, and the leg would be at fault. False if the job is to end.
async fn is_reached(array: &Arc<Array>, job: &Job, leg: LegId, copier: &mut Copier) -> bool {
    let mut tries = 0;
    loop {
        if !job.goes_on(array, copier).await {
            return false;
        }
        let lacks = Arc::new(AtomicBool::new(false));
        let found = Arc::clone(&lacks);
        let look = move |lane: &Lane| {
            found.fetch_or(lane.view().lacks(leg), Ordering::Relaxed);
        };
        array.visit(look).await;
        if !lacks.load(Ordering::Relaxed) {
            return true;
        }
        if tries == 0 {
            log::warn!(
                "raid1 {:?}: a base is not filled before all threads have a channel to it; some get none now",
                array.name
            );
        }
        // Less and less often: SPDK logs each time.
        spdk_exec::sleep(WAIT * (1 << tries)).await;
        tries = (tries + 1).min(LONGEST);
        // New views try again.
        array.published.update(|_| ());
        array.pass().await;
    }
}

/// The legs that have all data.
fn in_sync(array: &Array) -> Vec<LegId> {
    let snapshot = array.published.get();
    let legs = snapshot.legs.iter().filter(|leg| leg.is_in_sync());
    legs.map(|leg| leg.id).collect()
}

/// Writes what a leg could not read to it again, from the others.
pub(super) async fn repair(array: Arc<Array>, leg: LegId, extent: Extent) {
    let mut copier = Copier::new(&array);
    let (mut at, mut left) = (extent.lba(), extent.blocks().0);
    let repaired = loop {
        let blocks = left.min(window(&array));
        let Ok(part) = Extent::new(at, Blocks(blocks)) else {
            break Ok(());
        };
        let lock = RangeLock::take(&array, part, &mut copier).await;
        let mut sources = in_sync(&array);
        sources.retain(|source| *source != leg);
        let has_it = {
            let snapshot = array.published.get();
            snapshot.legs.iter().any(|known| known.id == leg)
        };
        let copied = match has_it {
            true => copier.copy(part, &sources, &[leg]).await,
            false => Ok(()),
        };
        lock.release(&mut copier, |_| ()).await;
        copier.report();
        if copied.is_err() || !has_it || array.status().is_ending {
            break copied;
        }
        (at, left) = (Lba(at.0 + blocks), left - blocks);
    };
    match repaired {
        Ok(()) => array.counters.repaired.add(1),
        Err(CopyError::Targets(_)) => {
            array.counters.not_repaired.add(1);
            array.fault(vec![leg], FaultReason::Io).await;
        }
        Err(error) => {
            array.counters.not_repaired.add(1);
            log::warn!("raid1 {:?}: a base is not repaired: {error}", array.name);
        }
    }
    array.was_repaired(leg, extent);
}

/// Makes legs equal in the dirty range `id`: from the leg that all threads read to the others.
pub(super) async fn resync(array: Arc<Array>, id: u64, job: Option<Arc<Job>>) {
    let mut copier = Copier::new(&array);
    let find = || {
        let snapshot = array.published.get();
        snapshot.dirty.iter().find(|dirty| dirty.id == id).copied()
    };
    // It may grow, and what was equal differ again.
    while let Some(dirty) = find() {
        if !resync_once(&array, &mut copier, dirty.extent, job.as_deref()).await {
            return;
        }
        let is_equal = array
            .published
            .update(|snapshot| snapshot.is_equal_in(dirty));
        array.pass().await;
        if is_equal {
            array.counters.resynced.add(1);
        }
    }
}

/// False if the array ends.
async fn resync_once(
    array: &Arc<Array>,
    copier: &mut Copier,
    extent: Extent,
    job: Option<&Job>,
) -> bool {
    let (mut at, mut left, mut tries) = (extent.lba().0, extent.blocks().0, 0);
    while left != 0 {
        if let Some(job) = job {
            if !job.goes_on(array, copier).await {
                return false;
            }
        }
        let blocks = left.min(window(array));
        let Ok(part) = Extent::new(Lba(at), Blocks(blocks)) else {
            return false;
        };
        // What is written to it later than this is the same on all legs.
        let lock = RangeLock::take(array, part, copier).await;
        let copied = resync_locked(array, copier, part).await;
        lock.release(copier, |_| ()).await;
        match copied {
            Ok(()) => {
                (at, left, tries) = (at + blocks, left - blocks, 0);
                if let Some(job) = job {
                    job.came_to(array, at, Blocks(blocks));
                }
            }
            Err(_) if array.status().is_ending => return false,
            Err(error) => {
                if let CopyError::Targets(bad) = error {
                    for (leg, reason) in bad {
                        array.fault(vec![leg], reason).await;
                    }
                }
                // It stays dirty: all threads go on reading it from one leg. It is tried less and less often.
                copier.tidy();
                spdk_exec::sleep(WAIT * (1 << tries)).await;
                tries = (tries + 1).min(LONGEST);
            }
        }
    }
    true
}

async fn resync_locked(array: &Array, copier: &mut Copier, part: Extent) -> Result<(), CopyError> {
    let snapshot = array.published.get();
    let Some(pinned) = snapshot.legs.iter().find(|leg| leg.is_in_sync()) else {
        return Ok(());
    };
    // One that is being filled has what lies below its front.
    let others = snapshot.legs.iter().filter(|leg| leg.id != pinned.id);
    let others: Vec<_> = others
        .filter(|leg| leg.front == ALL || part.lba().0 < leg.front)
        .map(|leg| leg.id)
        .collect();
    match others.is_empty() {
        // It need not be readable.
        true => Ok(()),
        false => copier.copy(part, &[pinned.id], &others).await,
    }
}

/// Compares legs, and makes them equal if asked.
pub(super) async fn scrub(array: Arc<Array>, job: Arc<Job>, repair: bool) {
    let mut copier = Copier::new(&array);
    let mut at = 0;
    loop {
        let total = array.status().blocks.0;
        if at >= total || !job.goes_on(&array, &mut copier).await {
            return;
        }
        let blocks = Blocks(window(&array).min(total - at));
        let Ok(part) = Extent::new(Lba(at), blocks) else {
            return;
        };
        let lock = RangeLock::take(&array, part, &mut copier).await;
        let scrubbed = copier.compare(part, repair).await;
        lock.release(&mut copier, |_| ()).await;
        match scrubbed {
            Ok(Compared {
                differing,
                unreadable,
                bad,
            }) => {
                array.counters.mismatches.add(differing);
                array.counters.unreadable.add(unreadable);
                copier.report();
                for (leg, reason) in bad {
                    array.fault(vec![leg], reason).await;
                }
                at += blocks.0;
                job.came_to(&array, at, blocks);
            }
            Err(_) => spdk_exec::sleep(WAIT).await,
        }
    }
}
