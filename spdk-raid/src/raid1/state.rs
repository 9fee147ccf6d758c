//! The states of the legs of an array, and what changes them. Pure: no SPDK in here.
//!
//! ```text
//!                      1                                   3
//!   (create) ───────────────────────► InSync ◄──────────────────────┐
//!      │                                │  │                        │
//!      │ 2                            4 │  │ 5                      │
//!      │          ┌─────────────────────┘  └────────┐               │
//!      ▼          ▼              6                  ▼               │
//!   Missing ◄─────┼──────────── Faulted ◄───────────┼──── 4 ──── Rebuilding
//!      │          │                │                │               ▲  │
//!      │          └────────────────┼────────────────┘  ◄────── 5 ───┼──┘
//!      └───────────────────────────┴──────────────── 7 ─────────────┘
//!   1: Legs::new, a base that was given   2: Legs::new, a missing one   3: rebuilt
//!   4: fault   5: remove (to Missing)   6: remove   7: join
//! ```
//!
//! A leg that leaves gets another [`LegId`] when its slot is taken again, so whoever still speaks of the old one is
//! not heard.

use std::fmt;

use spdk_safe::units::Lba;
use thiserror::Error;

/// A base of an array, from the time it joins until it leaves. Never given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(u64);

/// How a leg is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LegState {
    /// It has all data: it is read and written.
    InSync,
    /// It is being filled: written below the front, and read there, too.
    Rebuilding {
        /// The first block that is not filled.
        front: Lba,
    },
    /// It is not used any more, and its bdev is free. Add it again, or another one, to have it rebuilt.
    Faulted {
        /// Why.
        reason: FaultReason,
    },
    /// There is none.
    Missing,
}

/// Why a leg is not used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultReason {
    /// A write failed on it, and not on others; or what it could not read could not be written back.
    Io,
    /// Its bdev went.
    Gone,
    /// It did not answer in time.
    TimedOut,
    /// Somebody asked for it.
    Asked,
    /// A thread could not get a channel to it.
    NoChannel,
    /// It could not be filled.
    Rebuild,
}

/// How an array is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArrayState {
    /// All its legs are in sync.
    Optimal,
    /// Some legs are in sync, others are not, and none of them is being filled.
    Degraded,
    /// Some legs are in sync, and others are being filled.
    Rebuilding,
    /// No leg is in sync: its data can't be reached.
    Failed,
}

/// The place of a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Of whom it speaks; a new one for each leg.
    pub id: LegId,
    /// Its name, or that of the last one there was.
    pub name: Option<String>,
    /// How it is.
    pub state: LegState,
}

/// Why a change of state is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refused {
    /// There is no such leg any more.
    #[error("there is no such base in the array any more")]
    Stale,
    /// It is the last one in sync. To take it away nevertheless, delete the array.
    #[error("it is the last base in sync; without it the array has no data")]
    Last,
    /// The slot is not free.
    #[error("there is a base in that place already")]
    Taken,
}

/// The legs of an array, by their slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Legs {
    slots: Vec<Slot>,
    next: u64,
}

impl LegState {
    /// Whether I/O goes to it.
    #[must_use]
    pub const fn is_active(self) -> bool {
        matches!(self, Self::InSync | Self::Rebuilding { .. })
    }
}

impl Legs {
    /// Those of a new array: in sync where there is a name, missing where there is none.
    pub fn new(names: impl IntoIterator<Item = Option<String>>) -> Self {
        let mut legs = Self {
            slots: Vec::new(),
            next: 0,
        };
        for name in names {
            let state = match name {
                Some(_) => LegState::InSync,
                None => LegState::Missing,
            };
            let id = legs.next_id();
            legs.slots.push(Slot { id, name, state });
        }
        legs
    }

    fn next_id(&mut self) -> LegId {
        self.next += 1;
        LegId(self.next)
    }

    /// All of them.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slot of a leg that has not left.
    #[must_use]
    pub fn slot_of(&self, id: LegId) -> Option<usize> {
        self.slots
            .iter()
            .position(|slot| slot.id == id && slot.state.is_active())
    }

    /// A base is called by its own name, not by the one that found it.
    #[cfg(feature = "spdk")]
    pub(super) fn rename(&mut self, at: usize, name: String) {
        self.slots[at].name = Some(name);
    }

    /// How many are in sync.
    #[must_use]
    pub fn in_sync(&self) -> usize {
        let in_sync = |slot: &&Slot| slot.state == LegState::InSync;
        self.slots.iter().filter(in_sync).count()
    }

    /// How the array is.
    #[must_use]
    pub fn array(&self) -> ArrayState {
        let rebuilding = |slot: &Slot| matches!(slot.state, LegState::Rebuilding { .. });
        match self.in_sync() {
            0 => ArrayState::Failed,
            n if n == self.slots.len() => ArrayState::Optimal,
            _ if self.slots.iter().any(rebuilding) => ArrayState::Rebuilding,
            _ => ArrayState::Degraded,
        }
    }

    /// A leg failed. The last one in sync stays, unless it has gone.
    ///
    /// # Errors
    ///
    /// [`Refused::Stale`], [`Refused::Last`].
    pub fn fault(&mut self, id: LegId, reason: FaultReason) -> Result<usize, Refused> {
        let at = self.slot_of(id).ok_or(Refused::Stale)?;
        let is_last = self.slots[at].state == LegState::InSync && self.in_sync() == 1;
        if is_last && reason != FaultReason::Gone {
            return Err(Refused::Last);
        }
        self.slots[at].state = LegState::Faulted { reason };
        Ok(at)
    }

