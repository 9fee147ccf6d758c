//! SPDK's threads, descriptors, channels and I/O as Rust types that can't be misused.
//!
//! A Release SPDK has no asserts: a channel on the wrong thread, a request completed twice, a buffer freed in flight
//! are silent corruption. Here they do not compile, or they are clean errors.
//!
//! ```no_run
//! use spdk_safe::prelude::*;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     App::builder("hello").no_huge().no_pci().memory(Mib(512)).run(async |spdk| {
//!         MallocBdev::builder("disk0").blocks(65_536).block_size(512).create(&spdk).await?;
//!
//!         let desc = BdevDesc::open(&spdk, "disk0").read_write()?;
//!         let ch = desc.channel()?; // belongs to this SPDK thread
//!         let buf = desc.alloc(Blocks(8))?; // zeroed, aligned as the bdev wants it
//!         let (res, buf) = ch.write(Lba(0), buf).await; // the I/O owns the buffer until it is done
//!         res?;
//!         let (res, _buf) = ch.read(Lba(0), buf).await;
//!         res?;
//!         drop(ch);
//!         desc.close().await; // waits for channels and what is in flight
//!         Ok(())
//!     })?
//! }
//! ```
//!
//! | module | what it wraps |
//! | --- | --- |
//! | [`app`] | SPDK's application framework: start, run an async main, stop in order |
//! | [`log`] | SPDK's log: where it goes, levels, flags |
//! | [`thread`] | SPDK threads and pollers |
//! | [`io_device`] | devices of one's own, with a context for each SPDK thread |
//! | [`mod@env`] | memory that devices may reach |
//! | [`bdev`] | bdevs, as their client |
//! | [`module`] | bdevs, as their implementer |
//! | [`units`] | LBAs, blocks and bytes as types; needs no SPDK |
//!
//! Without the feature `spdk` only [`units`] is left, and no SPDK is looked for.

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
pub mod io_device;
#[cfg(feature = "spdk")]
pub mod log;
#[cfg(feature = "spdk")]
pub mod module;
#[cfg(feature = "spdk")]
mod panic;
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
        BdevDesc, Claimed, IoBuf, IoBufMut, IoChannel, Opened, ReadOnly, ReadWrite,
    };
    pub use crate::env::DmaBuf;
    pub use crate::error::{
        AppError, BdevError, ChannelError, ClaimError, IoError, IoType, OpenError,
    };
    pub use crate::thread::Thread;
    pub use crate::units::{Blocks, Bytes, Lba, Mib};
}
