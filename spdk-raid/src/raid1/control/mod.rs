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
//!
//! In `legs` is who comes and goes, in `ranges` where legs may differ, in `jobs` what is begun for that.

mod jobs;
mod legs;
mod ranges;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt;
use spdk_safe::app::Spdk;
use spdk_safe::io_device::RegisteredIoDevice;
use spdk_safe::module::{RegisteredBdev, UnregisterBdev};
use spdk_safe::thread::{self, Thread};

use super::array::Array;
use super::bases::Held;
use super::error::ChangeError;
use super::info::{BaseStats, Process};
use super::jobs::Job;
use super::lane::{Lane, Lanes};
use super::options::Options;
use super::persist::Persistence;
use super::state::{FaultReason, LegId};
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
            Command::Repair { leg, extent } => self.repair(leg, extent).await,
            Command::Rebuilt { leg, done } => {
                let is_all = self.rebuilt(leg).await;
                answer(Some(done), is_all);
            }
            Command::Resync(id) => self.resync(id).await,
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

/// Whoever asked may have gone.
fn answer<T>(done: Option<oneshot::Sender<T>>, answer: T) {
    if let Some(done) = done {
        let _ = done.send(answer);
    }
}
