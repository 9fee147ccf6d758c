//! Range locks: nobody changes the blocks of a range until it is let go of.
//!
//! ```text
//!             1                2                                  3
//!   (free) ──────► published ──────► all threads park new requests ──────► locked ──────► (free)
//!                     ▲                   │ older requests hold up memory     │       4
//!                     └──── let go, wait ─┘ 4                                 └── refresh: what was parked is submitted
//!   1: no lock overlaps   2: a pass   3: all requests that began before have ended   4: release
//! ```
//!
//! A lock of our own, the same on every SPDK: older ones have no quiesce, and that of newer ones lets reads through
//! (M-43). Reads go on: legs that are read have the data. It costs a request nothing that it would not do anyway: it
//! keeps its view.
//!
//! Requests that are parked keep their `spdk_bdev_io`s, and those that began before may need some, for what they submit
//! below. So whoever takes a lock looks whether that is so while he waits, and lets go. When he has it, he needs memory
//! himself: jobs run on a thread of their own, which has a cache of its own that nobody parks. In the end the parked
//! requests need some, to go on: `rescue.rs`.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_channel::oneshot;

use super::array::Array;
use super::control::Command;
use super::copy::Copier;
use super::rescue;
use super::snapshot::{Lock, Snapshot};
use crate::split::Extent;

/// How often it is looked whether requests wait for memory, and how long a lock stays away then.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// For how many looks requests are parked, at first and at most, while older ones have not ended. Those may wait for
/// memory deeper in a stack, where nobody sees it.
const PATIENCE: u32 = 20;
const MOST_PATIENCE: u32 = 2000;

static LAST: AtomicU64 = AtomicU64::new(0);

/// A range that nobody changes. Release it; if it is dropped instead, what was parked goes on a little later.
#[must_use = "release it"]
pub(super) struct RangeLock {
    array: Arc<Array>,
    id: u64,
}

impl RangeLock {
    /// Waits until nobody changes `extent`, and nobody will. In a task of a job, whose `copier` carries out requests that
    /// hold up memory.
    pub(super) async fn take(array: &Arc<Array>, extent: Extent, copier: &mut Copier) -> Self {
        let mut patience = PATIENCE;
        loop {
            copier.prepare().await;
            let (before, ended) = oneshot::channel();
            let lock = Self::publish(array, extent, before).await;
            if lock.wait(ended, patience).await {
                array.counters.locks.add(1);
                return lock;
            }
            patience = (patience * 2).min(MOST_PATIENCE);
            array.counters.lock_retries.add(1);
            lock.release(copier, |_| ()).await;
            spdk_exec::sleep(LOOK).await;
        }
    }

    /// Publishes a lock, as soon as no other one overlaps, and tells all threads.
    async fn publish(
        array: &Arc<Array>,
        extent: Extent,
        before: oneshot::Sender<Infallible>,
    ) -> Self {
        let id = LAST.fetch_add(1, Ordering::Relaxed);
        // The threads' views get one of these each; ours goes when all of them have it.
        let before = Arc::new(before);
        let publish = |snapshot: &mut Snapshot| {
            let mut others = snapshot.locks.iter();
            if others.any(|other| other.extent.overlaps(extent)) {
                return false;
            }
            snapshot.locks.push(Lock {
                id,
                extent,
                since: snapshot.version,
                before: Arc::downgrade(&before),
            });
            true
        };
        while !array.published.update(publish) {
            spdk_exec::sleep(LOOK).await;
        }
        let lock = Self {
            array: Arc::clone(array),
            id,
        };
        array.pass().await;
        // The lanes of threads that exit did not see it; what they have in flight keeps their last view.
        array.leaving.wait(&before);
        lock
    }

    /// Waits for what began before. False if that seems to wait for memory which parked requests have, or if requests
    /// were parked for too long.
    async fn wait(&self, ended: oneshot::Receiver<Infallible>, patience: u32) -> bool {
        // It says that the last sender is gone.
        let mut ended = pin!(ended);
        let mut looks = 0;
        loop {
            if spdk_exec::timeout(LOOK, ended.as_mut()).await.is_ok() {
                return true;
            }
            // Not always on the same thread: all of them share the pool.
            let found = Arc::new((AtomicBool::new(false), AtomicBool::new(false)));
            let find = Arc::clone(&found);
            self.array
                .visit(move |lane| {
                    let (parked, waits) = &*find;
                    parked.fetch_or(lane.parked() != 0, Ordering::Relaxed);
                    waits.fetch_or(lane.view().waits_for_memory(), Ordering::Relaxed);
                })
                .await;
            let (parked, waits) = &*found;
            looks += 1;
            let is_stuck = waits.load(Ordering::Relaxed) || looks >= patience;
            if is_stuck && parked.load(Ordering::Relaxed) {
                return false;
            }
        }
    }

    /// Lets go of the range, together with another change, and sees to it that what was parked goes on.
    pub(super) async fn release<R>(
        self,
        copier: &mut Copier,
        change: impl FnOnce(&mut Snapshot) -> R,
    ) -> R {
        let result = self.array.published.update(|snapshot| {
            snapshot.locks.retain(|lock| lock.id != self.id);
            change(snapshot)
        });
        rescue::pass(&self.array, copier).await;
        result
    }
}

impl Drop for RangeLock {
    fn drop(&mut self) {
        let is_held = {
            let snapshot = self.array.published.get();
            snapshot.locks.iter().any(|lock| lock.id == self.id)
        };
        if is_held {
            let id = self.id;
            self.array.published.update(|snapshot| {
                snapshot.locks.retain(|lock| lock.id != id);
            });
            self.array.tell(Command::Unlocked);
        }
    }
}
