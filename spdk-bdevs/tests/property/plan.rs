//! What a case does, as a list that can be cut: of a failure the part that is enough for it.

use std::fmt;

use spdk_bdevs::ramdisk::{Action, Fault};
use spdk_safe::prelude::*;
use spdk_safe::test::Random;

use super::{BLOCKS, FIRST, LANES, OPS, THREADS};

/// What one I/O does. Where a bdev can't, it is a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Read,
    Write,
    /// A write that is aborted right away.
    AbortedWrite,
    Unmap,
    WriteZeroes,
    Compare,
    CompareAndWrite,
    /// To this block.
    Copy(usize),
    ZcopyRead,
    ZcopyWrite,
    SeekData,
    SeekHole,
    Reset,
    Flush,
}

/// One I/O of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) thread: usize,
    pub(crate) lane: usize,
    pub(crate) what: What,
    pub(crate) first: usize,
    pub(crate) count: usize,
    /// For the form of its memory, and what it compares with.
    pub(crate) seed: u64,
}

/// All of a case but its schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) faults: Vec<Fault>,
    pub(crate) steps: Vec<Step>,
}

impl Plan {
    /// That of `seed`.
    pub(crate) fn of(seed: u64, has_faults: bool) -> Self {
        let random = &mut Random::new(!seed);
        let faults = match has_faults {
            true => (0..6).map(|_| fault(random)).collect(),
            false => Vec::new(),
        };
        let lanes = (0..THREADS).flat_map(|thread| (0..LANES).map(move |lane| (thread, lane)));
        let steps = lanes
            .flat_map(|lane| [lane; OPS])
            .map(|(thread, lane)| {
                let first = random.below(BLOCKS as usize - 1);
                let count = 1 + random.below((BLOCKS as usize - first).min(6));
                Step {
                    thread,
                    lane,
                    what: what(random, count, has_faults),
                    first,
                    count,
                    seed: random.next(),
                }
            })
            .collect();
        Self { faults, steps }
    }

    /// How many things are in it.
    pub(crate) fn len(&self) -> usize {
        self.faults.len() + self.steps.len()
    }

    /// Without `many` from number `from` on.
    fn without(&self, from: usize, many: usize) -> Self {
        let stays = |at: usize| !(from..from + many).contains(&at);
        let mut at = 0..;
        let mut kept = || at.next().is_some_and(stays);
        Self {
            faults: self.faults.iter().filter(|_| kept()).cloned().collect(),
            steps: self.steps.iter().filter(|_| kept()).cloned().collect(),
        }
    }

    /// A smaller plan for which `fails` still says why: no single thing in it can be left out, unless that took more than
    /// `most` tries. With how many it took.
    pub(crate) fn shrink(
        mut self,
        mut why: String,
        most: usize,
        fails: impl Fn(&Self) -> Option<String>,
    ) -> (Self, String, usize) {
        let mut tries = 0;
        let mut is_smaller = |plan: &mut Self, smaller: Self| {
            if tries == most {
                return false;
            }
            tries += 1;
            let Some(said) = fails(&smaller) else {
                return false;
            };
            why = said;
            *plan = smaller;
            true
        };
        let mut many = self.len().div_ceil(2);
        loop {
            let mut from = 0;
            let mut is_cut = false;
            while from < self.len() {
                let smaller = self.without(from, many);
                match is_smaller(&mut self, smaller) {
                    true => is_cut = true,
                    false => from += many,
                }
            }
            match (many, is_cut) {
                (1, false) => break,
                (1, true) => {}
                _ => many = many.div_ceil(2),
            }
        }
        for at in 0..self.steps.len() {
            for count in 1..self.steps[at].count {
                let mut smaller = self.clone();
                smaller.steps[at].count = count;
                if is_smaller(&mut self, smaller) {
                    break;
                }
            }
        }
        (self, why, tries)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "  {fault:?}")?;
        }
        for step in &self.steps {
            let Step {
                thread,
                lane,
                what,
                first,
                count,
                seed,
            } = step;
            writeln!(
                f,
                "  thread {thread}, lane {lane}: {what:?} of {count} from {first} on (seed {seed:#x})"
            )?;
        }
        Ok(())
    }
}

fn what(random: &mut Random, count: usize, may_fail: bool) -> What {
    match random.below(21) {
        0..5 => What::Read,
        5..10 => What::Write,
        10 => What::Unmap,
        11 => What::WriteZeroes,
        12 | 13 => What::Compare,
        14 | 15 => What::CompareAndWrite,
        16 => What::Copy(random.below(BLOCKS as usize - count + 1)),
        17 => match random.one_in(2) {
            true => What::ZcopyRead,
            false => What::ZcopyWrite,
        },
        18 => match random.one_in(2) {
            true => What::SeekData,
            false => What::SeekHole,
        },
        19 if may_fail && random.one_in(2) => What::Reset,
        20 if may_fail => What::AbortedWrite,
        _ => What::Flush,
    }
}

fn fault(random: &mut Random) -> Fault {
    let io = |random: &mut Random| {
        [
            IoType::Read,
            IoType::Write,
            IoType::Unmap,
            IoType::WriteZeroes,
            IoType::Compare,
            IoType::CompareAndWrite,
            IoType::ZeroCopy,
            IoType::Flush,
        ][random.below(8)]
    };
    let action = match random.below(20) {
        0 | 1 => Action::Fail,
        2 => Action::Nvme { sct: 2, sc: 0x81 },
        3 => Action::Abort,
        4..8 => Action::NoMemory,
        8..11 => Action::Short(Blocks(random.below(4) as u64)),
        11..16 => Action::DelayPolls(random.below(30) as u32),
        16..19 => Action::Hold,
        _ => Action::Remove,
    };
    let fault = Fault::new(action)
        .after(random.below(30) as u64)
        .times(1 + random.below(8) as u64);
    let fault = match random.one_in(2) {
        true => fault.io(io(random)),
        false => fault,
    };
    match random.one_in(3) {
        true => fault.range(Lba(FIRST + random.below(BLOCKS as usize) as u64), Blocks(3)),
        false => fault,
    }
}
