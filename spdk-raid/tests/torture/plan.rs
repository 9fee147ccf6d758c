//! What a case does, as a list that can be cut: of a failure the part that is enough for it.

use std::fmt;

use spdk_bdevs::ramdisk::Fault;

/// What a case is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whatever happens.
    Any,
    /// All legs fail to write zeroes, each of them a bit differently, and somebody looks at what is there then.
    Storm,
    /// Legs are filled slowly, while their sources fail writes one after the other, which it takes long to keep.
    Fill,
    /// Legs can't read what is written again soon, and take their time when they are repaired.
    Mend,
    /// Legs grow, and the array with them.
    Grows,
    /// Legs keep or say something else than they were told, but for the first one, which is read.
    Corrupt,
    /// Only the first leg has what counts when the array is created.
    Unequal,
    /// Legs do not answer until they are timed out: by SPDK's clock, which takes seconds, and is not in the seed.
    Late,
}

/// What one I/O does. Where the array can't, it is a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Read,
    /// Reads, as often, where a write failed last, whoever did it.
    Look(usize),
    Write,
    Unmap,
    WriteZeroes,
    Compare,
    CompareAndWrite,
    /// To this block.
    Copy(usize),
    Flush,
    Reset,
    /// Nothing, for so many polls.
    Pause(usize),
    /// The lane closes its channel and opens another.
    Reopen,
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

/// What is done to the array, or to a disk, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Takes it out of the array.
    Remove(usize),
    /// Puts it in, made anew if it was pulled out.
    Add(usize),
    /// Puts the second in the place of the first.
    Replace(usize, usize),
    /// Pulls it out, as it is.
    Pull(usize),
    /// It has so many blocks more than all have at first.
    Grow(usize, u64),
    Scrub {
        repair: bool,
    },
    Options {
        policy: usize,
        window: u64,
        /// Blocks in a second; 0 is as many as it can.
        bandwidth: u64,
        /// Legs have so many seconds to answer, which they always do sooner; 0 is for ever.
        patience: u64,
    },
    /// Has jobs wait, go on, or end.
    PauseJobs,
    ResumeJobs,
    AbortJobs,
    /// What waits in disks is let go of: aborted.
    LetGo,
    /// Faults of all disks begin anew.
    Faults,
    ResetCounters,
    Delete,
}

/// A deed, and how many polls of the app thread are between it and the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admin {
    pub(crate) pause: usize,
    pub(crate) deed: Deed,
}

/// A disk, whether it is a leg at the beginning or comes later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskPlan {
    pub(crate) is_malloc: bool,
    pub(crate) is_leg: bool,
    /// Blocks that it has more than it needs.
    pub(crate) more: u64,
}

/// All of a case but its schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    /// How many things a thread does at a time.
    pub(crate) lanes: usize,
    /// There may be too little memory for a channel.
    pub(crate) is_short: bool,
    pub(crate) disks: Vec<DiskPlan>,
    /// A leg that does all that it is asked, sooner or later, and stays: so all that the array is asked must succeed.
    pub(crate) rock: Option<usize>,
    /// Legs refuse requests.
    pub(crate) refuses: bool,
    pub(crate) missing: bool,
    pub(crate) policy: usize,
    pub(crate) window: u64,
    /// Blocks in a second that a job may move at first; 0 is as many as it can.
    pub(crate) bandwidth: u64,
    /// Polls that it takes to keep the array's state, at most.
    pub(crate) persist: usize,
    /// One in so many attempts to keep it fails; 0 is none.
    pub(crate) forgets: usize,
    /// Whether there is compare-and-write. SPDK's own locks blocks for it, and has two faults: it looks at channels of
    /// other threads also when they have gone meanwhile, and 26.05 frees a bdev twice that goes while it unlocks them.
    /// So then the array stays, and the channels too: they do as well if there are RESETs, since a visit of all channels
    /// in 20.07 (`_call_channel`) takes one that was opened meanwhile for the one before it, which is gone.
    pub(crate) locks: bool,
    /// The last look is behind a scrub; whether that repairs.
    pub(crate) last_scrub: Option<bool>,
    /// Of which disk.
    pub(crate) faults: Vec<(usize, Fault)>,
    pub(crate) steps: Vec<Step>,
    pub(crate) admin: Vec<Admin>,
    /// Another array on the same threads.
    pub(crate) other: Option<Box<Self>>,
}
/// The number of the policy that reads the first leg.
pub(crate) const PRIMARY: usize = 2;

impl Plan {
    /// How many things are in it.
    pub(crate) fn len(&self) -> usize {
        let other = self.other.as_ref().map_or(0, |other| other.len());
        self.faults.len() + self.steps.len() + self.admin.len() + other
    }

    /// With those things alone whose numbers `kept` has.
    pub(crate) fn only(&self, kept: &[usize]) -> Self {
        self.only_of(kept, &mut (0..))
    }

    fn only_of(&self, kept: &[usize], at: &mut std::ops::RangeFrom<usize>) -> Self {
        let mut is_kept = || at.next().is_some_and(|at| kept.contains(&at));
        let mut plan = self.clone();
        plan.faults.retain(|_| is_kept());
        plan.steps.retain(|_| is_kept());
        plan.admin.retain(|_| is_kept());
        let other = self.other.as_ref();
        plan.other = other.map(|other| Box::new(other.only_of(kept, at)));
        plan
    }

    /// Whether somebody does something to this disk.
    pub(crate) fn is_left_alone(&self, at: usize) -> bool {
        let is_meant = |admin: &Admin| match admin.deed {
            Deed::Remove(disk) | Deed::Add(disk) | Deed::Pull(disk) => disk == at,
            Deed::Replace(one, other) => one == at || other == at,
            _ => false,
        };
        let mut faults = self.faults.iter().filter(|(disk, _)| *disk == at);
        !self.admin.iter().any(is_meant) && faults.all(|(_, fault)| is_harmless(fault))
    }

    /// Whether it is reset.
    pub(crate) fn resets(&self) -> bool {
        self.steps.iter().any(|step| step.what == What::Reset)
    }
}

/// Whether nothing fails by it.
fn is_harmless(fault: &Fault) -> bool {
    let said = format!("{fault:?}");
    ["DelayPolls", "NoMemory", "Corrupt"]
        .iter()
        .any(|name| said.contains(name))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lanes = self.lanes;
        writeln!(
            f,
            "  an array of the kind {:?}, {lanes} lanes on each thread",
            self.kind
        )?;
        for (at, disk) in self.disks.iter().enumerate() {
            let kind = if disk.is_malloc { "malloc" } else { "ramdisk" };
            let part = match (self.rock == Some(at), disk.is_leg) {
                (true, _) => "the leg that stays",
                (_, true) => "leg",
                _ => "spare",
            };
            writeln!(f, "  disk {at}: {kind}, {part}, {} more blocks", disk.more)?;
        }
        writeln!(
            f,
            "  missing {}, policy {}, window {}, {} blocks a second, persistence in {} polls, 1 of {} fails, refusals {}, last scrub {:?}",
            self.missing,
            self.policy,
            self.window,
            self.bandwidth,
            self.persist,
            self.forgets,
            self.refuses,
            self.last_scrub
        )?;
        for (at, fault) in &self.faults {
            writeln!(f, "  disk {at}: {fault:?}")?;
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
        for Admin { pause, deed } in &self.admin {
            writeln!(f, "  after {pause} polls: {deed:?}")?;
        }
        if let Some(other) = &self.other {
            write!(f, "{other}")?;
        }
        Ok(())
    }
}
