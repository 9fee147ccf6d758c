//! A bdev over another one that changes nothing: the smallest stacked module.
//!
//! What SPDK's `module/bdev/passthru` is in C, in Rust, and meant to be read as an example. Everything is in the files
//! beside this one, and this is the way through them:
//!
//! 1. **The device** (`device.rs`) implements [`BlockDevice`](spdk_safe::module::BlockDevice). It has a share of the
//!    descriptor of its base, which keeps that open and claimed. Each SPDK thread that opens our bdev makes a channel of
//!    ours, which is nothing but a channel of the base. A request is handed on as it is, and what became of it below
//!    is what becomes of it:
//!
//!    ```
//!    # use std::rc::Rc;
//!    # use spdk_safe::module::Request;
//!    # use spdk_safe::prelude::*;
//!    fn submit(base: &Rc<IoChannel<ReadWrite>>, request: Request) {
//!        request.forward(base, |request, result| request.complete(result));
//!    }
//!    ```
//!
//!    Nothing is allocated for that, no data is copied, and the request stays alive until the base is done with it. What
//!    an NVMe disk says of an I/O (its status) goes up as it was said.
//! 2. **The list** (`list.rs`) knows what was asked for. A base may come later than what stands on it: a saved
//!    configuration has it that way round. So a pass-through without its base waits, and SPDK shows every new bdev to
//!    [`Examine::examine_config`]. A base may also go: its descriptor says so, as an event, and our bdev is unregistered,
//!    which tells those above. It waits for its base again then. When the base grows, so does it.
//! 3. **The module** (this file) ties it to SPDK: its name, the examine callback, and what `save_config` writes.
//! 4. **The methods** (`rpc.rs`): `bdev_rust_passthru_create`, with `name`, `base_bdev_name` and `uuid` or
//!    without, and
//!    `bdev_rust_passthru_delete`, with `name`.
//!
//! To have all that in an app, give it [`with`]:
//!
//! ```
//! use spdk_bdevs::passthru::{self, Creation, Passthru};
//! use spdk_safe::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let app = App::builder("target").no_huge().no_pci().memory(Mib(512));
//! # let app = app.share_cores().log_level(LogLevel::Warn).pools(Pools::small());
//! passthru::with(app).run(async |spdk| {
//!     // The base comes later.
//!     let created = Passthru::builder("pt0", "disk0").create(&spdk).await?;
//!     assert_eq!(created, Creation::AwaitsBase);
//!     MallocBdev::builder("disk0").blocks(1024).create(&spdk).await?;
//!
//!     let desc = BdevDesc::open(&spdk, "pt0").read_write()?;
//!     let ch = desc.channel()?;
//!     ch.write(Lba(7), vec![7; 512]).await.0?;
//!     assert_eq!(ch.read_blocks(Lba(7), Blocks(1)).await?[0], 7);
//!     drop(ch);
//!     desc.close().await;
//!
//!     // Nobody else may write to the base meanwhile.
//!     assert!(matches!(BdevDesc::open(&spdk, "disk0").read_write(), Err(OpenError::Claimed { .. })));
//!     Passthru::delete(&spdk, "pt0").await?;
//!     MallocBdev::delete(&spdk, "disk0").await?;
//!     Ok(())
//! })?
//! # }
//! ```
//!
//! Metadata goes with the data, interleaved or in a buffer of its own, and an abort goes to what its victim has become
//! below, if that can be found ([`AbortRequest::forward`](spdk_safe::module::AbortRequest::forward)).
//!
//! What it leaves out:
//!
//! - compare-and-write and seek have nothing below them: SPDK does the first with a compare and a write, under a lock of
//!   its own, and says of the second that all is data;
//! - a zero-copy is a read into, or a write from, memory of SPDK's pool, not the base's own memory;
//! - memory domains, which the library does not know: nobody is told those of the base, and SPDK copies what comes from
//!   one into memory of its own first;
//! - NVMe commands as they are (`NVME_IO`, `NVME_ADMIN`): [`supports`](spdk_safe::module::BlockDevice::supports) says no
//!   to them, where C's says what its base does, and then fails them.

