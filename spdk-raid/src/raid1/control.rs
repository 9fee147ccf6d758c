//! Who decides: one task for each array, on the app thread. All that changes the state of the array is a [`Command`] to
//! it, and one is done before the next is looked at.
//!
//! ```text
//!   a request that failed ─┐
//!   events of the bases ───┼──► Command ──► change of state ──► Published, pass ──► Persistence ──► answer
//!   people, by RPC ────────┤                                                          │
//!   jobs ──────────────────┘                                              jobs, on a thread of their own
//! ```
//!
//! It never waits for a range lock, nor for I/O to a leg: those may be waiting for it.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt;
use spdk_safe::app::Spdk;
use spdk_safe::io_device::RegisteredIoDevice;
use spdk_safe::module::{RegisteredBdev, UnregisterBdev};
use spdk_safe::thread::{self, Thread};
use spdk_safe::units::{Blocks, Lba};

use super::array::Array;
use super::bases::{self, Base, Held};
use super::error::{ChangeError, CreateError};
use super::info::{BaseStats, Process};
use super::jobs::{self, Job, JobKind};
use super::lane::{Lane, Lanes};
use super::options::Options;
use super::persist::{Persistence, Record};
use super::settle::later;
use super::snapshot::{ALL, Dirty, Leg, Snapshot};
use super::state::{FaultReason, LegId, LegState, Refused};
use super::watch::Watch;
use crate::split::Extent;

/// What control is told, or asked.
pub(super) enum Command {
    /// Legs are at fault. The answer: whether none of them is used any more, and that is kept.
    Fault {
        legs: Vec<LegId>,
        reason: FaultReason,
        done: Option<oneshot::Sender<bool>>,
    },
    /// Legs may differ in a range. The answer comes when all threads read it from the same leg.
    Diverged {
        extent: Extent,
        done: oneshot::Sender<()>,
    },
    /// A leg could not read a range.
    Repair { leg: LegId, extent: Extent },
    /// A leg was filled. The answer: whether that is all; `false` if the array has grown meanwhile.
    Rebuilt {
        leg: LegId,
        done: oneshot::Sender<bool>,
    },
    /// Bases are to be made equal, as they were not taken to be from the beginning.
    Resync(u64),
    /// A base has grown.
    Resized,
    /// The published state has changed.
    Refresh,
    /// A range lock was given up.
    Unlocked,
    /// A job has ended.
    Ended(Option<Arc<Job>>),
    /// Add a base, in the place of another or in a free one.
    Add {
        name: String,
        instead_of: Option<String>,
        done: oneshot::Sender<Result<(), ChangeError>>,
    },
    /// Take a base away. The answer comes when it is free.
    Remove {
        name: String,
        done: oneshot::Sender<Result<(), ChangeError>>,
    },
    /// Compare the legs, and make them equal if asked.
    Scrub {
        repair: bool,
        done: oneshot::Sender<Result<(), ChangeError>>,
    },
    /// End a job. The answer comes when it has, and the base that it filled is free.
    Abort {
        process: Process,
        done: oneshot::Sender<Result<(), ChangeError>>,
    },
    /// What SPDK counts of the bases.
    Stats {
        done: oneshot::Sender<Vec<BaseStats>>,
    },
    /// Set options.
    Set {
        options: Options,
        done: oneshot::Sender<()>,
    },
    /// Unregister the bdev, and end.
    Delete { done: oneshot::Sender<()> },
    /// The bdev is gone.
    Gone,
}

/// What control owns.
pub(super) struct Control {
    pub(super) spdk: Spdk,
    pub(super) array: Arc<Array>,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) persistence: Arc<dyn Persistence>,
    /// Of the legs that are used.
    pub(super) descs: BTreeMap<LegId, Held>,
    pub(super) bdev: Option<RegisteredBdev>,
    pub(super) lanes: RegisteredIoDevice<Lanes>,
    /// The last state was kept.
    is_recorded: bool,
    records: u64,
    /// Runs jobs, while there are any.
    worker: Option<Thread>,
    jobs: usize,
    deleting: Option<UnregisterBdev>,
    deleters: Vec<oneshot::Sender<()>>,
}

impl Control {
    pub(super) fn new(
        spdk: &Spdk,
        array: &Arc<Array>,
        commands: mpsc::UnboundedReceiver<Command>,
        persistence: Arc<dyn Persistence>,
        lanes: RegisteredIoDevice<Lanes>,
    ) -> Self {
        Self {
            spdk: spdk.clone(),
            array: Arc::clone(array),
            commands,
            persistence,
            descs: BTreeMap::new(),
            bdev: None,
            lanes,
            is_recorded: true,
            records: 0,
            worker: None,
            jobs: 0,
            deleting: None,
            deleters: Vec::new(),
        }
    }

