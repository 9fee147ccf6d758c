//! The one word of a task that other threads change: its life, its handle, its place in the remote
//! queue, its generation.
//!
//! Each transition is one read-modify-write and returns what the caller must do next; nobody else
//! looks at the bits. `docs/executor.md` gives each memory ordering with its reason.
//!
//! ```text
//!                              ┌────────────────────────────────────────────┐
//!                              │ 8 vacate: generation + 1                   │
//!                              ▼                                            │
//!                     ┌─────────────────┐ 1 claim  ┌──────────────┐         │
//!                     │ vacant          ├─────────►│ claimed      │         │
//!                     │ COMPLETE        │          │ +OCCUPIED    │         │
//!                     └─────────────────┘          └──────┬───────┘         │
//!                                                         │ 2 publish       │
//!                     ┌───────────────────────────────────▼───────┐         │
//!       3 wake_remote │ live   (!COMPLETE)                        │         │
//!      ┌──────────────┤   REMOTE      in, or on its way into, the │         │
//!      │ 4 take_remote│               remote queue                │         │
//!      └─────────────►│   ABORT       drop it instead of polling  │         │
//!                     │   JOIN_WAKER  the handle left a waker     │         │
//!                     │   HANDLE      a JoinHandle exists         │         │
//!                     └───────────────────┬───────────────────────┘         │
//!                                         │ 5 complete (TAKING while the    │
//!                                         │   join waker is moved out)      │
//!                     ┌───────────────────▼───────────────────────┐         │
//!                     │ complete                                  │         │
//!                     │   HANDLE  kept for its output  6 drop_handle        │
//!                     │   REMOTE  still in that queue  4 take_remote        │
//!                     │   LINKED  still in the run queue  7 unlink├─────────┘
//!                     └───────────────────────────────────────────┘
//!                       whoever clears the last of the three vacates
//! ```

use crate::loom::atomic::{AtomicUsize, Ordering::*};
use crate::loom::{const_fn, spin};

/// In the remote queue, or about to be pushed by the thread that set it.
const REMOTE: usize = 1 << 0;
/// No future any more (or never one): wakes do nothing.
const COMPLETE: usize = 1 << 1;
/// A `JoinHandle` exists.
const HANDLE: usize = 1 << 2;
/// The join waker's cell is full and belongs to whoever completes the task.
const JOIN_WAKER: usize = 1 << 3;
/// The home thread moves the join waker out.
const TAKING: usize = 1 << 4;
/// The future is to be dropped at its next turn.
const ABORT: usize = 1 << 5;
/// Complete, but the home thread's run queue still links the header.
const LINKED: usize = 1 << 6;
/// The header is a slot of the pool (else it is part of a `TaskStorage`).
const POOLED: usize = 1 << 7;
/// The slot was made for a spawn from another thread, and goes back where those look for one.
const DEPOT: usize = 1 << 8;

/// From claim to vacate: between the last bit's end and vacate nobody may claim the header.
const OCCUPIED: usize = 1 << 9;

const KIND: usize = POOLED | DEPOT;
const GENERATION_SHIFT: u32 = 10;

/// How many low bits of the generation a waker carries: as many as a header's alignment leaves
/// free in its address.
pub(crate) const TAG_BITS: u32 = 6;
pub(crate) const TAG_MASK: usize = (1 << TAG_BITS) - 1;

/// Where a header comes from, and so where it goes when its task is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Part of a `TaskStorage`: its owner is `'static`.
    Static,
    /// A slot of the pool, taken on the home thread.
    Pool,
    /// A slot of the pool, taken on another thread.
    Depot,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct State(AtomicUsize);

/// The word at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Snapshot(usize);

/// What a wake from another thread has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum RemoteWake {
    /// Push the header onto the remote queue: the caller, and only it, must.
    Push,
    /// It is on the queue, the home thread will see what happened before this wake.
    Coalesced,
    /// The task is over.
    Stale,
}

/// What a handle that wants to leave a waker finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum JoinAccess {
    /// The cell is the caller's, and empty.
    Empty,
    /// The cell is the caller's, and holds a waker.
    Full,
    /// The output is there.
    Complete,
}

/// What is left to do for a handle that goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum DropHandle {
    /// Nothing: the task runs on without a handle.
    Detached,
    /// The output is the handle's to drop, then [`State::release_handle`].
    Output,
}

impl State {
    const_fn! {
        /// A vacant header.
        pub(crate) fn vacant(kind: Kind) -> Self {
            let kind = match kind {
                Kind::Static => 0,
                Kind::Pool => POOLED,
                Kind::Depot => POOLED | DEPOT,
            };
            Self(AtomicUsize::new(COMPLETE | kind))
        }
    }

    #[inline(always)]
    pub(crate) fn load(&self) -> Snapshot {
        // Acquire: what the publisher, or the completer, wrote before is visible to the reader.
        Snapshot(self.0.load(Acquire))
    }

