//! Bdevs, as their implementer: a block device in safe Rust.
//!
//! C header: `include/spdk/bdev_module.h`. How to write one:
//!
//! - a `static MODULE: BdevModule`, given to the app builder with `.module(&MODULE)`;
//! - a type that implements [`BlockDevice`]: its state for each thread, and what to do with a [`Request`];
//! - [`BlockDeviceBuilder::register`], on the app thread.
//!
//! | here | C |
//! | --- | --- |
//! | [`BdevModule`] | `struct spdk_bdev_module` |
//! | [`BlockDevice`] | `struct spdk_bdev_fn_table` |
//! | [`RegisteredBdev`] | `struct spdk_bdev`, from `spdk_bdev_register` to `spdk_bdev_unregister` |
//! | [`Request`] | `struct spdk_bdev_io`, from `submit_request` to `spdk_bdev_io_complete` |
//!
//! SPDK's part API (several bdevs on one base) is not wrapped.
//!
//! # A module
//!
//! A [`BdevModule`] by itself is a name. [`Module`] says what it does when SPDK starts, ends, and saves its
//! configuration, and [`Examine`] what it does with each bdev that comes; either may be left out, and so may each of
//! their methods.
//!
//! ```standalone_crate
//! use std::collections::BTreeMap;
//! use std::rc::Rc;
//! use std::sync::Mutex;
//!
//! use spdk_safe::bdev::BdevInfo;
//! use spdk_safe::module::*;
//! use spdk_safe::prelude::*;
//!
//! static MODULE: BdevModule = BdevModule::new(c"zeroes").with(&Zeroes).examine(&Zeroes);
//!
//! struct Zeroes;
//!
//! /// As long as SPDK runs.
//! static BDEV: Mutex<Option<RegisteredBdev>> = Mutex::new(None);
//!
//! impl Module for Zeroes {
//!     // Before main; an error ends the start, with the module's name.
//!     async fn init(&self, spdk: &Spdk) -> ModuleResult {
//!         let bdev = BlockDeviceBuilder::new("zero").blocks(Blocks(64)).register(spdk, &MODULE, Zero)?;
//!         *BDEV.lock().unwrap() = Some(bdev);
//!         Ok(())
//!     }
//!
//!     // The app ends, and everything still works.
//!     async fn fini_start(&self) {
//!         let bdev = BDEV.lock().unwrap().take();
//!         if let Some(bdev) = bdev {
//!             bdev.unregister().await;
//!         }
//!     }
//!
//!     // What `save_config` writes.
//!     fn config(&self) -> Vec<ConfigEntry> {
//!         vec![ConfigEntry::new("zeroes_set_options", BTreeMap::from([("blocks", 64)]))]
//!     }
//! }
//!
//! impl Examine for Zeroes {
//!     async fn examine_disk(&self, spdk: &Spdk, bdev: BdevInfo) {
//!         if let Ok(desc) = BdevDesc::open(spdk, &bdev.name).read_only() {
//!             println!("there is {}, of {}", desc.info().name, bdev.num_blocks);
//!         }
//!     }
//! }
//!
//! struct Zero;
//!
//! impl BlockDevice for Zero {
//!     type Channel = ();
//!
//!     fn create_channel(&self) -> Result<(), ChannelError> {
//!         Ok(())
//!     }
//!
//!     fn submit(&self, _channel: &Rc<()>, request: Request) {
//!         request.complete(RequestStatus::Failed);
//!     }
//! }
//!
//! App::builder("zeroes").no_huge().no_pci().memory(Mib(512)).module(&MODULE).run(async |spdk| {
//!     assert!(spdk_safe::bdev::find(&spdk, "zero").unwrap().is_some());
//! })?;
//! # Ok::<(), AppError>(())
//! ```
//!
//! | method | C | when |
//! | --- | --- | --- |
//! | [`Module::init`] | `module_init`, `spdk_bdev_module_init_done` | SPDK starts; main waits for it |
//! | [`Examine::examine_config`] | `examine_config` | in the registration of a bdev |
//! | [`Examine::examine_disk`] | `examine_disk`, `spdk_bdev_module_examine_done` | after it |
//! | [`Module::config`] | `config_json` | `save_config` |
//! | [`Module::fini_start`] | `fini_start`, `spdk_bdev_module_fini_start_done` | main has ended, before anything is closed |
//! | [`Module::fini`] | `module_fini`, `spdk_bdev_module_fini_done` | all bdevs are gone |
//!
//! Each `done` is called exactly once, whatever the method does: return, fail, panic, or never end, for the app drops its
//! future then. In somebody else's C application the same module registers itself with
//! [`link_module!`](crate::link_module), which says what is different there.

mod arrived;
mod bdev_module;
mod builder;
mod child_ios;
mod children;
mod context;
mod data;
mod fan_out;
mod forward;
mod quiesce;
mod raw;
mod register;
mod request;
mod route;
mod special;
mod status;
mod task;
mod view;
mod vtable;

