//! What the handles, the device and its channels share; and the list of all ramdisks.
//!
//! ```text
//!               1            2                  3
//!   (built) ───────► Up ───────────► Going ───────────► Gone
//!  1: create   2: delete, remove, Action::Remove   3: nobody has it open any more
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use spdk_safe::bdev::Uuid;
use spdk_safe::error::BdevError;
use spdk_safe::module::{RegisteredBdev, UnregisterBdev};
use spdk_safe::units::Blocks;

use super::faults::{Fault, Plan};
use super::memory::Memory;
use super::rpc;

static LIST: Mutex<Vec<Arc<Core>>> = Mutex::new(Vec::new());

fn list() -> MutexGuard<'static, Vec<Arc<Core>>> {
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ramdisk named `name`.
pub(super) fn find(name: &str) -> Option<Arc<Core>> {
    list().iter().find(|core| core.name == name).cloned()
}

/// All of them, the oldest first.
pub(super) fn all() -> Vec<Arc<Core>> {
    list().clone()
}

pub(super) fn add(core: &Arc<Core>) {
    list().push(Arc::clone(core));
}

/// Its device is gone.
pub(super) fn forget(core: &Core) {
    let mut list = list();
    let at = list.iter().position(|known| std::ptr::eq(&**known, core));
    let gone = at.map(|at| list.remove(at));
    drop(list);
    drop(gone);
}

pub(super) struct Core {
    pub(super) name: String,
    pub(super) block_size: u32,
    pub(super) memory: Memory,
    pub(super) plan: Plan,
    blocks: AtomicU64,
    access: AtomicU8,
    /// How often what is held was let go of.
    epoch: AtomicU64,
    /// How many requests are held on all threads.
    held: AtomicUsize,
    uuid: Mutex<Option<Uuid>>,
    phase: Mutex<Phase>,
}

/// What I/O may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Access {
    All,
    /// Nothing waits any more.
    NoDelay,
    /// It fails.
    None,
}

enum Phase {
    /// The bdev is in somebody's hands; whether it is to go when they are done.
    Taken {
        go: bool,
    },
    Up(RegisteredBdev),
    /// Taken out while it is polled: wakers are somebody's code.
    Going(Option<UnregisterBdev>),
}

impl Core {
    pub(super) fn new(
        name: String,
        blocks: Blocks,
        block_size: u32,
        uuid: Option<Uuid>,
        faults: Vec<Fault>,
    ) -> Self {
        Self {
            name,
            block_size,
            memory: Memory::default(),
            plan: Plan::new(faults),
            blocks: AtomicU64::new(blocks.0),
            access: AtomicU8::new(Access::All as u8),
            epoch: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            uuid: Mutex::new(uuid),
            phase: Mutex::new(Phase::Taken { go: false }),
        }
    }

    pub(super) fn blocks(&self) -> Blocks {
        Blocks(self.blocks.load(Ordering::Acquire))
    }

    /// Whether every I/O fails.
    pub(super) fn is_removed(&self) -> bool {
        self.access.load(Ordering::Acquire) == Access::None as u8
    }

    /// Whether requests may wait.
    pub(super) fn may_hold(&self) -> bool {
        self.access.load(Ordering::Acquire) == Access::All as u8
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub(super) fn count_held(&self) {
        self.held.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn uncount_held(&self) {
        self.held.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// All that is held now is aborted, on each thread with its next poll.
    pub(super) fn let_go(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// As [`let_go`](Self::let_go), and from now on nothing waits.
    pub(super) fn let_go_for_good(&self) {
        self.access
            .fetch_max(Access::NoDelay as u8, Ordering::AcqRel);
        self.let_go();
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its bdev, which is registered now or comes back.
    pub(super) fn up(&self, bdev: RegisteredBdev) {
        let mut phase = self.phase();
        match *phase {
            Phase::Taken { go: false } => *phase = Phase::Up(bdev),
            _ => {
                drop(phase);
                let going = bdev.unregister();
                *self.phase() = Phase::Going(Some(going));
            }
        }
    }

    /// The bdev, to be given back with [`up`](Self::up). `None` if it goes.
    fn take(&self) -> Option<RegisteredBdev> {
        let mut phase = self.phase();
        match std::mem::replace(&mut *phase, Phase::Taken { go: false }) {
            Phase::Up(bdev) => Some(bdev),
            other => {
                *phase = other;
                None
            }
        }
    }

    /// Begins to unregister the bdev. Whether it was this call that did.
    pub(super) fn go(&self) -> bool {
        self.let_go_for_good();
        let bdev = {
            let mut phase = self.phase();
            match std::mem::replace(&mut *phase, Phase::Taken { go: true }) {
                Phase::Up(bdev) => bdev,
                Phase::Taken { go } => return !go,
                other => {
                    *phase = other;
                    return false;
                }
            }
        };
        self.up(bdev);
        true
    }

    /// As [`go`](Self::go), with every I/O failing from now on.
    pub(super) fn remove(&self) {
        self.access.store(Access::None as u8, Ordering::Release);
        self.go();
    }

    pub(super) fn set_uuid(&self, uuid: Uuid) {
        *self.uuid.lock().unwrap_or_else(PoisonError::into_inner) = Some(uuid);
    }

    pub(super) fn uuid(&self) -> Option<Uuid> {
        *self.uuid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn resize(&self, blocks: Blocks) -> Result<(), BdevError> {
        let Some(bdev) = self.take() else {
            return Err(BdevError::Deleting {
                name: self.name.clone(),
            });
        };
        let old = self.blocks();
        // There before anybody hears of it.
        self.blocks.fetch_max(blocks.0, Ordering::AcqRel);
        let resized = bdev.resize(blocks);
        let is = if resized.is_ok() { blocks } else { old };
        self.blocks.store(is.0, Ordering::Release);
        if is < old {
            self.memory.truncate(is.0 * u64::from(self.block_size));
        }
        bdev.set_config(rpc::config_of(self));
        self.up(bdev);
        resized
    }

    /// Says anew what recreates it.
    pub(super) fn save(&self) {
        if let Some(bdev) = self.take() {
            bdev.set_config(rpc::config_of(self));
            self.up(bdev);
        }
    }
}

/// Done when a ramdisk is gone.
pub(super) struct Gone<'a>(pub(super) &'a Core);

impl Future for Gone<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let going = match &mut *self.0.phase() {
            Phase::Going(going) => going.take(),
            _ => None,
        };
        let Some(mut going) = going else {
            // Nobody has begun, or somebody else looks at it right now.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        let polled = Pin::new(&mut going).poll(cx);
        *self.0.phase() = Phase::Going(Some(going));
        polled
    }
}