    /// Serves commands until the bdev is gone.
    pub(super) async fn run(mut self) {
        while let Some(command) = self.commands.next().await {
            if matches!(command, Command::Gone) {
                break;
            }
            self.serve(command).await;
        }
        self.end().await;
    }

    async fn serve(&mut self, command: Command) {
        match command {
            Command::Fault { legs, reason, done } => {
                let is_done = self.fault(&legs, reason).await;
                answer(done, is_done);
            }
            Command::Diverged { extent, done } => {
                self.diverged(extent).await;
                answer(Some(done), ());
            }
            Command::Repair { leg, extent } => {
                let array = Arc::clone(&self.array);
                let repair = move || jobs::repair(array, leg, extent);
                if !self.spawn(None, repair).await {
                    self.array.was_repaired(leg, extent);
                }
            }
            Command::Rebuilt { leg, done } => {
                let is_all = self.rebuilt(leg).await;
                answer(Some(done), is_all);
            }
            Command::Resync(id) => {
                let job = Job::new(JobKind::Resync, None);
                self.array.status().jobs.push(Arc::clone(&job));
                let (array, task) = (Arc::clone(&self.array), Arc::clone(&job));
                let resync = move || jobs::resync(array, id, Some(task));
                self.spawn(Some(job), resync).await;
            }
            Command::Resized => self.grow().await,
            Command::Refresh => self.array.pass().await,
            Command::Unlocked => self.array.visit(Lane::unlock).await,
            Command::Ended(job) => self.ended(job),
            Command::Add {
                name,
                instead_of,
                done,
            } => {
                let added = self.add(name, instead_of).await;
                answer(Some(done), added);
            }
            Command::Remove { name, done } => self.remove(&name, done).await,
            Command::Scrub { repair, done } => {
                let begun = self.scrub(repair).await;
                answer(Some(done), begun);
            }
            Command::Abort { process, done } => self.abort(&process, done).await,
            Command::Stats { done } => self.stats(done),
            Command::Set { options, done } => {
                self.set(options).await;
                answer(Some(done), ());
            }
            Command::Delete { done } => {
                self.deleters.push(done);
                self.unregister();
            }
            Command::Gone => {}
        }
    }

    /// Takes legs out of use. That is kept first: what is written without them must not be acknowledged before.
    async fn fault(&mut self, legs: &[LegId], reason: FaultReason) -> bool {
        let (mut left, mut all) = (Vec::new(), true);
        for &leg in legs {
            let is_gone = self.descs.get(&leg).is_some_and(Held::is_removed);
            let reason = if is_gone { FaultReason::Gone } else { reason };
            let faulted = self.array.status().legs.fault(leg, reason);
            match faulted {
                Ok(slot) => {
                    self.array.counters.faults.add(1);
                    let name = self.name_of(slot);
                    log::warn!(
                        "raid1 {:?}: base {name:?} is not used any more: {reason}",
                        self.array.name
                    );
                    left.push(leg);
                }
                Err(Refused::Last) => all = false,
                // By an earlier command, which is done.
                Err(_) => {}
            }
        }
        if left.is_empty() {
            // What was not kept then is tried again: nobody is told that a leg is out before it is.
            if !self.is_recorded {
                self.record().await;
            }
            return all && self.is_recorded;
        }
        self.record().await;
        self.publish_legs().await;
        for leg in left {
            self.close(leg, None);
        }
        if self.array.status().legs.in_sync() == 0 {
            log::error!(
                "raid1 {:?}: its last base in sync is gone, and so is the array",
                self.array.name
            );
            self.unregister();
        }
        all && self.is_recorded
    }

    /// Publishes the legs as they are now: those that have left are gone from all threads when this is done.
    async fn publish_legs(&mut self) {
        let legs = self.array.status().legs.clone();
        // First nobody reads them any more, then nobody writes them.
        let some_leave = self.array.published.update(|snapshot| {
            let mut some_leave = false;
            for leg in &mut snapshot.legs {
                leg.leaves = legs.slot_of(leg.id).is_none();
                some_leave |= leg.leaves;
            }
            some_leave
        });
        if some_leave {
            self.array.pass().await;
        }
        self.array.published.update(|snapshot| {
            snapshot.legs.retain(|leg| legs.slot_of(leg.id).is_some());
            for leg in &mut snapshot.legs {
                let slot = legs.slot_of(leg.id).map(|at| legs.slots()[at].state);
                if slot == Some(LegState::InSync) {
                    leg.front = ALL;
                }
            }
            // With one leg there is nothing that could differ; but what is copied to it right now may come yet.
            if snapshot.legs.len() < 2 {
                let locks = &snapshot.locks;
                let is_locked = |range: &Dirty| {
                    let mut locks = locks.iter();
                    locks.any(|lock| lock.extent.overlaps(range.extent))
                };
                snapshot.dirty.retain(is_locked);
            }
        });
        self.array.pass().await;
    }

