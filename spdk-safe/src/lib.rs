//! SPDK's threads, descriptors, channels and I/O as Rust types that can't be misused.
//!
//! A Release SPDK has no asserts: a channel on the wrong thread, a request completed twice, a buffer freed in flight
//! are silent corruption. Here they do not compile, or they are clean errors.
//!
//! ```standalone_crate
//! use spdk_safe::module::BdevModule;
//! use spdk_safe::prelude::*;
//!
//! static HELLO: BdevModule = BdevModule::new(c"hello"); // in whose name bdevs are claimed
//!
//! fn main() -> Result<(), spdk_safe::Error> {
//!     let app = App::builder("hello").no_huge().no_pci().memory(Mib(512)).module(&HELLO);
//! #   let app = app.share_cores().log_level(LogLevel::Warn);
//!     app.run(async |spdk| {
//!         MallocBdev::builder("disk0").blocks(65_536).block_size(512).create(&spdk).await?;
//!
//!         let desc = BdevDesc::open(&spdk, "disk0").read_write()?;
//!         let desc = desc.claim(&HELLO)?; // nobody else can open it for writing now
//!         let ch = desc.channel()?; // belongs to this SPDK thread
//!         let buf = desc.alloc(Blocks(8))?; // zeroed, aligned as the bdev wants it
//!         let (res, buf) = ch.write(Lba(0), buf).await; // the I/O owns the buffer until it is done
//!         res?;
//!         let (res, _buf) = ch.read(Lba(0), buf).await;
//!         res?;
//!         ch.flush(Lba(0), Blocks(8)).await?;
//!         drop(ch);
//!         desc.close().await; // waits for channels and what is in flight
//!         Ok(())
//!     })?
//! }
//! ```
//!
//! What the compiler refuses, and what it says:
//!
//! ```compile_fail,E0277
//! # use spdk_safe::prelude::*;
//! # fn misuse(ch: IoChannel) {
//! std::thread::spawn(move || drop(ch)); // `StaysOnItsSpdkThread` cannot be sent between threads safely
//! # }
//! ```
//! ```compile_fail,E0277
//! # use spdk_safe::prelude::*;
//! # async fn misuse(ch: IoChannel, mut buf: DmaBuf) {
//! let _ = ch.read(Lba(0), &mut buf).await; // a read can't fill `&mut DmaBuf`: read into a `DmaBuf` or a `Vec<u8>`
//! # }
//! ```
//! ```compile_fail,E0277
//! # use spdk_safe::prelude::*;
//! # async fn misuse(ch: IoChannel<ReadOnly>) {
//! let _ = ch.unmap(Lba(0), Blocks(8)).await; // this descriptor is read-only: open it with `.read_write()`
//! # }
//! ```
//!
//! `docs/safety-model.md` in the repository has the rules behind it, each with its tests, and what they leave to you.
//!
//! | module | what it wraps |
//! | --- | --- |
//! | [`app`] | SPDK's application framework: start, run an async main, stop in order; or SPDK in a loop of one's own |
//! | [`thread`] | SPDK threads: messages, tasks, pollers, per-thread storage |
//! | [`bdev`] | bdevs, as their client: descriptors, claims, channels, I/O, events, statistics |
//! | [`module`] | bdevs, as their implementer |
//! | [`io_device`] | devices of one's own, with a context for each SPDK thread |
//! | [`rpc`] | JSON-RPC: methods of one's own, and a client |
//! | [`json`] | what modules write into a saved configuration, and about their bdevs |
//! | [`mod@env`] | memory that devices may reach |
//! | [`log`] | SPDK's log: where it goes, levels, flags |
//! | [`units`] | LBAs, blocks and bytes as types; needs no SPDK |
//! | [`error`] | an enum for each kind of operation, and [`Error`] for all of them |
//! | `test` | a harness: one SPDK for all tests of a process, and schedules from seeds (feature `test`) |
//!
//! Without the feature `spdk` only [`units`] is left, and no SPDK is looked for; `rpc-client` adds [`rpc::Client`].

pub mod units;

#[cfg(feature = "spdk")]
pub mod app;
#[cfg(feature = "spdk")]
pub mod bdev;
#[cfg(feature = "spdk")]
mod calls;
#[cfg(feature = "spdk")]
pub mod env;
#[cfg(feature = "spdk")]
pub mod error;
#[cfg(feature = "spdk")]
mod inside;
#[cfg(feature = "spdk")]
pub mod io_device;
#[cfg(feature = "spdk")]
pub mod json;
#[cfg(feature = "spdk")]
pub mod log;
#[cfg(feature = "spdk")]
pub mod module;
#[cfg(feature = "spdk")]
mod panic;
#[cfg(feature = "rpc-client")]
pub mod rpc;
#[cfg(feature = "spdk")]
mod sync;
#[cfg(all(feature = "spdk", feature = "test"))]
pub mod test;
#[cfg(feature = "spdk")]
pub mod thread;

#[cfg(feature = "spdk")]
pub use error::Error;
#[cfg(feature = "spdk")]
pub use panic::contained_panics;

/// What most programs need.
#[cfg(feature = "spdk")]
pub mod prelude {
    pub use crate::app::{App, Cores, LogLevel, Pools, Spdk};
    #[cfg(feature = "bdev-malloc")]
    pub use crate::bdev::MallocBdev;
    pub use crate::bdev::{
        BdevDesc, Claimed, IoBuf, IoBufMut, IoChannel, Opened, ReadOnly, ReadWrite, SharedDesc,
    };
    pub use crate::env::DmaBuf;
    pub use crate::error::{
        AppError, BdevError, ChannelError, ClaimError, IoError, IoType, OpenError,
    };
    pub use crate::thread::Thread;
    pub use crate::units::{Blocks, Bytes, Lba, Mib};
}

/// The README's examples compile.
#[cfg(all(doctest, feature = "bdev-malloc"))]
#[doc = include_str!("../../README.md")]
mod readme {}
