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
    pub(super) dirty: Vec<Extent>,
    /// Of those, the ones in which another request failed after they had become dirty: perhaps behind the back of the
    /// job that makes the legs equal there, which does it again.
    pub(super) again: Vec<Extent>,
    pub(super) policy: ReadPolicy,
}

/// A leg that I/O goes to.
#[derive(Clone)]
pub(super) struct Leg {
    pub(super) id: LegId,
    pub(super) slot: usize,
    pub(super) desc: SharedDesc<ReadWrite>,
    /// Where the array's data begins on it, in blocks.
    pub(super) offset: u64,
    /// The first block that it has not; [`ALL`] if it is in sync.
    pub(super) front: u64,
    pub(super) watch: Arc<Watch>,
    /// Nobody reads it any more. It is written until all threads know that: else one of them could still read from it
    /// what another one has already written to the others alone, and acknowledged.
    pub(super) leaves: bool,
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
            again: Vec::new(),
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
