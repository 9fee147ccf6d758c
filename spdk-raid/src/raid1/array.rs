//! An array, as all its parts share it.

use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use futures_channel::{mpsc, oneshot};
use futures_util::FutureExt;
use spdk_safe::bdev::Uuid;
use spdk_safe::error::ForEachError;
use spdk_safe::io_device::SharedIoDevice;
use spdk_safe::units::Blocks;

use super::control::Command;
use super::counters::Counters;
use super::info::Process;
use super::jobs::{Job, JobKind};
use super::lane::{Lane, Lanes, Later};
use super::layout::Layout;
use super::options::Options;
use super::snapshot::Published;
use super::state::{FaultReason, LegId, LegState, Legs};
use crate::split::Extent;

/// How many repairs may wait; a leg that needs more is likely to be beyond them, and its data is on another.
const MOST_REPAIRS: usize = 64;

/// An array. Every part of it has one of these; requests reach it through their views.
pub(super) struct Array {
    pub(super) name: String,
    pub(super) block_size: u32,
    /// Bytes that a buffer's address must be a multiple of.
    pub(super) align: usize,
    /// Bytes of metadata with each block, if they are in a buffer of their own; 0 otherwise.
    pub(super) separate_metadata: u32,
    /// What bases must have: bytes with each block, and whether they are interleaved.
    pub(super) metadata: (u32, bool),
    /// Where its data begins on each base, in blocks.
    pub(super) offset: u64,
    pub(super) uuid: OnceLock<Uuid>,
    pub(super) published: Published,
    pub(super) counters: Counters,
    /// Set once, before the bdev is registered.
    pub(super) lanes: OnceLock<SharedIoDevice<Lanes>>,
    pub(super) resets: Resets,
    pub(super) users: Users,
    pub(super) leaving: Leaving,
    control: mpsc::UnboundedSender<Command>,
    status: Mutex<Status>,
}

/// Threads that have exited, or are about to, with I/O in flight.
#[derive(Default)]
pub(super) struct Leaving(Mutex<Vec<Weak<Later>>>);

impl Leaving {
    /// Another one.
    pub(super) fn add(&self) -> Arc<Later> {
        let later = Arc::default();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.strong_count() != 0);
        all.push(Arc::downgrade(&later));
        later
    }

    /// A lock waits for them.
    pub(super) fn wait(&self, lock: &Arc<oneshot::Sender<Infallible>>) {
        let all: Vec<_> = {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().filter_map(Weak::upgrade).collect()
        };
        // With nothing locked: one that goes meanwhile wakes who waits.
        for later in all {
            later.wait(lock);
        }
    }
}

