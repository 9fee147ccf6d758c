//! Devices with a context for each SPDK thread: what an SPDK library calls an `io_device`.
//!
//! C header: `include/spdk/thread.h` (contract T-40 to T-47). It is how SPDK does without locks: one object for the
//! process, and for each thread that uses it a *channel* with a context of its own. A type implements [`IoDevice`],
//! [`register`] gives its owner, [`SharedIoDevice`] travels, and [`channel`](SharedIoDevice::channel) gives the current
//! thread's context, made on the first call there.
//!
//! ```no_run
//! # use spdk_safe::prelude::*;
//! use std::cell::Cell;
//! use std::error::Error;
//! use spdk_safe::io_device::{self, IoDevice};
//!
//! struct Counter;
//!
//! impl IoDevice for Counter {
//!     type Channel = Cell<u64>; // no lock: it never leaves its thread
//!
//!     fn create_channel(&self) -> Result<Cell<u64>, Box<dyn Error + Send + Sync>> {
//!         Ok(Cell::new(0))
//!     }
//! }
//!
//! # async fn f(spdk: Spdk) -> Result<(), Box<dyn Error>> {
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//!
//! let counter = io_device::register(&spdk, "counter", Counter)?;
//! let ch = counter.channel()?; // this thread's
//! let count = ch.context()?;
//! count.set(count.get() + 1);
//!
//! let sum = Arc::new(AtomicU64::new(0));
//! let total = Arc::clone(&sum);
//! let threads = counter
//!     .for_each_channel(move |count| {
//!         total.fetch_add(count.get(), Ordering::Relaxed);
//!         Ok::<_, std::convert::Infallible>(())
//!     })
//!     .await?;
//! println!("{} on {threads} threads", sum.load(Ordering::Relaxed));
//! drop(ch);
//! counter.unregister().await; // waits for the channels of all threads
//! # Ok(()) }
//! ```
//!
//! | here | C |
//! | --- | --- |
//! | [`register`], [`RegisteredIoDevice`] | `spdk_io_device_register`, `spdk_io_device_unregister` |
//! | [`SharedIoDevice`] | the `io_device` pointer |
//! | [`DeviceChannel`] | `spdk_get_io_channel`, `spdk_put_io_channel` |
//! | [`DeviceChannel::context`] | `spdk_io_channel_get_ctx` |
//! | [`ForEachChannel`] | `spdk_for_each_channel` |
//!
//! # What is behind it
//!
//! ```text
//!              1                    2                  3                           4
//!  (nothing) ─────► empty channel ─────► made, gets > 0 ─────► gets = 0, in SPDK ─────► destroyed
//!                       │                      ▲                    │
//!                       └──► destroyed         └────────────────────┘ got again before SPDK looked (T-42)
//!  1: create_callback   2: ChannelCore::make   3: DeviceChannel::drop, or release   4: destroy_callback, in a later poll
//! ```
//!
//! SPDK makes its channels empty, and [`create_channel`](IoDevice::create_channel) runs when SPDK has handed one out.
//! So it may fail, panic, ask for its own channel or unregister its own device without SPDK being in the middle of
//! something (T-41; in 20.07 a device that is unregistered while its create callback fails is never freed).

mod channel;
mod core;
mod device;
mod for_each;

use std::error::Error;

pub use channel::DeviceChannel;
pub use device::{RegisteredIoDevice, SharedIoDevice, UnregisterIoDevice, register};
pub use for_each::ForEachChannel;

pub(crate) use self::core::{any_registered, names, revoke_all};

/// A device with a context for each SPDK thread.
///
/// One value serves all threads; what belongs to one thread is in [`Channel`](Self::Channel).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an I/O device",
    label = "does not implement `IoDevice`",
    note = "implement `spdk_safe::io_device::IoDevice` for it: its context for each thread, and `create_channel`"
)]
pub trait IoDevice: Send + Sync + 'static {
    /// The context of one SPDK thread. Made and dropped on that thread.
    type Channel: 'static;

    /// Makes the context of the SPDK thread that is current: on its first
    /// [`channel`](SharedIoDevice::channel), and again after all of them were put.
    ///
    /// # Errors
    ///
    /// Any: whoever asked for the channel gets it, in
    /// [`DeviceChannelError::Create`](crate::error::DeviceChannelError::Create).
    fn create_channel(&self) -> Result<Self::Channel, Box<dyn Error + Send + Sync>>;
}
