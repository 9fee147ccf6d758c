//! What goes wrong on purpose, and when.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use spdk_safe::error::{IoType, NvmeStatus};
use spdk_safe::module::{Request, RequestStatus};
use spdk_safe::units::{Blocks, Lba};

/// What a [`Fault`] does to an I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// It fails, and nothing is done.
    Fail,
    /// It fails with this status, and nothing is done.
    Nvme {
        /// Status code type.
        sct: u8,
        /// Status code.
        sc: u8,
    },
    /// It ends as aborted, and nothing is done.
    Abort,
    /// There is no memory for it now. It comes again, as another I/O to the plan.
    NoMemory,
    /// Its first blocks are done, so many, and it fails.
    Short(Blocks),
    /// It does not fail, but the first byte is inverted: of what is read, or of what is written. For others it is
    /// nothing.
    Corrupt,
    /// It waits for so many polls of its SPDK thread, at least one.
    DelayPolls(u32),
    /// It waits so long.
    DelayFor(Duration),
    /// It waits until it is let go of: by a RESET, an ABORT, a removal, the end of its SPDK thread or of the app.
    Hold,
    /// The ramdisk is removed, as if it had been pulled out: this I/O fails, and so do all that follow.
    Remove,
}

/// Something that goes wrong on purpose: an [`Action`], and the I/O that it befalls.
///
/// ```
/// use spdk_bdevs::ramdisk::{Action, Fault};
/// use spdk_safe::prelude::*;
///
/// // The third write that touches block 7 or 8, and the two after it, have no memory.
/// let fault = Fault::new(Action::NoMemory).io(IoType::Write).range(Lba(7), Blocks(2)).after(2).times(3);
/// # let _ = fault;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "give it to `RamdiskBuilder::fault` or `Ramdisk::set_faults`"]
pub struct Fault {
    pub(super) action: Action,
    pub(super) io: Option<IoType>,
    pub(super) range: Option<(Lba, Blocks)>,
    pub(super) after: u64,
    pub(super) times: Option<u64>,
}

impl Fault {
    /// `action` befalls the next I/O, of any type but RESET and ABORT.
    pub fn new(action: Action) -> Self {
        Self {
            action,
            io: None,
            range: None,
            after: 0,
            times: Some(1),
        }
    }

    /// Only I/O of this type.
    pub fn io(mut self, io: IoType) -> Self {
        self.io = Some(io);
        self
    }

    /// Only I/O that touches one of these blocks. A copy touches its source, too; RESET and ABORT touch none, and a seek
    /// the block that it begins with.
    pub fn range(mut self, lba: Lba, blocks: Blocks) -> Self {
        self.range = Some((lba, blocks));
        self
    }

    /// Not the first so many of them.
    pub fn after(mut self, count: u64) -> Self {
        self.after = count;
        self
    }

    /// So many of them; one, if it is not said.
    pub fn times(mut self, count: u64) -> Self {
        self.times = Some(count);
        self
    }

    /// All of them.
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    fn matches(&self, asked: &Asked) -> bool {
        let is_type = match self.io {
            Some(io) => io == asked.io,
            None => !matches!(asked.io, IoType::Reset | IoType::Abort),
        };
        let touches = |(lba, blocks): (Lba, Blocks)| {
            asked.ranges.iter().flatten().any(|range| {
                let starts_before =
                    |a: (Lba, Blocks), b: (Lba, Blocks)| a.0.0 < b.0.0.saturating_add(b.1.0);
                starts_before((lba, blocks), *range) && starts_before(*range, (lba, blocks))
            })
        };
        is_type && self.range.is_none_or(touches)
    }
}

/// What is known of a request before it is carried out.
pub(super) struct Asked {
    io: IoType,
    ranges: [Option<(Lba, Blocks)>; 2],
}