    /// A leg is taken away, whatever its state: there is none then.
    ///
    /// # Errors
    ///
    /// [`Refused::Stale`] if there is none in the slot, [`Refused::Last`].
    pub fn remove(&mut self, at: usize) -> Result<(), Refused> {
        let is_last = self.in_sync() == 1;
        let slot = self.slots.get_mut(at).ok_or(Refused::Stale)?;
        match slot.state {
            LegState::Missing => Err(Refused::Stale),
            LegState::InSync if is_last => Err(Refused::Last),
            _ => {
                slot.state = LegState::Missing;
                slot.name = None;
                Ok(())
            }
        }
    }

    /// A base takes a free slot, to be filled.
    ///
    /// # Errors
    ///
    /// [`Refused::Stale`] if there is no such slot, [`Refused::Taken`].
    pub fn join(&mut self, at: usize, name: String) -> Result<LegId, Refused> {
        let id = self.next_id();
        let slot = self.slots.get_mut(at).ok_or(Refused::Stale)?;
        if slot.state.is_active() {
            return Err(Refused::Taken);
        }
        *slot = Slot {
            id,
            name: Some(name),
            state: LegState::Rebuilding { front: Lba(0) },
        };
        Ok(id)
    }

    /// The front of a leg that is being filled moves on.
    ///
    /// # Errors
    ///
    /// [`Refused::Stale`].
    pub fn filled_to(&mut self, id: LegId, front: Lba) -> Result<(), Refused> {
        let at = self.slot_of(id).ok_or(Refused::Stale)?;
        match &mut self.slots[at].state {
            LegState::Rebuilding { front: now } => {
                *now = front;
                Ok(())
            }
            _ => Err(Refused::Stale),
        }
    }

    /// A leg was filled to its end.
    ///
    /// # Errors
    ///
    /// [`Refused::Stale`].
    pub fn rebuilt(&mut self, id: LegId) -> Result<(), Refused> {
        let at = self.slot_of(id).ok_or(Refused::Stale)?;
        match self.slots[at].state {
            LegState::Rebuilding { .. } => {
                self.slots[at].state = LegState::InSync;
                Ok(())
            }
            _ => Err(Refused::Stale),
        }
    }
}

impl fmt::Display for LegState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InSync => f.write_str("in sync"),
            Self::Rebuilding { .. } => f.write_str("rebuilding"),
            Self::Faulted { reason } => write!(f, "faulted: {reason}"),
            Self::Missing => f.write_str("missing"),
        }
    }
}

impl fmt::Display for FaultReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Io => "an I/O failed",
            Self::Gone => "its bdev is gone",
            Self::TimedOut => "it did not answer in time",
            Self::Asked => "it was asked for",
            Self::NoChannel => "a thread could not get a channel to it",
            Self::Rebuild => "it could not be filled",
        })
    }
}

impl fmt::Display for ArrayState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Optimal => "optimal",
            Self::Degraded => "degraded",
            Self::Rebuilding => "rebuilding",
            Self::Failed => "failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Legs {
        Legs::new([Some("a".into()), Some("b".into())])
    }

    #[test]
    fn the_last_leg_in_sync_is_not_faulted_unless_it_is_gone() {
        let mut legs = two();
        let (a, b) = (legs.slots()[0].id, legs.slots()[1].id);
        assert_eq!(legs.fault(a, FaultReason::Io), Ok(0));
        assert_eq!(legs.array(), ArrayState::Degraded);
        assert_eq!(legs.fault(b, FaultReason::Io), Err(Refused::Last));
        assert_eq!(legs.remove(1), Err(Refused::Last));
        assert_eq!(legs.array(), ArrayState::Degraded);
        assert_eq!(legs.fault(b, FaultReason::Gone), Ok(1));
        assert_eq!(legs.array(), ArrayState::Failed);
    }

    #[test]
    fn whoever_speaks_of_a_leg_that_left_is_not_heard() {
        let mut legs = two();
        let a = legs.slots()[0].id;
        legs.fault(a, FaultReason::Io).unwrap();
        assert_eq!(legs.fault(a, FaultReason::Gone), Err(Refused::Stale));
        let again = legs.join(0, "a".into()).unwrap();
        assert_eq!(legs.fault(a, FaultReason::Io), Err(Refused::Stale));
        assert_eq!(legs.rebuilt(a), Err(Refused::Stale));
        assert_eq!(legs.array(), ArrayState::Rebuilding);
        legs.filled_to(again, Lba(7)).unwrap();
        let front = LegState::Rebuilding { front: Lba(7) };
        assert_eq!(legs.slots()[0].state, front);
        legs.rebuilt(again).unwrap();
        assert_eq!(legs.array(), ArrayState::Optimal);
        assert_eq!(legs.join(0, "c".into()), Err(Refused::Taken));
    }

    #[test]
    fn a_leg_that_is_being_filled_is_faulted_and_removed_also_beside_the_last_one() {
        let mut legs = Legs::new([Some("a".into()), None]);
        assert_eq!(legs.array(), ArrayState::Degraded);
        let b = legs.join(1, "b".into()).unwrap();
        assert_eq!(legs.fault(b, FaultReason::Rebuild), Ok(1));
        legs.join(1, "b".into()).unwrap();
        assert_eq!(legs.remove(1), Ok(()));
        assert_eq!(legs.remove(1), Err(Refused::Stale));
        assert_eq!(legs.slots()[1].state, LegState::Missing);
    }
}