mod device;
mod list;
mod rpc;

use spdk_safe::app::{Builder, Spdk};
use spdk_safe::bdev::{BdevInfo, Uuid};
use spdk_safe::error::BdevError;
use spdk_safe::module::{BdevModule, ConfigEntry, Examine, Module};

pub use rpc::METHODS;

/// The bdev module; [`with`] gives it to an app.
pub static MODULE: BdevModule = BdevModule::new(c"rust_passthru")
    .with(&Behaviour)
    .examine(&Behaviour);

/// The app, with this module and its methods.
pub fn with(app: Builder) -> Builder {
    METHODS.into_iter().fold(app.module(&MODULE), Builder::rpc)
}

/// A pass-through bdev that was asked for, as it was when somebody looked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Passthru {
    /// Its name.
    pub name: String,
    /// What its base was called when it was asked for.
    pub base: String,
    /// How it is.
    pub status: Status,
}

/// How a pass-through is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It is a bdev.
    Registered,
    /// It comes when its base does.
    AwaitsBase {
        /// Why it did not when the base was there, if it was.
        last_error: Option<BdevError>,
    },
    /// It is being unregistered: it was deleted, or its base has gone.
    Going,
}

/// How a creation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// The bdev is there.
    Registered,
    /// The bdev comes when its base does.
    AwaitsBase,
}

/// A pass-through bdev to be created.
#[derive(Debug, Clone)]
#[must_use = "call `create` to create the bdev"]
pub struct PassthruBuilder {
    name: String,
    base: String,
    uuid: Option<Uuid>,
}

impl Passthru {
    /// Begins a pass-through bdev named `name` over the bdev that has the name, alias or UUID `base`.
    pub fn builder(name: impl Into<String>, base: impl Into<String>) -> PassthruBuilder {
        PassthruBuilder {
            name: name.into(),
            base: base.into(),
            uuid: None,
        }
    }

    /// All that were asked for and not deleted, the oldest first.
    #[must_use]
    pub fn list() -> Vec<Self> {
        list::all()
    }

    /// Deletes the one named `name`, and waits until its bdev is gone and its base free: those who have it open are
    /// told, and must close it first. One that waits for its base does so no more.
    ///
    /// Once it was polled, the deletion goes on when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`BdevError::NotFound`] if there is none of that name, [`BdevError::Deleting`] if somebody deletes it already,
    /// [`BdevError::Thread`] on the wrong thread.
    pub async fn delete(spdk: &Spdk, name: &str) -> Result<(), BdevError> {
        list::delete(spdk, name).await
    }
}

impl PassthruBuilder {
    /// Its UUID. Without one it gets one at random, which it keeps, also in a saved configuration.
    pub fn uuid(mut self, uuid: Uuid) -> Self {
        self.uuid = Some(uuid);
        self
    }

    /// Claims the base and registers the bdev, or notes that it is to come when its base does.
    ///
    /// It stays until it is [deleted](Passthru::delete), or the app ends: if the base goes, the bdev does, and
    /// comes again with it.
    ///
    /// # Errors
    ///
    /// [`BdevError`]: [`Exists`](BdevError::Exists), [`Deleting`](BdevError::Deleting),
    /// [`BaseClaimed`](BdevError::BaseClaimed), [`NoBase`](BdevError::NoBase) if it is its own base,
    /// [`Refused`](BdevError::Refused) for what SPDK says no to. Nothing is left behind.
    pub async fn create(self, spdk: &Spdk) -> Result<Creation, BdevError> {
        list::create(spdk, self)
    }
}

/// What SPDK asks the module.
struct Behaviour;

impl Module for Behaviour {
    fn config(&self) -> Vec<ConfigEntry> {
        list::config()
    }

    async fn fini(&self) {
        list::clear();
    }
}

impl Examine for Behaviour {
    fn examine_config(&self, spdk: &Spdk, bdev: &BdevInfo) {
        list::examine(spdk, bdev);
    }
}