    async fn record(&mut self) {
        self.records += 1;
        let record = Record {
            name: self.array.name.clone(),
            uuid: self.array.uuid.get().copied(),
            legs: self.array.status().legs.slots().to_vec(),
            version: self.records,
        };
        let recorded = self.persistence.record(&record).await;
        self.is_recorded = recorded.is_ok();
        if let Err(error) = recorded {
            log::error!("{error}");
        }
    }

    fn name_of(&self, slot: usize) -> String {
        let status = self.array.status();
        let name = status.legs.slots()[slot].name.clone();
        name.unwrap_or_default()
    }

    /// Lets go of the bdev of a leg that has left; `done` hears when it is free.
    fn close(&mut self, leg: LegId, done: Option<oneshot::Sender<Result<(), ChangeError>>>) {
        let Some(held) = self.descs.remove(&leg) else {
            return answer(done, Ok(()));
        };
        later(async move {
            held.let_go().await;
            answer(done, Ok(()));
        });
    }

    async fn diverged(&mut self, extent: Extent) {
        self.array.counters.diverged.add(1);
        let differs = |snapshot: &mut Snapshot| match snapshot.legs.len() {
            0 | 1 => None,
            _ => snapshot.differs_in(extent),
        };
        let new = self.array.published.update(differs);
        self.array.pass().await;
        if let Some(id) = new {
            let array = Arc::clone(&self.array);
            self.spawn(None, move || jobs::resync(array, id, None))
                .await;
        }
    }

    async fn rebuilt(&mut self, leg: LegId) -> bool {
        let total = self.array.status().blocks.0;
        let front = {
            let snapshot = self.array.published.get();
            let leg = snapshot.legs.iter().find(|known| known.id == leg);
            leg.map_or(ALL, |leg| leg.front)
        };
        if front < total {
            return false;
        }
        let rebuilt = self.array.status().legs.rebuilt(leg);
        if rebuilt.is_ok() {
            log::info!(
                "raid1 {:?}: a base was filled, and is in sync",
                self.array.name
            );
            self.publish_legs().await;
            self.record().await;
            // Bases may have grown while one was missing.
            self.grow().await;
        }
        true
    }

    /// Grows the array to what all legs have.
    async fn grow(&mut self) {
        let now = self.array.status().blocks;
        let snapshot = self.array.published.get();
        let blocks = snapshot
            .legs
            .iter()
            .map(|leg| leg.desc.num_blocks().0.saturating_sub(leg.offset));
        let blocks = Blocks(blocks.min().unwrap_or(0));
        let has_all = self.array.status().legs.slots().len() == snapshot.legs.len();
        let Some(bdev) = self.bdev.as_ref().filter(|_| blocks > now && has_all) else {
            return;
        };
        // Nobody has written there yet, so the legs may differ.
        if let Ok(extent) = Extent::new(Lba(now.0), Blocks(blocks.0 - now.0)) {
            let array = Arc::clone(&self.array);
            let new = array
                .published
                .update(|snapshot| snapshot.differs_in(extent));
            array.pass().await;
            match bdev.resize(blocks) {
                Ok(()) => {
                    self.array.status().blocks = blocks;
                    log::info!("raid1 {:?}: it has {blocks} now", self.array.name);
                }
                Err(error) => log::warn!("raid1 {:?} can't grow: {error}", self.array.name),
            }
            if let Some(id) = new {
                self.spawn(None, move || jobs::resync(array, id, None))
                    .await;
            }
        }
    }

