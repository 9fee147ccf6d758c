//! Aborting I/O that is in flight.
//!
//! C function: `spdk_bdev_abort` (contract B-50). It names its victim by the argument of the victim's callback, which
//! is a slot here, and slots are used again: so a batch also remembers which use of the slot it means.

use std::cell::RefCell;
use std::fmt;
use std::ptr::NonNull;
use std::rc::Rc;

use super::channel_core::ChannelCore;
use super::io::Io;
use super::op::{Ask, Op};
use crate::error::{IoError, IoType};
use crate::thread::Bound;
use crate::units::Lba;

/// I/Os of one channel that are to be aborted together: [`IoChannel::batch`](super::IoChannel::batch) makes one, and
/// [`Io::in_batch`] adds to it.
#[must_use = "add I/O to it with `in_batch`"]
pub struct Batch {
    core: Bound<Rc<BatchCore>>,
}

/// # Invariants
///
/// The slots belong to `channel`, which keeps their memory.
pub(super) struct BatchCore {
    channel: Rc<ChannelCore>,
    members: RefCell<Vec<(NonNull<Op>, u64)>>,
}

/// What became of the I/Os of a [`Batch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Aborts {
    /// Given up before SPDK had them: they waited for memory.
    pub given_up: usize,
    /// The bdev says that it aborted them. They end as aborted, or as what they had become before.
    pub aborted: usize,
    /// The bdev could not abort them, or they were done already.
    pub not_aborted: usize,
}

impl Batch {
    pub(super) fn new(channel: &Rc<ChannelCore>) -> Self {
        Self {
            core: Bound::new(Rc::new(BatchCore {
                channel: Rc::clone(channel),
                members: RefCell::default(),
            })),
        }
    }

    /// One more.
    pub(super) fn add(&self, slot: NonNull<Op>) {
        self.core.add(slot);
    }

    /// How many of its I/Os are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let members = self.core.members.borrow();
        let flying = |(slot, generation): &&(NonNull<Op>, u64)| {
            // SAFETY: by the invariant of `BatchCore`.
            let op = unsafe { slot.as_ref() };
            op.generation() == *generation && op.is_in_flight()
        };
        members.iter().filter(flying).count()
    }

    /// Aborts all that are in flight now: of a loop the I/O that is in flight, whose step is told and may go on. Each I/O ends by its own future as well: as aborted
    /// ([`IoError::is_aborted`]), or as done, if the abort came too late.
    ///
    /// # Errors
    ///
    /// [`IoError::Unsupported`] when the bdev can't abort; those that waited for memory were given up nevertheless.
    pub async fn abort(&self) -> Result<Aborts, IoError> {
        self.core.channel.check()?;
        let mut aborts = Aborts::default();
        let mut asked = Vec::new();
        self.core
            .members
            .borrow_mut()
            .retain(|&(slot, generation)| {
                // SAFETY: by the invariant of `BatchCore`.
                let op = unsafe { slot.as_ref() };
                if op.generation() != generation {
                    return false;
                }
                if op.give_up() {
                    aborts.given_up += 1;
                } else if op.is_submitted() {
                    asked.push((slot, generation));
                }
                // A loop goes on, and can be aborted again.
                op.is_new() || op.is_loop()
            });
        if aborts.given_up != 0 {
            self.core.channel.waits.sweep();
        }
        let mut refused = None;
        for (slot, generation) in asked {
            let ask = Ask {
                victim: slot.as_ptr().cast(),
                other: generation,
                ..Ask::data(IoType::Abort, Lba(0))
            };
            match Io::<(), ()>::new(&self.core.channel, ask, ()).await {
                Ok(()) => aborts.aborted += 1,
                // The second one: it had ended meanwhile.
                Err(IoError::Failed { .. } | IoError::Aborted { .. }) => aborts.not_aborted += 1,
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        refused.map_or(Ok(aborts), Err)
    }
}

fn is_alive((slot, generation): &(NonNull<Op>, u64)) -> bool {
    // SAFETY: by the invariant of `BatchCore`.
    let op = unsafe { slot.as_ref() };
    op.generation() == *generation && (op.is_new() || op.is_in_flight())
}

impl BatchCore {
    fn add(&self, slot: NonNull<Op>) {
        // SAFETY: the slot is a future's, so it is not idle.
        let op = unsafe { slot.as_ref() };
        if !std::ptr::eq(Rc::as_ptr(&op.channel()), Rc::as_ptr(&self.channel)) {
            // Of another channel, whose slots may go before ours: it can't be a member.
            return;
        }
        let mut members = self.members.borrow_mut();
        if members.len() == members.capacity() {
            members.retain(is_alive);
        }
        members.push((slot, op.watch()));
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("channel", &self.core.channel)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
