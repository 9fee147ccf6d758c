//! Ranges in which legs may differ: after a write that not all of them have done, and in the room that a resize adds.

use std::sync::Arc;

use spdk_safe::units::{Blocks, Lba};

use super::super::jobs;
use super::super::snapshot::Snapshot;
use super::Control;
use crate::split::Extent;

impl Control {
    pub(super) async fn diverged(&mut self, extent: Extent) {
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

    /// Grows the array to what all legs have.
    pub(super) async fn grow(&mut self) {
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
}
