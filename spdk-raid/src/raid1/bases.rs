//! The bdevs below an array: opened, claimed, and followed.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use spdk_safe::app::Spdk;
use spdk_safe::bdev::{BdevDesc, BdevEvent, BdevEvents, Claimed, IoTimeouts, SharedDesc};
use spdk_safe::error::IoType;
use spdk_safe::prelude::ReadWrite;
use spdk_safe::thread;
use spdk_safe::units::Blocks;

use super::MODULE;
use super::array::Array;
use super::clock::now;
use super::control::Command;
use super::error::{ChangeError, CreateError};
use super::layout;
use super::state::{FaultReason, LegId};
use super::watch::{self, Watch};

/// A base that is ours, and not in use yet. Dropping it lets go of it.
pub(super) struct Base {
    pub(super) name: String,
    pub(super) desc: BdevDesc<ReadWrite, Claimed>,
    /// Where the array's data begins on it, in blocks.
    pub(super) offset: u64,
}

impl Base {
    /// Opens and claims a bdev.
    pub(super) fn open(
        spdk: &Spdk,
        array: &str,
        name: &str,
        offset: u64,
    ) -> Result<Self, CreateError> {
        let desc = BdevDesc::open(spdk, name)
            .read_write()
            .map_err(|source| CreateError::Open {
                array: array.into(),
                source,
            })?;
        let desc = desc
            .claim(&MODULE)
            .map_err(|(source, _desc)| CreateError::Claim {
                array: array.into(),
                source,
            })?;
        Ok(Self {
            name: desc.info().name.clone(),
            desc,
            offset,
        })
    }

    /// What the layout wants to know.
    pub(super) fn layout(&self) -> layout::Base {
        let info = self.desc.info();
        layout::Base {
            name: self.name.clone(),
            block_size: info.block_size,
            blocks: Blocks(self.desc.num_blocks().0.saturating_sub(self.offset)),
            align: info.align,
            metadata_size: info.metadata_size,
            metadata_interleaved: info.metadata_interleaved,
            has_dif: info.dif.is_some(),
            write_cache: info.write_cache,
        }
    }

    /// Whether an array that works can have it.
    pub(super) fn fits(&self, array: &Array) -> Result<(), ChangeError> {
        let base = self.layout();
        let differs = |what, got: u64, needed: u64| ChangeError::Differs {
            name: self.name.clone(),
            what,
            got,
            needed,
        };
        if base.block_size != array.block_size {
            let (got, needed) = (base.block_size.into(), array.block_size.into());
            return Err(differs("block size in bytes", got, needed));
        }
        let (size, interleaved) = array.metadata;
        if base.metadata_size != size {
            let (got, needed) = (base.metadata_size.into(), size.into());
            return Err(differs("metadata in bytes", got, needed));
        }
        if size != 0 && base.metadata_interleaved != interleaved {
            let (got, needed) = (base.metadata_interleaved.into(), interleaved.into());
            return Err(differs("interleaving of metadata", got, needed));
        }
        if base.has_dif {
            return Err(differs("protection information", 1, 0));
        }
        // Those who have the array open have aligned their buffers already.
        if base.align > array.align.max(1) {
            let (got, needed) = (base.align as u64, array.align as u64);
            return Err(differs("alignment in bytes", got, needed));
        }
        let needed = array.status().blocks;
        if base.blocks < needed {
            return Err(ChangeError::TooSmall {
                name: self.name.clone(),
                blocks: base.blocks,
                needed,
            });
        }
        Ok(())
    }
}

/// The base of a leg.
pub(super) struct Held {
    pub(super) desc: BdevDesc<ReadWrite, Claimed>,
    watch: Arc<Watch>,
}

/// How often it is looked whether a base that has left has I/O of its own.
const LOOK: Duration = Duration::from_millis(250);

impl Held {
    pub(super) fn new(desc: BdevDesc<ReadWrite, Claimed>, watch: &Arc<Watch>) -> Self {
        Self {
            desc,
            watch: Arc::clone(watch),
        }
    }

    pub(super) fn is_removed(&self) -> bool {
        self.desc.is_removed()
    }