use std::future::Future;
use std::rc::Rc;

pub use arrived::Arrived;
#[doc(hidden)]
pub use bdev_module::__link;
pub use bdev_module::{BdevModule, ConfigEntry, Examine, Module, ModuleResult};
pub(crate) use bdev_module::{
    Failure, begin_fini_start, busy_names, cancel_examines, has_failed, has_modules,
    interrupt_start, is_in_fini_start, spdk_unregisters, take_failure,
};
pub use builder::BlockDeviceBuilder;
pub use children::{ChildIos, Children, Parent};
pub use data::RequestData;
pub use fan_out::{FanOut, Submit};
pub use quiesce::{Quiesce, Quiesced};
pub use register::{RegisteredBdev, UnregisterBdev};
pub use request::{OtherRequest, RangeRequest, ReadRequest, Request, ResetRequest, WriteRequest};
pub use route::Route;
pub use special::{
    AbortRequest, CompareAndWriteRequest, CompareRequest, CopyRequest, RequestId, SeekRequest,
    ZcopyEndRequest, ZcopyStartRequest,
};
pub use status::RequestStatus;
pub use task::{Forward, InTask, TASK_CAP, TaskRequest, TaskSlot};
pub use view::{DataError, DataView, Piece};

pub(crate) use data::pieces;
pub(crate) use raw::{io_type, read};
pub(crate) use register::{names, registered, unregister_all};
pub(crate) use vtable::{in_create_channel, is_creating_channel_of};

use crate::error::{ChannelError, IoType};
use crate::json::{Object, WriteError};

/// A block device.
///
/// One value serves all threads; what belongs to one thread is in [`Channel`](Self::Channel).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a block device",
    label = "does not implement `BlockDevice`",
    note = "implement `spdk_safe::module::BlockDevice` for it: `create_channel` and `submit`"
)]
pub trait BlockDevice: Send + Sync + 'static {
    /// State of one SPDK thread, such as the channels of the bdevs below. Made and dropped on that thread.
    type Channel: 'static;

    /// Makes the state for the thread that is current.
    ///
    /// # Errors
    ///
    /// [`ChannelError`]: whoever asked gets no channel.
    fn create_channel(&self) -> Result<Self::Channel, ChannelError>;

    /// Whether the device does this kind of I/O. New versions ask once, at registration (contract M-21), old ones each
    /// time: the answer must not change. READ and WRITE it must.
    fn supports(&self, io: IoType) -> bool {
        matches!(io, IoType::Read | IoType::Write)
    }

    /// Bytes of driver context that each request of this device has for the device's own use, beside what children need:
    /// [`Parent::driver_context`]. The module must know: [`BdevModule::device`].
    ///
    /// Every I/O of the process has as many.
    const CONTEXT: usize = 0;

    /// What people want to know about it: the `driver_specific` of the RPC `bdev_get_bdevs`. On the app thread.
    ///
    /// # Errors
    ///
    /// Those of `info`: what was written before stands.
    fn dump_info(&self, info: &mut Object<'_>) -> Result<(), WriteError> {
        let _ = info;
        Ok(())
    }

    /// Takes a request. It completes it, now or later, by consuming it; a request that is dropped fails.
    ///
    /// A read comes with its memory. What the request needs below is best submitted before this returns: a burst of
    /// requests that wait to do so can use up all memory for I/O, and none of them goes on. A device that keeps requests must let go of them when the app ends: nobody else
    /// can, and the app waits for them. Keep them in a task of an executor, which drops its tasks then, or hook
    /// [`at_exit`](crate::app::at_exit).
    fn submit(&self, channel: &Rc<Self::Channel>, request: Request);

    /// Takes a READ, as [`submit`](Self::submit), which it calls. A device whose reads take no longer than a few hundred
    /// instructions says here what it does with them, and marks it `#[inline(always)]`: they become a part of what SPDK
    /// calls, and cost 30 instructions less.
    #[inline(always)]
    fn read(&self, channel: &Rc<Self::Channel>, request: Arrived<'_, ReadRequest>) {
        self.submit(channel, Request::Read(request.into_inner()));
    }

    /// Takes a WRITE; as [`read`](Self::read).
    #[inline(always)]
    fn write(&self, channel: &Rc<Self::Channel>, request: Arrived<'_, WriteRequest>) {
        self.submit(channel, Request::Write(request.into_inner()));
    }

    /// What takes its time at the end (`destruct`, `spdk_bdev_destruct_done`): the bdev is unregistered, nobody has it
    /// open, and no channel is left. The device is dropped when the future is done, and whoever unregistered it waits for
    /// that, as does the end of the app.
    ///
    /// On the app thread. A panic ends it.
    fn destruct(&self) -> impl Future<Output = ()> {
        async {}
    }
}
