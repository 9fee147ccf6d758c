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

mod bdev_module;
mod register;
mod request;
mod vtable;

use std::rc::Rc;

#[doc(hidden)]
pub use bdev_module::__link;
pub use bdev_module::{BdevModule, ConfigEntry, Examine, Module, ModuleResult};
pub(crate) use bdev_module::{
    Failure, begin_fini_start, busy_names, cancel_examines, has_failed, interrupt_start,
    is_in_fini_start, spdk_unregisters, take_failure,
};
pub use register::{BlockDeviceBuilder, RegisteredBdev, UnregisterBdev};
pub use request::{
    DataRequest, OtherRequest, RangeRequest, Request, RequestData, RequestStatus, ResetRequest,
};

pub(crate) use register::{names, registered, unregister_all};
pub(crate) use request::pieces;
pub(crate) use vtable::{in_create_channel, is_creating_channel_of};

use crate::error::{ChannelError, IoType};

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

    /// Takes a request. It completes it, now or later, by consuming it; a request that is dropped fails.
    ///
    /// A read comes with its memory. What the request needs below is best submitted before this returns: a burst of
    /// requests that wait to do so can use up all memory for I/O, and none of them goes on. A device that keeps requests must let go of them when the app ends: nobody else
    /// can, and the app waits for them. Keep them in a task of an executor, which drops its tasks then, or hook
    /// [`at_exit`](crate::app::at_exit).
    fn submit(&self, channel: &Rc<Self::Channel>, request: Request);
}