    /// Puts a base into a slot, and begins to fill it.
    async fn add(&mut self, name: String, instead_of: Option<String>) -> Result<(), ChangeError> {
        if self.array.status().is_ending {
            return Err(ChangeError::Ending);
        }
        let base = Base::open(&self.spdk, &self.array.name, &name, self.array.offset)?;
        base.fits(&self.array)?;
        if let Some(old) = &instead_of {
            let (slot, id) = self.slot_named(old)?;
            let is_active = self.array.status().legs.slots()[slot].state.is_active();
            if is_active && !self.fault(&[id], FaultReason::Asked).await {
                return Err(ChangeError::Last { name: old.clone() });
            }
        }
        let slot = {
            let status = self.array.status();
            let slots = status.legs.slots();
            let wanted = instead_of.as_ref().unwrap_or(&name);
            let free = |at: &usize| !slots[*at].state.is_active();
            // Its own one first, then one that is nobody's, then one of a base that is not there; that of a base which
            // has failed, and may be wanted back, is the last.
            let rank = |at: &usize| match (&slots[*at].name, slots[*at].state) {
                (Some(name), _) if name == wanted => 0,
                (None, _) => 1,
                (Some(_), LegState::Missing) => 2,
                _ => 3,
            };
            (0..slots.len()).filter(free).min_by_key(rank)
        };
        let slot = slot.ok_or_else(|| ChangeError::Full { name: name.clone() })?;
        let joined = self.array.status().legs.join(slot, name.clone());
        let Ok(leg) = joined else {
            return Err(ChangeError::Full { name });
        };
        log::info!(
            "raid1 {:?}: base {name:?} joins, and is filled",
            self.array.name
        );
        self.take(base, leg, slot, 0);
        self.publish_legs().await;
        self.record().await;
        let job = Job::new(JobKind::Rebuild, Some(leg));
        self.array.status().jobs.push(Arc::clone(&job));
        let array = Arc::clone(&self.array);
        let task = Arc::clone(&job);
        if !self
            .spawn(Some(job), move || jobs::rebuild(array, task, leg))
            .await
        {
            self.fault(&[leg], FaultReason::Rebuild).await;
            return Err(ChangeError::NoThread { name });
        }
        Ok(())
    }

    /// A base becomes a leg.
    pub(super) fn take(&mut self, base: Base, leg: LegId, slot: usize, front: u64) {
        let Base { desc, offset, .. } = base;
        let watch = Arc::new(Watch::default());
        let shared = Arc::new(desc.share());
        bases::follow(&self.array, leg, &desc, &shared, &watch);
        let held = Held::new(desc, &watch);
        self.descs.insert(leg, held);
        self.array.published.update(|snapshot| {
            snapshot.legs.push(Leg {
                id: leg,
                slot,
                desc: shared,
                offset,
                front,
                watch,
                leaves: false,
            });
            snapshot.legs.sort_by_key(|leg| leg.slot);
        });
    }

    fn slot_named(&self, name: &str) -> Result<(usize, LegId), ChangeError> {
        let status = self.array.status();
        let mut slots = status.legs.slots().iter().enumerate();
        let found = slots.find(|(_, slot)| slot.name.as_deref() == Some(name));
        let found = found.map(|(at, slot)| (at, slot.id));
        found.ok_or_else(|| ChangeError::NotMember { name: name.into() })
    }

    async fn remove(&mut self, name: &str, done: oneshot::Sender<Result<(), ChangeError>>) {
        let removed = self.slot_named(name).and_then(|(slot, leg)| {
            let removed = self.array.status().legs.remove(slot);
            removed.map(|()| leg).map_err(|refused| match refused {
                Refused::Last => ChangeError::Last { name: name.into() },
                _ => ChangeError::NotMember { name: name.into() },
            })
        });
        match removed {
            Ok(leg) => {
                log::info!("raid1 {:?}: base {name:?} is taken away", self.array.name);
                self.record().await;
                self.publish_legs().await;
                self.close(leg, Some(done));
            }
            Err(error) => answer(Some(done), Err(error)),
        }
    }

    async fn scrub(&mut self, repair: bool) -> Result<(), ChangeError> {
        let is_busy = {
            let status = self.array.status();
            status.jobs.iter().any(|job| job.kind == JobKind::Scrub)
        };
        if is_busy {
            return Err(ChangeError::Scrubbing);
        }
        let job = Job::new(JobKind::Scrub, None);
        self.array.status().jobs.push(Arc::clone(&job));
        let (array, task) = (Arc::clone(&self.array), Arc::clone(&job));
        match self
            .spawn(Some(job), move || jobs::scrub(array, task, repair))
            .await
        {
            true => Ok(()),
            false => Err(ChangeError::NoThread {
                name: self.array.name.clone(),
            }),
        }
    }