    /// 1: makes the caller the owner of a vacant header; false if it is in use.
    #[inline]
    pub(crate) fn claim(&self) -> bool {
        let now = self.0.load(Relaxed);
        now & OCCUPIED == 0
            && self
                .0
                // Acquire: the last user is done with the storage (8 releases it).
                .compare_exchange(now, now | OCCUPIED, Acquire, Relaxed)
                .is_ok()
    }

    /// 2: the task exists, in a header that is claimed, or that the pool gave to the caller alone; `remote` if the caller is going to push it onto the remote queue.
    #[inline]
    pub(crate) fn publish(&self, handle: bool, remote: bool) -> Snapshot {
        let now = self.0.load(Relaxed);
        debug_assert!(now & !KIND & ((1 << GENERATION_SHIFT) - 1) & !OCCUPIED == COMPLETE);
        let mut next = (now & !COMPLETE) | OCCUPIED;
        if handle {
            next |= HANDLE;
        }
        if remote {
            next |= REMOTE;
        }
        // Release: the header's fields are visible to whoever finds the task live. A plain store
        // loses nobody's change: nothing changes the word of a header that is complete and claimed.
        self.0.store(next, Release);
        Snapshot(next)
    }

    /// 3: a wake from another thread, by a waker of the generation `tag`.
    #[inline]
    pub(crate) fn wake_remote(&self, tag: usize) -> RemoteWake {
        self.set_remote(0, |now| now.is_live(tag))
    }

    /// 3, and the future is to be dropped; the caller holds the handle.
    pub(crate) fn abort_remote(&self) -> RemoteWake {
        self.set_remote(ABORT, |now| !now.is_complete())
    }

    #[inline]
    fn set_remote(&self, also: usize, live: impl Fn(Snapshot) -> bool) -> RemoteWake {
        let mut now = self.0.load(Relaxed);
        loop {
            if !live(Snapshot(now)) {
                return RemoteWake::Stale;
            }
            // Written even if nothing changes. Release: what the waker's thread did before is
            // visible to the poll that 4 leads to, also when the wake coalesces. Acquire: the
            // header's executor is this generation's.
            match self
                .0
                .compare_exchange_weak(now, now | REMOTE | also, AcqRel, Relaxed)
            {
                Ok(_) if now & REMOTE == 0 => return RemoteWake::Push,
                Ok(_) => return RemoteWake::Coalesced,
                Err(seen) => now = seen,
            }
        }
    }

    /// 4: the home thread took the header off the remote queue.
    #[inline]
    pub(crate) fn take_remote(&self) -> Snapshot {
        // Acquire: see 3. Release: whoever clears the last bit vacates after this.
        Snapshot(self.0.fetch_and(!REMOTE, AcqRel) & !REMOTE)
    }

    /// Asks on the home thread for the future to be dropped; false if it is over.
    pub(crate) fn abort_home(&self) -> bool {
        // Relaxed: the home thread itself reads it.
        self.0.fetch_or(ABORT, Relaxed) & COMPLETE == 0
    }

    /// 5: the future is gone and its output written; `take` moves the join waker out.
    #[inline]
    pub(crate) fn complete<W>(
        &self,
        linked: bool,
        take: impl FnOnce() -> W,
    ) -> (Snapshot, Option<W>) {
        let done = if linked { COMPLETE | LINKED } else { COMPLETE };
        let mut now = self.0.load(Relaxed);
        while now & JOIN_WAKER == 0 {
            // Release: the output is visible to the handle. Acquire: the handle, if it is gone, is
            // done with the cell.
            match self
                .0
                .compare_exchange_weak(now, now | done, AcqRel, Relaxed)
            {
                Ok(_) => return (Snapshot(now | done), None),
                Err(seen) => now = seen,
            }
        }
        // Only this thread sets TAKING, and only the handle clears JOIN_WAKER.
        while now & JOIN_WAKER != 0 {
            let next = (now & !JOIN_WAKER) | TAKING;
            // Acquire: the waker in the cell is visible.
            match self.0.compare_exchange_weak(now, next, Acquire, Relaxed) {
                Ok(_) => {
                    let waker = take();
                    // TAKING is set, COMPLETE and LINKED are not: one addition flips all three.
                    // Orderings as above.
                    let flip = done.wrapping_sub(TAKING);
                    let before = self.0.fetch_add(flip, AcqRel);
                    return (Snapshot(before.wrapping_add(flip)), Some(waker));
                }
                Err(seen) => now = seen,
            }
        }
        // The handle took its waker back in between.
        self.complete(linked, take)
    }

    /// 7: the home thread took a complete header off its run queue.
    #[inline]
    pub(crate) fn unlink(&self) -> Snapshot {
        Snapshot(self.0.fetch_and(!LINKED, AcqRel) & !LINKED)
    }

