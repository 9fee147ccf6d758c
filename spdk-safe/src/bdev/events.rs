//! What happens to an open bdev, as a stream.
//!
//! C type: `enum spdk_bdev_event_type` (contract B-07 to B-11).
//!
//! Nothing is queued: a descriptor counts what happened, and each stream remembers how far it has looked. So a stream
//! that nobody reads costs nothing and holds up nothing, a removal least of all, and one that is read seldom sees one
//! resize for many, with the size that the bdev has now.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;

use super::core::DescCore;
use crate::panic::wake_all;
use crate::sync::lock;
use crate::units::{Blocks, Lba};

/// Something that happened to an open bdev.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BdevEvent {
    /// Its size changed, once or more often, and is this now.
    Resized {
        /// Its size.
        num_blocks: Blocks,
    },
    /// Its medium is about to lose blocks: [`BdevDesc::media_events`](super::BdevDesc::media_events) says which.
    MediaManagement,
    /// It was removed from below, or the app ends: the last event. What is open is being closed already; whoever holds
    /// handles may drop them.
    Removed,
}

/// Blocks that a medium is about to lose (`struct spdk_bdev_media_event`): move their contents elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct MediaEvent {
    /// The first block.
    pub lba: Lba,
    /// How many.
    pub blocks: Blocks,
}

impl MediaEvent {
    pub(super) const fn of(raw: &spdk_sys::spdk_bdev_media_event) -> Self {
        Self {
            lba: Lba(raw.offset),
            blocks: Blocks(raw.num_blocks),
        }
    }
}

/// The events of a descriptor, from [`BdevDesc::events`](super::BdevDesc::events) or
/// [`SharedDesc::events`](super::SharedDesc::events); ends when the descriptor is closed.
///
/// It does not keep the descriptor open, may travel to any thread, and be dropped or forgotten at any time. There may
/// be several; each sees every event that came since it was made, and a removal also when that came before.
///
/// ```no_run
/// # use spdk_safe::prelude::*;
/// # use spdk_safe::bdev::BdevEvent;
/// # async fn example(desc: BdevDesc) {
/// let mut events = desc.events();
/// while let Some(event) = events.next().await {
///     match event {
///         BdevEvent::Resized { num_blocks } => println!("now of {num_blocks}"),
///         BdevEvent::Removed => println!("gone"),
///         _ => {}
///     }
/// }
/// # }
/// ```
#[must_use = "a stream does nothing unless it is read"]
pub struct BdevEvents {
    core: Arc<DescCore>,
    id: u64,
    seen: Counts,
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    resizes: u64,
    media: u64,
    removed: bool,
}

/// The side of the descriptor.
#[derive(Default)]
pub(super) struct Events(Mutex<State>);

#[derive(Default)]
struct State {
    counts: Counts,
    /// There will be none any more.
    closed: bool,
    next_id: u64,
    /// Of the streams that wait, one each.
    wakers: Vec<(u64, Waker)>,
}

impl Events {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }

    pub(super) fn resized(&self) {
        self.state().counts.resizes += 1;
        self.wake();
    }

    /// Wakes nobody: SPDK may hold locks of its own here. See [`wake`](Self::wake).
    pub(super) fn media(&self) {
        self.state().counts.media += 1;
    }

    /// Wakes nobody: see [`wake`](Self::wake).
    pub(super) fn removed(&self) {
        self.state().counts.removed = true;
    }

    pub(super) fn closed(&self) {
        self.state().closed = true;
        self.wake();
    }

    pub(super) fn wake(&self) {
        let wakers = std::mem::take(&mut self.state().wakers);
        wake_all(wakers.into_iter().map(|(_, waker)| waker).collect());
    }
}

impl BdevEvents {
    pub(super) fn new(core: &Arc<DescCore>) -> Self {
        let mut state = core.happened.state();
        state.next_id += 1;
        let (id, counts) = (state.next_id, state.counts);
        drop(state);
        Self {
            core: Arc::clone(core),
            id,
            seen: Counts {
                removed: false,
                ..counts
            },
        }
    }

    /// The next event; `None` when the descriptor is closed, or after [`BdevEvent::Removed`].
    pub async fn next(&mut self) -> Option<BdevEvent> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<BdevEvent>> {
        // A waker is somebody's code, and so is its clone and its end: none of it under the lock.
        let waker = cx.waker().clone();
        let old = {
            let mut state = self.core.happened.state();
            let now = state.counts;
            if self.seen.resizes != now.resizes {
                self.seen.resizes = now.resizes;
                return Poll::Ready(Some(BdevEvent::Resized {
                    num_blocks: self.core.num_blocks(),
                }));
            }
            if self.seen.media != now.media && !now.removed {
                self.seen.media = now.media;
                return Poll::Ready(Some(BdevEvent::MediaManagement));
            }
            if self.seen.removed != now.removed {
                self.seen.removed = now.removed;
                return Poll::Ready(Some(BdevEvent::Removed));
            }
            if now.removed || state.closed {
                return Poll::Ready(None);
            }
            match state.wakers.iter_mut().find(|(id, _)| *id == self.id) {
                Some((_, old)) => Some(std::mem::replace(old, waker)),
                None => {
                    state.wakers.push((self.id, waker));
                    None
                }
            }
        };
        drop(old);
        Poll::Pending
    }
}

impl Stream for BdevEvents {
    type Item = BdevEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<BdevEvent>> {
        self.poll(cx)
    }
}

impl Drop for BdevEvents {
    fn drop(&mut self) {
        let old = {
            let mut state = self.core.happened.state();
            let at = state.wakers.iter().position(|(id, _)| *id == self.id);
            at.map(|at| state.wakers.swap_remove(at))
        };
        drop(old);
    }
}

impl fmt::Debug for BdevEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BdevEvents")
            .field("bdev", &self.core.info.name)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}