    async fn abort(&mut self, process: &Process, done: oneshot::Sender<Result<(), ChangeError>>) {
        let job = self.array.status().job(process);
        let Some(job) = job else {
            return answer(Some(done), Err(ChangeError::NoJob));
        };
        let mut held = None;
        if let Some(leg) = job.leg {
            let is_filled = {
                let status = self.array.status();
                let at = status.legs.slot_of(leg);
                at.is_none_or(|at| status.legs.slots()[at].state == LegState::InSync)
            };
            if is_filled {
                return answer(Some(done), Err(ChangeError::NoJob));
            }
            // Closed below.
            held = self.descs.remove(&leg);
            self.fault(&[leg], FaultReason::Asked).await;
        }
        job.abort();
        let ended = job.ended();
        later(async move {
            if let Some(held) = held {
                held.let_go().await;
            }
            // Nothing is ever sent.
            let _ = ended.await;
            answer(Some(done), Ok(()));
        });
    }

    /// Does not wait for it.
    fn stats(&self, done: oneshot::Sender<Vec<BaseStats>>) {
        let slots = self.array.status().legs.slots().to_vec();
        let calls = slots.into_iter().filter_map(|slot| {
            let held = self.descs.get(&slot.id)?;
            Some((slot.name.unwrap_or_default(), held.desc.stats()))
        });
        let calls: Vec<_> = calls.collect();
        let _ = thread::spawn_local(async move {
            let mut all = Vec::with_capacity(calls.len());
            for (name, call) in calls {
                // One that goes has none.
                if let Ok(stats) = call.await {
                    all.push(BaseStats::new(name, stats));
                }
            }
            answer(Some(done), all);
        });
    }

    async fn set(&mut self, options: Options) {
        let policy = options.read_policy;
        self.array.status().options = options;
        self.array
            .published
            .update(|snapshot| snapshot.policy = policy);
        self.array.pass().await;
    }

    /// Runs a job on the array's own thread. False if there is none to be had.
    async fn spawn<F>(
        &mut self,
        job: Option<Arc<Job>>,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> bool
    where
        F: Future<Output = ()> + 'static,
    {
        if self.worker.is_none() {
            let made = Thread::builder(format!("{}_worker", self.array.name))
                .spawner(spdk_exec::spdk::attach)
                .create(&self.spdk)
                .await;
            match made {
                Ok(worker) => self.worker = Some(worker),
                Err(error) => log::error!(
                    "raid1 {:?} has no thread for jobs: {error}",
                    self.array.name
                ),
            }
        }
        let end = Ended {
            array: Arc::clone(&self.array),
            job: job.clone(),
        };
        self.jobs += 1;
        let spawned = match &self.worker {
            Some(worker) => worker
                .handle()
                .try_spawn(move || async move {
                    let _end = end;
                    make().await;
                })
                .is_ok(),
            None => false,
        };
        // If it was not, its end is told all the same.
        spawned
    }

    fn ended(&mut self, job: Option<Arc<Job>>) {
        if let Some(job) = job {
            let mut status = self.array.status();
            status.jobs.retain(|known| !Arc::ptr_eq(known, &job));
        }
        self.jobs -= 1;
        if self.jobs == 0 {
            self.worker = None;
        }
    }

    /// Begins to unregister the bdev; `Gone` follows.
    fn unregister(&mut self) {
        self.array.status().is_ending = true;
        if let Some(bdev) = self.bdev.take() {
            self.deleting = Some(bdev.unregister());
        }
    }

    /// The bdev is gone: everything else goes.
    pub(super) async fn end(mut self) {
        self.array.status().is_ending = true;
        if let Some(deleting) = self.deleting.take() {
            deleting.await;
        }
        // What jobs still ask is answered: nobody.
        self.commands.close();
        while self.commands.next().await.is_some() {}
        if let Some(worker) = self.worker.take() {
            worker.exit().await;
        }
        self.array
            .published
            .update(|snapshot| snapshot.legs.clear());
        self.lanes.unregister().await;
        let legs: Vec<_> = std::mem::take(&mut self.descs).into_values().collect();
        for held in legs {
            held.desc.close().await;
        }
        self.array.status().jobs.clear();
        super::list::remove(&self.array);
        for done in self.deleters {
            answer(Some(done), ());
        }
    }
}

/// Tells control of the end of a job, however that comes.
struct Ended {
    array: Arc<Array>,
    job: Option<Arc<Job>>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.array.tell(Command::Ended(self.job.take()));
    }
}

/// Whoever asked may have gone.
fn answer<T>(done: Option<oneshot::Sender<T>>, answer: T) {
    if let Some(done) = done {
        let _ = done.send(answer);
    }
}

impl From<CreateError> for ChangeError {
    fn from(error: CreateError) -> Self {
        Self::Base(Box::new(error))
    }
}