impl Asked {
    /// `None` for types that this crate does not know.
    pub(super) fn of(request: &Request) -> Option<Self> {
        let one = |io, lba, blocks| Self {
            io,
            ranges: [Some((lba, blocks)), None],
        };
        let none = |io| Self {
            io,
            ranges: [None; 2],
        };
        Some(match request {
            Request::Read(read) => one(IoType::Read, read.lba(), read.blocks()),
            Request::Write(write) => one(IoType::Write, write.lba(), write.blocks()),
            Request::Unmap(range) => one(IoType::Unmap, range.lba(), range.blocks()),
            Request::WriteZeroes(range) => one(IoType::WriteZeroes, range.lba(), range.blocks()),
            Request::Flush(range) => one(IoType::Flush, range.lba(), range.blocks()),
            Request::Compare(compare) => one(IoType::Compare, compare.lba(), compare.blocks()),
            Request::CompareAndWrite(both) => {
                one(IoType::CompareAndWrite, both.lba(), both.blocks())
            }
            Request::Copy(copy) => Self {
                io: IoType::Copy,
                ranges: [
                    Some((copy.lba(), copy.blocks())),
                    Some((copy.from(), copy.blocks())),
                ],
            },
            Request::ZcopyStart(zcopy) => one(IoType::ZeroCopy, zcopy.lba(), zcopy.blocks()),
            Request::ZcopyEnd(zcopy) => one(IoType::ZeroCopy, zcopy.lba(), zcopy.blocks()),
            Request::SeekData(seek) => one(IoType::SeekData, seek.lba(), Blocks(1)),
            Request::SeekHole(seek) => one(IoType::SeekHole, seek.lba(), Blocks(1)),
            Request::Reset(_) => none(IoType::Reset),
            Request::Abort(_) => none(IoType::Abort),
            _ => return None,
        })
    }
}

/// What is done to a request instead of what it asks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome {
    Normal,
    Status(RequestStatus),
    Short(Blocks),
    Corrupt,
}

/// What a request waits for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Delay {
    Polls(u32),
    For(Duration),
    Forever,
}

/// What the plan says about a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) delay: Option<Delay>,
    pub(super) remove: bool,
}

impl Verdict {
    const NORMAL: Self = Self {
        outcome: Outcome::Normal,
        delay: None,
        remove: false,
    };

    fn add(&mut self, action: Action) {
        let outcome = match action {
            Action::Fail => Outcome::Status(RequestStatus::Failed),
            Action::Nvme { sct, sc } => Outcome::Status(RequestStatus::Nvme {
                cdw0: 0,
                status: NvmeStatus { sct, sc },
            }),
            Action::Abort => Outcome::Status(RequestStatus::Aborted),
            Action::NoMemory => Outcome::Status(RequestStatus::NoMemory),
            Action::Short(blocks) => Outcome::Short(blocks),
            Action::Corrupt => Outcome::Corrupt,
            Action::DelayPolls(polls) => return self.wait(Delay::Polls(polls)),
            Action::DelayFor(time) => return self.wait(Delay::For(time)),
            Action::Hold => return self.wait(Delay::Forever),
            Action::Remove => return self.remove = true,
        };
        if matches!(self.outcome, Outcome::Normal) {
            self.outcome = outcome;
        }
    }

    fn wait(&mut self, delay: Delay) {
        self.delay.get_or_insert(delay);
    }
}

/// The faults of a ramdisk, and how far they are.
#[derive(Default)]
pub(super) struct Plan {
    armed: Mutex<Vec<Armed>>,
    /// Whether there are any.
    any: AtomicBool,
    injected: AtomicU64,
}

struct Armed {
    fault: Fault,
    /// How many I/Os it matched.
    seen: u64,
}

impl Plan {
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        let plan = Self::default();
        plan.set(faults);
        plan
    }

    fn armed(&self) -> MutexGuard<'_, Vec<Armed>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other faults, from their beginning.
    pub(super) fn set(&self, faults: Vec<Fault>) {
        let any = !faults.is_empty();
        let faults = faults.into_iter().map(|fault| Armed { fault, seen: 0 });
        *self.armed() = faults.collect();
        self.any.store(any, Ordering::Release);
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        self.armed()
            .iter()
            .map(|armed| armed.fault.clone())
            .collect()
    }

    /// How often something went wrong on purpose.
    pub(super) fn injected(&self) -> u64 {
        self.injected.load(Ordering::Relaxed)
    }

    /// What is to happen to `request`, which is counted.
    pub(super) fn judge(&self, request: &Request) -> Verdict {
        if !self.any.load(Ordering::Acquire) {
            return Verdict::NORMAL;
        }
        let mut verdict = Verdict::NORMAL;
        let Some(asked) = Asked::of(request) else {
            return verdict;
        };
        for armed in self.armed().iter_mut() {
            if !armed.fault.matches(&asked) {
                continue;
            }
            armed.seen += 1;
            let turn = armed.seen.saturating_sub(armed.fault.after);
            if turn != 0 && armed.fault.times.is_none_or(|times| turn <= times) {
                verdict.add(armed.fault.action);
                self.injected.fetch_add(1, Ordering::Relaxed);
            }
        }
        verdict
    }
}
