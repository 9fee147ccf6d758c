//! What all threads know of an array.
//!
//! ```text
//!   control ── update ──► Published (one for the process, behind a lock)
//!                             │  pass: each thread that has a channel looks at it anew
//!                             ▼
//!                          Lane (one for each thread) ── a View ──► requests
//! ```
//!
//! Nobody changes a [`Snapshot`] that is published: an update publishes another one, with a higher version. Only then
//! the threads are told. A thread that comes in between has looked already, or looks before its first I/O.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_channel::oneshot;
use spdk_safe::bdev::SharedDesc;
use spdk_safe::prelude::ReadWrite;

use super::options::ReadPolicy;
use super::state::LegId;
use super::watch::Watch;
use crate::split::Extent;

/// The front of a leg that is in sync: all its blocks are below it.
pub(super) const ALL: u64 = u64::MAX;

/// What a thread must know to serve requests.
#[derive(Clone)]
pub(super) struct Snapshot {
    pub(super) version: u64,
    /// The legs that I/O goes to, by their slots.
    pub(super) legs: Vec<Leg>,
    /// Ranges that nobody may change now.
    pub(super) locks: Vec<Lock>,
    /// Ranges in which legs may differ: all threads read them from the same leg.
    pub(super) dirty: Vec<Dirty>,
    pub(super) policy: ReadPolicy,
}

/// A leg that I/O goes to.
#[derive(Clone)]
pub(super) struct Leg {
    pub(super) id: LegId,
    pub(super) slot: usize,
    /// Alive as long as somebody's I/O may be on it.
    pub(super) desc: Arc<SharedDesc<ReadWrite>>,
    /// Where the array's data begins on it, in blocks.
    pub(super) offset: u64,
    /// The first block that it has not; [`ALL`] if it is in sync.
    pub(super) front: u64,
    pub(super) watch: Arc<Watch>,
    /// Nobody reads it any more. It is written until all threads know that: else one of them could still read from it
    /// what another one has already written to the others alone, and acknowledged.
    pub(super) leaves: bool,
}

/// A range in which legs may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dirty {
    pub(super) id: u64,
    pub(super) extent: Extent,
    /// The version in which they began to differ, or did again.
    pub(super) since: u64,
}

/// A range that nobody may change now.
#[derive(Clone)]
pub(super) struct Lock {
    pub(super) id: u64,
    pub(super) extent: Extent,
    /// The version that had it first.
    pub(super) since: u64,
    /// While it is being taken: views that were replaced by it hold one until they end. Nothing is ever sent.
    pub(super) before: Weak<oneshot::Sender<Infallible>>,
}

/// How many dirty ranges there may be; what is too much is joined with another one, and with what lies between.
const MOST_DIRTY: usize = 64;

impl Snapshot {
    /// Legs may differ in `extent`. The number of a range that was not dirty before; `None` if another one covers it, or
    /// was made to: whoever makes that equal begins anew.
    pub(super) fn differs_in(&mut self, extent: Extent) -> Option<u64> {
        let since = self.version;
        let is_full = self.dirty.len() >= MOST_DIRTY;
        let hull = |known: &Dirty| known.extent.hull(extent);
        let known = match self
            .dirty
            .iter()
            .position(|known| hull(known) == known.extent)
        {
            None if is_full => {
                let places = 0..self.dirty.len();
                places.min_by_key(|&at| hull(&self.dirty[at]).blocks())
            }
            covered => covered,
        };
        if let Some(at) = known {
            let known = &mut self.dirty[at];
            (known.extent, known.since) = (known.extent.hull(extent), since);
            return None;
        }
        // No other one began with this version.
        let id = since;
        self.dirty.push(Dirty { id, extent, since });
        Some(id)
    }

    /// Legs do not differ any more in `dirty`. False if they did again meanwhile.
    pub(super) fn is_equal_in(&mut self, dirty: Dirty) -> bool {
        self.dirty.retain(|known| *known != dirty);
        self.dirty.iter().all(|known| known.id != dirty.id)
    }
}

impl Leg {
    pub(super) fn is_in_sync(&self) -> bool {
        self.front == ALL && !self.leaves
    }
}

/// The last snapshot.
pub(super) struct Published(Mutex<Arc<Snapshot>>);

impl Published {
    pub(super) fn new(legs: Vec<Leg>, policy: ReadPolicy) -> Self {
        Self(Mutex::new(Arc::new(Snapshot {
            version: 0,
            legs,
            locks: Vec::new(),
            dirty: Vec::new(),
            policy,
        })))
    }

    pub(super) fn get(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Publishes what `change` makes of the last one. `change` is told the version that the result has, and calls nobody.
    pub(super) fn update<R>(&self, change: impl FnOnce(&mut Snapshot) -> R) -> R {
        let (old, result) = {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let mut next = Snapshot::clone(&last);
            next.version += 1;
            let result = change(&mut next);
            (std::mem::replace(&mut *last, Arc::new(next)), result)
        };
        // It may hold the last handles to a leg: those close it.
        drop(old);
        result
    }
}