    /// Gives the handle its cell for a waker, if the task is not over.
    #[inline]
    pub(crate) fn open_join(&self) -> JoinAccess {
        let mut now = self.0.load(Acquire);
        loop {
            if now & COMPLETE != 0 {
                return JoinAccess::Complete;
            }
            if now & TAKING != 0 {
                // The home thread, and so not this one, is three instructions away from COMPLETE.
                spin();
                now = self.0.load(Acquire);
                continue;
            }
            if now & JOIN_WAKER == 0 {
                return JoinAccess::Empty;
            }
            match self
                .0
                .compare_exchange_weak(now, now & !JOIN_WAKER, Acquire, Acquire)
            {
                Ok(_) => return JoinAccess::Full,
                Err(seen) => now = seen,
            }
        }
    }

    /// The handle filled its cell; false if the task completed and the cell is still the handle's.
    pub(crate) fn close_join(&self) -> bool {
        let mut now = self.0.load(Acquire);
        while now & COMPLETE == 0 {
            // Release: the waker is visible to 5.
            match self
                .0
                .compare_exchange_weak(now, now | JOIN_WAKER, Release, Acquire)
            {
                Ok(_) => return true,
                Err(seen) => now = seen,
            }
        }
        false
    }

    /// 6, first half: detaches, unless the output is there and the handle's to drop.
    #[inline]
    pub(crate) fn drop_handle(&self) -> DropHandle {
        let mut now = self.0.load(Acquire);
        while now & COMPLETE == 0 {
            // Release: the handle is done with the cell, 5 may free it.
            match self
                .0
                .compare_exchange_weak(now, now & !HANDLE, Release, Acquire)
            {
                Ok(_) => return DropHandle::Detached,
                Err(seen) => now = seen,
            }
        }
        DropHandle::Output
    }

    /// 6, second half: the handle of a complete task is done with its output and its cell.
    #[inline]
    pub(crate) fn release_handle(&self) -> Snapshot {
        Snapshot(self.0.fetch_and(!HANDLE, AcqRel) & !HANDLE)
    }

    /// 8: the header can be claimed again; every waker that exists now is stale.
    #[inline]
    pub(crate) fn vacate(&self) {
        let now = self.0.load(Relaxed);
        debug_assert!(Snapshot(now).is_releasable() && now & OCCUPIED != 0);
        let generation = (now >> GENERATION_SHIFT).wrapping_add(1) << GENERATION_SHIFT;
        // Release: pairs with 1. A plain store: nobody else has a right to change the word now, and
        // OCCUPIED keeps the next one off.
        self.0.store(generation | COMPLETE | (now & KIND), Release);
    }
}

impl Snapshot {
    /// Live, and of the generation that a waker's tag names.
    #[inline(always)]
    pub(crate) fn is_live(self, tag: usize) -> bool {
        self.0 & COMPLETE == 0 && self.tag() == tag
    }

    /// The generation's low bits.
    #[inline(always)]
    pub(crate) fn tag(self) -> usize {
        (self.0 >> GENERATION_SHIFT) & TAG_MASK
    }

    /// Both live in the same life of the header.
    #[cfg(feature = "alloc")]
    #[inline]
    pub(crate) fn is_same_life(self, other: Self) -> bool {
        (self.0 | other.0) & COMPLETE == 0
            && self.0 >> GENERATION_SHIFT == other.0 >> GENERATION_SHIFT
    }

    #[inline(always)]
    pub(crate) fn is_complete(self) -> bool {
        self.0 & COMPLETE != 0
    }

    #[inline(always)]
    pub(crate) fn is_aborted(self) -> bool {
        self.0 & ABORT != 0
    }

    #[inline]
    pub(crate) fn has_handle(self) -> bool {
        self.0 & HANDLE != 0
    }

    /// A complete task that the remote queue still holds.
    pub(crate) fn is_remote(self) -> bool {
        self.0 & REMOTE != 0
    }

    /// Complete, and nobody needs the header any more: the caller whose transition made it so
    /// vacates it.
    #[inline]
    pub(crate) fn is_releasable(self) -> bool {
        self.0 & COMPLETE != 0 && self.0 & (HANDLE | REMOTE | LINKED | TAKING) == 0
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        match (self.0 & POOLED != 0, self.0 & DEPOT != 0) {
            (false, _) => Kind::Static,
            (true, false) => Kind::Pool,
            (true, true) => Kind::Depot,
        }
    }
}

impl core::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        const NAMES: [(usize, &str); 10] = [
            (REMOTE, "remote"),
            (COMPLETE, "complete"),
            (HANDLE, "handle"),
            (JOIN_WAKER, "join-waker"),
            (TAKING, "taking"),
            (ABORT, "abort"),
            (LINKED, "linked"),
            (POOLED, "pooled"),
            (DEPOT, "depot"),
            (OCCUPIED, "occupied"),
        ];
        write!(f, "generation {}", self.0 >> GENERATION_SHIFT)?;
        for (_, name) in NAMES.iter().filter(|(bit, _)| self.0 & bit != 0) {
            write!(f, " {name}")?;
        }
        Ok(())
    }
}
