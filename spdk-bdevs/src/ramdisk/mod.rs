//! A bdev in memory, which fails, waits and goes away when it is told to: the disk for tests of what stands on disks.
//!
//! It does every type of I/O that SPDK has: what SPDK otherwise emulates (compare, copy, zero-copy) and what it does not
//! (abort, seeks). Memory is taken when something is written, in pieces of 64 KiB, and given back by an UNMAP of a whole
//! piece; what was never written reads as zeroes, and is a hole to a seek.
//!
//! ```standalone_crate
//! use spdk_bdevs::ramdisk::{self, Action, Fault, Ramdisk};
//! use spdk_safe::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app = App::builder("target").no_huge().no_pci().memory(Mib(512));
//! # let app = app.share_cores().log_level(LogLevel::Warn).pools(Pools::small());
//! ramdisk::with(app).run(async |spdk| {
//!     let disk = Ramdisk::builder("disk0").blocks(Blocks(1024)).create(&spdk).await?;
//!     let desc = BdevDesc::open(&spdk, "disk0").read_write()?;
//!     let ch = desc.channel()?;
//!     ch.write(Lba(7), vec![7; 512]).await.0?;
//!
//!     // The second read of block 7 fails, once.
//!     disk.set_faults([Fault::new(Action::Fail).io(IoType::Read).range(Lba(7), Blocks(1)).after(1)]);
//!     assert_eq!(ch.read_blocks(Lba(7), Blocks(1)).await?[0], 7);
//!     assert!(ch.read_blocks(Lba(7), Blocks(1)).await.is_err());
//!     assert_eq!(ch.read_blocks(Lba(7), Blocks(1)).await?[0], 7);
//!
//!     drop(ch);
//!     desc.close().await;
//!     disk.delete().await?;
//!     Ok(())
//! })?
//! # }
//! ```
//!
//! # Faults
//!
//! A [`Fault`] is an [`Action`] and the I/O that it befalls: by type, by blocks, the first so many excepted, so many times.
//! All that match an I/O count it, and of those that are due the first action counts, and the first delay. They count
//! I/Os and polls, not time, so a test with a [seed](../../spdk_safe/test/struct.SeededHarness.html) meets them where it
//! met them before.
//!
//! What waits is let go of, as aborted, by a RESET, an ABORT that means it, a removal or deletion, the end of its SPDK thread, and the
//! end of the app. From then on nothing waits where it would wait for ever.
//!
//! # How it is made
//!
//! The files, in the order in which to read them:
//!
//! 1. `device.rs` implements [`BlockDevice`](spdk_safe::module::BlockDevice). A request is matched by its type, and each
//!    type has what it needs: a read's memory is filled, a write's is copied from, a RESET has neither. `carry_out` ends
//!    with `request.complete(status)`, which takes the request away: it can't be touched or completed again.
//! 2. `memory.rs` has the bytes, behind locks of its own; none is held when a request is completed, since that runs
//!    the code of whoever waits for it.
//! 3. `queue.rs` keeps requests that wait. A request is a value, so keeping it is nothing more than a `Vec`. What must be
//!    seen to is that all are let go of: see the drawing there.
//! 4. `faults.rs` has the plan.
//! 5. `core.rs` is what handles, device and channels share, from the creation to the end.
//! 6. `rpc.rs` has the methods: `bdev_ramdisk_create` (`name`, `num_blocks`, and if you like `block_size` and `uuid`),
//!    `bdev_ramdisk_delete` (`name`), `bdev_ramdisk_resize` (`name`, `num_blocks`), and `bdev_ramdisk_set_faults` (`name`,
//!    `faults`), in which `{"action": {"delay_polls": 3}, "io": "write", "lba": 7, "num_blocks": 1, "after": 1, "times":
//!    2}` is a fault, and only `action` is needed. A saved configuration has them.

mod core;
mod device;
mod faults;
mod memory;
mod queue;
mod rpc;

use std::fmt;
use std::sync::Arc;

use spdk_safe::app::{Builder, Spdk};
use spdk_safe::bdev::{self, Uuid};
use spdk_safe::error::BdevError;
use spdk_safe::module::{BdevModule, BlockDeviceBuilder, Module};
use spdk_safe::units::{Blocks, Bytes};

use self::core::{Core, Gone};
use self::device::Device;
pub use faults::{Action, Fault};
pub use rpc::METHODS;

/// The bdev module; [`with`] gives it to an app.
pub static MODULE: BdevModule = BdevModule::new(c"ramdisk").with(&Behaviour);

/// The app, with this module and its methods.
pub fn with(app: Builder) -> Builder {
    METHODS.into_iter().fold(app.module(&MODULE), Builder::rpc)
}

/// Blocks that a compare-and-write does as one step: as many as there may be.
const ACWU: u16 = u16::MAX;

/// A bdev in memory. This is a handle; the bdev stays when it is dropped.
#[derive(Clone)]
pub struct Ramdisk {
    core: Arc<Core>,
}

/// A ramdisk to be created.
#[derive(Debug, Clone)]
#[must_use = "call `create` to create the bdev"]
pub struct RamdiskBuilder {
    name: String,
    blocks: Blocks,
    block_size: u32,
    uuid: Option<Uuid>,
    faults: Vec<Fault>,
}

