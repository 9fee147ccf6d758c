//! Any order of changes of an array's legs: each is made or refused as a plain list of rules says, and what is refused
//! changes nothing; needs no SPDK. (The array itself is tortured on a real one: `cargo xtask torture`.)
//!
//! `cargo xtask fuzz raid1_ops`.

#![no_main]

use std::collections::BTreeSet;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use spdk_raid::raid1::state::{ArrayState, FaultReason, LegId, LegState, Legs, Refused};
use spdk_raid::split::Extent;
use spdk_safe::units::{Blocks, Lba};

#[derive(Debug, Arbitrary)]
struct Case {
    /// Whether there is a base at the beginning, for each place.
    places: Vec<bool>,
    ops: Vec<Op>,
    /// Ranges of locks, and of requests that they keep.
    ranges: [(u64, u64); 2],
}

/// Legs are spoken of by their number among all that there ever were, places as they are.
#[derive(Debug, Arbitrary)]
enum Op {
    Fault(u8, Reason),
    Remove(u8),
    Join(u8),
    Filled(u8, u64),
    Rebuilt(u8),
}

#[derive(Debug, Arbitrary)]
enum Reason {
    Io,
    Gone,
    TimedOut,
    Asked,
    NoChannel,
    Rebuild,
}

impl Reason {
    fn real(&self) -> FaultReason {
        match self {
            Self::Io => FaultReason::Io,
            Self::Gone => FaultReason::Gone,
            Self::TimedOut => FaultReason::TimedOut,
            Self::Asked => FaultReason::Asked,
            Self::NoChannel => FaultReason::NoChannel,
            Self::Rebuild => FaultReason::Rebuild,
        }
    }
}

fn active(slots: &mut [(LegId, LegState)], id: LegId) -> Result<&mut (LegId, LegState), Refused> {
    let mut active = slots.iter_mut().filter(|slot| slot.1.is_active());
    active.find(|slot| slot.0 == id).ok_or(Refused::Stale)
}

/// The rules: what the places are after a change, or why it is refused.
fn rule(slots: &mut [(LegId, LegState)], ids: &[LegId], op: &Op) -> Result<(), Refused> {
    let in_sync = slots
        .iter()
        .filter(|slot| slot.1 == LegState::InSync)
        .count();
    let id = |number: u8| ids[usize::from(number) % ids.len()];
    match op {
        Op::Fault(number, reason) => {
            let slot = active(slots, id(*number))?;
            let reason = reason.real();
            if slot.1 == LegState::InSync && in_sync == 1 && reason != FaultReason::Gone {
                return Err(Refused::Last);
            }
            slot.1 = LegState::Faulted { reason };
        }
        Op::Remove(at) => {
            let slot = slots.get_mut(usize::from(*at)).ok_or(Refused::Stale)?;
            match slot.1 {
                LegState::Missing => return Err(Refused::Stale),
                LegState::InSync if in_sync == 1 => return Err(Refused::Last),
                _ => slot.1 = LegState::Missing,
            }
        }
        Op::Join(at) => {
            let slot = slots.get_mut(usize::from(*at)).ok_or(Refused::Stale)?;
            if slot.1.is_active() {
                return Err(Refused::Taken);
            }
            slot.1 = LegState::Rebuilding { front: Lba(0) };
        }
        Op::Filled(number, front) => match &mut active(slots, id(*number))?.1 {
            LegState::Rebuilding { front: now } => *now = Lba(*front),
            _ => return Err(Refused::Stale),
        },
        Op::Rebuilt(number) => match &mut active(slots, id(*number))?.1 {
            state @ LegState::Rebuilding { .. } => *state = LegState::InSync,
            _ => return Err(Refused::Stale),
        },
    }
    Ok(())
}

fn of(legs: &Legs) -> Vec<(LegId, LegState)> {
    legs.slots()
        .iter()
        .map(|slot| (slot.id, slot.state))
        .collect()
}

fuzz_target!(|case: Case| {
    let Case {
        places,
        ops,
        ranges,
    } = case;
    if places.is_empty() || places.len() > 32 {
        return;
    }
    let names = places.iter().enumerate();
    let mut legs = Legs::new(names.map(|(at, is)| is.then(|| at.to_string())));
    let mut expected = of(&legs);
    let mut ids: Vec<_> = expected.iter().map(|slot| slot.0).collect();
    // It was without data from the beginning, or its last leg has gone.
    let mut has_failed = legs.in_sync() == 0;
    for op in &ops {
        let before = legs.clone();
        let wanted = rule(&mut expected, &ids, op);
        let id = |number: &u8| ids[usize::from(*number) % ids.len()];
        let made = match op {
            Op::Fault(leg, reason) => legs.fault(id(leg), reason.real()).map(|_| None),
            Op::Remove(at) => legs.remove(usize::from(*at)).map(|()| None),
            Op::Join(at) => legs.join(usize::from(*at), "new".into()).map(Some),
            Op::Filled(leg, front) => legs.filled_to(id(leg), Lba(*front)).map(|()| None),
            Op::Rebuilt(leg) => legs.rebuilt(id(leg)).map(|()| None),
        };
        assert_eq!(made.map(|_| ()), wanted, "{op:?} on {before:?}");
        match made {
            // A leg that joins is another one than all before.
            Ok(Some(new)) => {
                let Op::Join(at) = op else { unreachable!() };
                expected[usize::from(*at)].0 = new;
                ids.push(new);
            }
            Ok(None) => {}
            Err(_) => assert_eq!(legs.slots(), before.slots(), "{op:?} was refused"),
        }
        assert_eq!(of(&legs), expected, "{op:?}");
        let in_sync = legs.in_sync();
        // Data is lost only with a bdev that has gone.
        has_failed |= matches!(op, Op::Fault(_, Reason::Gone)) && in_sync == 0;
        assert!(in_sync != 0 || has_failed, "{op:?} on {before:?}");
        let rebuilding = expected
            .iter()
            .any(|slot| matches!(slot.1, LegState::Rebuilding { .. }));
        let is = match (in_sync, rebuilding) {
            (0, _) => ArrayState::Failed,
            (n, _) if n == places.len() => ArrayState::Optimal,
            (_, true) => ArrayState::Rebuilding,
            _ => ArrayState::Degraded,
        };
        assert_eq!(legs.array(), is);
    }
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    let extents = ranges.map(|(lba, blocks)| Extent::new(Lba(lba), Blocks(blocks)));
    if let [Ok(one), Ok(other)] = extents {
        let ends = ranges.map(|(lba, blocks)| u128::from(lba) + u128::from(blocks));
        let overlap = u128::from(ranges[0].0) < ends[1] && u128::from(ranges[1].0) < ends[0];
        assert_eq!(one.overlaps(other), overlap);
        assert_eq!(other.overlaps(one), overlap);
    }
});
