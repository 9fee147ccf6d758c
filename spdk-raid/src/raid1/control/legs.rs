//! Which legs an array has: those that fail or go leave, those that come join, and whoever keeps the state is told.

use std::sync::Arc;

use futures_channel::oneshot;

use super::super::bases::{self, Base, Held};
use super::super::error::ChangeError;
use super::super::jobs::{self, Job, JobKind};
use super::super::persist::Record;
use super::super::settle::later;
use super::super::snapshot::{ALL, Dirty, Leg};
use super::super::state::{FaultReason, LegId, LegState, Refused};
use super::super::watch::Watch;
use super::{Control, answer};

impl Control {
    /// Takes legs out of use. That is kept first: what is written without them must not be acknowledged before.
    pub(super) async fn fault(&mut self, legs: &[LegId], reason: FaultReason) -> bool {
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
            return all && self.is_recorded && self.has_data();
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
        all && self.is_recorded && self.has_data()
    }

    /// Whether a leg in sync is left. If not, what is only on a leg that was faulted before is on none: the array comes back
    /// from the leg that went last.
    fn has_data(&self) -> bool {
        self.array.status().legs.in_sync() != 0
    }

    pub(super) async fn remove(
        &mut self,
        name: &str,
        done: oneshot::Sender<Result<(), ChangeError>>,
    ) {
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

    /// Puts a base into a slot, and begins to fill it.
    pub(super) async fn add(
        &mut self,
        name: String,
        instead_of: Option<String>,
    ) -> Result<(), ChangeError> {
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
    pub(in super::super) fn take(&mut self, base: Base, leg: LegId, slot: usize, front: u64) {
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

    pub(super) async fn rebuilt(&mut self, leg: LegId) -> bool {
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

    /// Lets go of the bdev of a leg that has left; `done` hears when it is free.
    pub(super) fn close(
        &mut self,
        leg: LegId,
        done: Option<oneshot::Sender<Result<(), ChangeError>>>,
    ) {
        let Some(held) = self.descs.remove(&leg) else {
            return answer(done, Ok(()));
        };
        later(async move {
            held.let_go().await;
            answer(done, Ok(()));
        });
    }

    fn name_of(&self, slot: usize) -> String {
        let status = self.array.status();
        let name = status.legs.slots()[slot].name.clone();
        name.unwrap_or_default()
    }

    fn slot_named(&self, name: &str) -> Result<(usize, LegId), ChangeError> {
        let status = self.array.status();
        let mut slots = status.legs.slots().iter().enumerate();
        let found = slots.find(|(_, slot)| slot.name.as_deref() == Some(name));
        let found = found.map(|(at, slot)| (at, slot.id));
        found.ok_or_else(|| ChangeError::NotMember { name: name.into() })
    }
}