/// RESETs of users, which abort also what jobs have under way.
#[derive(Default)]
pub(super) struct Resets {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Resets {
    /// How many there were; `None` while there is one.
    pub(super) fn begun(&self) -> Option<u64> {
        let ended = self.ended.load(Ordering::Acquire);
        (self.begun.load(Ordering::Acquire) == ended).then_some(ended)
    }

    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn end(&self) {
        self.ended.fetch_add(1, Ordering::AcqRel);
    }
}

/// Whether users have had I/O. It is noted of what is not on the straight path alone: while a leg is filled, or a range is
/// locked or dirty, that is all, so that it is seen during each window of each job.
#[derive(Default)]
pub(super) struct Users(AtomicBool);

impl Users {
    /// A user's request has come.
    #[inline]
    pub(super) fn note_io(&self) {
        // Written once in a while, so that threads do not take its cache line from each other.
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether there was some since a job began with its window. Of several jobs each counts from the last beginning of
    /// any of them: users that have much are seen by all.
    pub(super) fn had_io(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// A job begins with a window.
    pub(super) fn forget(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// What people see of it. Written on the app thread; locked for single looks.
pub(super) struct Status {
    pub(super) legs: Legs,
    pub(super) blocks: Blocks,
    pub(super) options: Options,
    /// Rebuilds, resyncs and scrubs whose tasks have not ended.
    pub(super) jobs: Vec<Arc<Job>>,
    /// Repairs that wait, or are under way.
    pub(super) repairs: Vec<(LegId, Extent)>,
    /// It ends: nothing new is begun.
    pub(super) is_ending: bool,
}

impl Status {
    /// The job that does `process`.
    pub(super) fn job(&self, process: &Process) -> Option<Arc<Job>> {
        let slots = self.legs.slots();
        let is = |job: &&Arc<Job>| match process {
            Process::Scrub => job.kind == JobKind::Scrub,
            Process::Resync => job.kind == JobKind::Resync,
            Process::Rebuild(base) => slots.iter().any(|slot| {
                job.kind == JobKind::Rebuild
                    && Some(slot.id) == job.leg
                    && slot.name.as_ref() == Some(base)
            }),
        };
        self.under_way().find(is).cloned()
    }

    /// The jobs that have something left to do: one that has filled its leg is among all of them until its task has ended.
    pub(super) fn under_way(&self) -> impl Iterator<Item = &Arc<Job>> {
        let slots = self.legs.slots();
        let is_filled = move |leg| {
            let slot = slots.iter().find(|slot| slot.id == leg);
            slot.is_none_or(|slot| slot.state == LegState::InSync)
        };
        let has_more = move |job: &&Arc<Job>| !job.leg.is_some_and(&is_filled);
        self.jobs.iter().filter(has_more)
    }
}

impl Array {
    pub(super) fn new(
        name: String,
        layout: &Layout,
        offset: u64,
        published: Published,
        control: mpsc::UnboundedSender<Command>,
        status: Status,
    ) -> Self {
        Self {
            name,
            block_size: layout.block_size,
            align: layout.align,
            separate_metadata: match layout.metadata_interleaved {
                true => 0,
                false => layout.metadata_size,
            },
            metadata: (layout.metadata_size, layout.metadata_interleaved),
            offset,
            uuid: OnceLock::new(),
            published,
            counters: Counters::default(),
            lanes: OnceLock::new(),
            resets: Resets::default(),
            users: Users::default(),
            leaving: Leaving::default(),
            control,
            status: Mutex::new(status),
        }
    }

    /// A look at what people see. Nothing is called while it is locked.
    pub(super) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells control. It may be over.
    pub(super) fn tell(&self, command: Command) {
        let _ = self.control.unbounded_send(command);
    }

    /// Asks control, now; the answer comes later, `None` if it is over.
    pub(super) fn ask<T, A: FnOnce(oneshot::Sender<T>) -> Command>(
        &self,
        ask: A,
    ) -> impl Future<Output = Option<T>> + use<T, A> {
        let (answer, answered) = oneshot::channel();
        self.tell(ask(answer));
        answered.map(Result::ok)
    }

    /// Has legs faulted on all threads, and whoever keeps the array's state on disk told. False if one of them stays.
    pub(super) fn fault(
        &self,
        legs: Vec<LegId>,
        reason: FaultReason,
    ) -> impl Future<Output = bool> + use<> {
        let done = self.ask(move |done| Command::Fault {
            legs,
            reason,
            done: Some(done),
        });
        done.map(|done| done.unwrap_or(false))
    }

    /// Says that a leg is at fault, without waiting.
    pub(super) fn report(&self, leg: LegId, reason: FaultReason) {
        self.tell(Command::Fault {
            legs: vec![leg],
            reason,
            done: None,
        });
    }

    /// Has a range read from one leg alone, by all threads, until the legs are made equal there.
    pub(super) fn diverged(&self, extent: Extent) -> impl Future<Output = ()> + use<> {
        self.ask(move |done| Command::Diverged { extent, done })
            .map(|_| ())
    }

    /// Has a range of a leg written again from the others, some time; once, however often it is asked for meanwhile.
    pub(super) fn repair(&self, leg: LegId, extent: Extent) {
        {
            let mut status = self.status();
            let covers = |&(known, range): &(LegId, Extent)| {
                known == leg && range.lba() <= extent.lba() && extent.last() <= range.last()
            };
            if status.repairs.iter().any(covers) {
                return;
            }
            if status.repairs.len() >= MOST_REPAIRS {
                drop(status);
                return self.counters.not_repaired.add(1);
            }
            status.repairs.push((leg, extent));
        }
        self.tell(Command::Repair { leg, extent });
    }

    /// A repair is over.
    pub(super) fn was_repaired(&self, leg: LegId, extent: Extent) {
        let mut status = self.status();
        let found = status
            .repairs
            .iter()
            .position(|known| *known == (leg, extent));
        if let Some(at) = found {
            status.repairs.swap_remove(at);
        }
    }

    /// Has `look` look at the lane of each thread.
    pub(super) async fn visit(&self, look: impl Fn(&Lane) + Send + Sync + Clone + 'static) {
        let Some(lanes) = self.lanes.get() else {
            return;
        };
        loop {
            let look = look.clone();
            let visit = lanes.for_each_channel(move |lane| {
                look(lane);
                Ok::<_, Infallible>(())
            });
            match visit.await {
                // A thread's ring is full: it empties.
                Err(ForEachError::NoRoom { .. }) => spdk_exec::yield_now().await,
                // One that was moved by somebody runs no I/O of ours any more; the others have looked.
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Has all threads look at what is published now. Afterwards no request begins with anything older.
    pub(super) async fn pass(&self) {
        self.visit(|lane| lane.refresh(None)).await;
    }
}