    /// Lets go of a base that has left all threads, and waits until it is free. In a task of an executor of ours.
    ///
    /// Requests that began before have a channel to it until they end, and another leg may hold them for ever. So it is
    /// taken from them when its own I/O has ended: no new one has come since, and what were left would be so old by now
    /// that SPDK had said so. Not before: what it does not answer is reset, through that channel.
    pub(super) async fn let_go(self) {
        let Self { desc, watch } = self;
        let mut close = pin!(desc.close());
        if spdk_exec::timeout(watch::LATEST, close.as_mut())
            .await
            .is_ok()
        {
            return;
        }
        while watch.oldest(now()).is_some() {
            if spdk_exec::timeout(LOOK, close.as_mut()).await.is_ok() {
                return;
            }
        }
        // On another thread than the app's nobody gets here.
        let _ = close.revoke();
        close.await;
    }
}

/// Follows what happens to the base of a leg, until that is closed.
pub(super) fn follow(
    array: &Arc<Array>,
    leg: LegId,
    desc: &BdevDesc<ReadWrite, Claimed>,
    shared: &Arc<SharedDesc<ReadWrite>>,
    watch: &Arc<Watch>,
) {
    let _ = thread::spawn_local(events(Arc::clone(array), leg, desc.events()));
    // What is too old, and what is slow, may change: it is asked for all that SPDK can say.
    match desc.io_timeouts(Duration::from_secs(1)) {
        Ok(reports) => {
            let (name, watch) = (desc.info().name.clone(), Arc::clone(watch));
            let used = Arc::downgrade(shared);
            let task = old_io(Arc::clone(array), leg, name, used, reports, watch);
            let _ = thread::spawn_local(task);
        }
        Err(error) => log::warn!(
            "raid1 {:?}: nobody sees when a base does not answer: {error}",
            array.name
        ),
    }
}

async fn events(array: Arc<Array>, leg: LegId, mut events: BdevEvents) {
    while let Some(event) = events.next().await {
        match event {
            BdevEvent::Removed => array.report(leg, FaultReason::Gone),
            BdevEvent::Resized { .. } => array.tell(Command::Resized),
            _ => {}
        }
    }
}

/// What SPDK says of I/O that is old: its age is kept, a leg that is slow is warned of, and one that does not answer is
/// timed out.
async fn old_io(
    array: Arc<Array>,
    leg: LegId,
    name: String,
    used: Weak<SharedDesc<ReadWrite>>,
    mut reports: IoTimeouts,
    watch: Arc<Watch>,
) {
    let is_reset = Rc::new(Cell::new(false));
    while let Some(old) = reports.next().await {
        watch.saw(now(), old.age);
        let (slow, limit) = {
            let status = array.status();
            (status.options.slow_io, status.options.io_timeout)
        };
        if slow.is_some_and(|slow| old.age >= slow) && watch.is_newly_slow(now()) {
            array.counters.slow.add(1);
            log::warn!(
                "raid1 {:?}: base {:?} is slow: an I/O is {:.1} s old",
                array.name,
                name,
                old.age.as_secs_f64()
            );
        }
        let Some(limit) = limit.filter(|limit| old.age >= *limit) else {
            continue;
        };
        // A RESET may take long, or wait for memory: what is said meanwhile counts, since a base that SPDK says nothing of
        // is let go of.
        if is_reset.replace(true) {
            continue;
        }
        let (array, used, ended) = (Arc::clone(&array), Weak::clone(&used), Rc::clone(&is_reset));
        let task = async move {
            timed_out(&array, leg, &used, old.age, limit).await;
            ended.set(false);
        };
        if thread::spawn_local(task).is_err() {
            is_reset.set(false);
        }
    }
}

/// A leg that does not answer is faulted. Its I/O has the memory of requests, which it must give back before they can
/// end: so it is reset, too.
///
/// Also one that was faulted before, or taken away, as long as I/O of requests is on it.
async fn timed_out(
    array: &Array,
    leg: LegId,
    used: &Weak<SharedDesc<ReadWrite>>,
    age: Duration,
    limit: Duration,
) {
    // Not kept meanwhile: it would keep the descriptor open.
    let Some(desc) = used.upgrade() else {
        return;
    };
    array.counters.timeouts.add(1);
    log::warn!(
        "raid1 {:?}: base {:?} has not answered for {} s, which is more than {} s",
        array.name,
        desc.info().name,
        age.as_secs(),
        limit.as_secs()
    );
    // The last leg stays; it is reset all the same.
    array.fault(vec![leg], FaultReason::TimedOut).await;
    if desc.info().supports(IoType::Reset) {
        // As I/O below a device: others may wait for memory for ever, until this gives some back.
        if let Ok(channel) = desc.channel_below() {
            let _ = channel.reset().await;
        }
    }
}