impl Ramdisk {
    /// Begins a ramdisk named `name`, with blocks of 512 bytes; its size must be said.
    pub fn builder(name: impl Into<String>) -> RamdiskBuilder {
        RamdiskBuilder {
            name: name.into(),
            blocks: Blocks(0),
            block_size: 512,
            uuid: None,
            faults: Vec::new(),
        }
    }

    /// The one named `name`.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        core::find(name).map(|core| Self { core })
    }

    /// All that are there, the oldest first.
    #[must_use]
    pub fn list() -> Vec<Self> {
        let of = |core| Self { core };
        core::all().into_iter().map(of).collect()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// Its size.
    #[must_use]
    pub fn num_blocks(&self) -> Blocks {
        self.core.blocks()
    }

    /// How much memory it has taken.
    #[must_use]
    pub fn memory(&self) -> Bytes {
        self.core.memory.used()
    }

    /// Whether it was pulled out: by [`remove`](Self::remove) or an [`Action::Remove`].
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.core.is_removed()
    }

    /// How many I/Os wait in it.
    #[must_use]
    pub fn held(&self) -> usize {
        self.core.held()
    }

    /// How often something went wrong on purpose, since it was created.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.core.plan.injected()
    }

    /// Gives it other faults, from their beginning; an empty list is none. What waits already goes on waiting. From any
    /// thread.
    pub fn set_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.core.plan.set(faults.into_iter().collect());
        self.core.save();
    }

    /// Aborts all that waits, on each SPDK thread with its next poll. From any thread.
    pub fn let_go(&self) {
        self.core.let_go();
    }

    /// Changes its size. What is behind a smaller one is lost.
    ///
    /// # Errors
    ///
    /// [`BdevError::InUse`] if it is to shrink and somebody has it open; [`BdevError::Geometry`];
    /// [`BdevError::Deleting`] if it goes; [`BdevError::Thread`] on any but the app thread.
    pub fn resize(&self, blocks: Blocks) -> Result<(), BdevError> {
        self.core.resize(blocks)
    }

    /// Deletes it, and waits until it is gone: those who have it open are told, and must close it first. What waits is
    /// aborted.
    ///
    /// Once it was polled, the deletion goes on when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`BdevError::Deleting`] if it goes already.
    pub async fn delete(&self) -> Result<(), BdevError> {
        if !self.core.go() {
            return Err(BdevError::Deleting {
                name: self.core.name.clone(),
            });
        }
        self.gone().await;
        Ok(())
    }

    /// Pulls it out: every I/O fails from now on, what waits is aborted, and those who have it open are told. From any
    /// thread.
    pub fn remove(&self) {
        self.core.remove();
    }

    /// Waits until it is gone, after [`remove`](Self::remove) or an [`Action::Remove`].
    pub async fn gone(&self) {
        Gone(&self.core).await;
    }
}

impl RamdiskBuilder {
    /// Its size.
    pub fn blocks(mut self, blocks: Blocks) -> Self {
        self.blocks = blocks;
        self
    }

    /// Bytes in a block: a power of two from 512 to 65536.
    pub fn block_size(mut self, bytes: u32) -> Self {
        self.block_size = bytes;
        self
    }

    /// Its UUID. Without one it gets one at random, which a saved configuration keeps.
    pub fn uuid(mut self, uuid: Uuid) -> Self {
        self.uuid = Some(uuid);
        self
    }

    /// What goes wrong from the beginning on; also [`Ramdisk::set_faults`].
    pub fn faults(mut self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.faults.extend(faults);
        self
    }

    /// Registers it. It stays until it is deleted or removed, or the app ends.
    ///
    /// # Errors
    ///
    /// [`BdevError`]: [`Exists`](BdevError::Exists), [`Name`](BdevError::Name), [`Geometry`](BdevError::Geometry),
    /// [`ModuleNotAdded`](BdevError::ModuleNotAdded), [`Thread`](BdevError::Thread).
    pub async fn create(self, spdk: &Spdk) -> Result<Ramdisk, BdevError> {
        let core = Core::new(
            self.name.clone(),
            self.blocks,
            self.block_size,
            self.uuid,
            self.faults,
        );
        let core = Arc::new(core);
        let mut builder = BlockDeviceBuilder::new(&*self.name)
            .product("Rust ramdisk")
            .blocks(self.blocks)
            .block_size(self.block_size)
            .acwu(ACWU);
        if let Some(uuid) = self.uuid {
            builder = builder.uuid(uuid);
        }
        let bdev = builder.register(spdk, &MODULE, Device::new(&core))?;
        core::add(&core);
        if let Some(info) = bdev::find(spdk, &self.name)? {
            core.set_uuid(info.uuid);
        }
        core.up(bdev);
        core.save();
        Ok(Ramdisk { core })
    }
}

impl fmt::Debug for Ramdisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ramdisk")
            .field("name", &self.name())
            .field("num_blocks", &self.num_blocks())
            .finish_non_exhaustive()
    }
}

/// What SPDK asks the module.
struct Behaviour;

impl Module for Behaviour {
    /// Main has ended: what waits is let go of, or everybody would wait for it.
    async fn fini_start(&self) {
        for core in core::all() {
            core.let_go_for_good();
        }
    }
}
