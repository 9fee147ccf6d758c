//! RAID1 over SPDK bdevs, in safe Rust only.
//!
//! A mirror is an SPDK bdev like any other: whatever opens bdevs (NVMe-oF, vhost, iSCSI, another bdev) can open it.
//!
//! ```no_run
//! use spdk_raid::raid1::{self, Raid1};
//! use spdk_safe::prelude::*;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     App::builder("mirror").no_huge().no_pci().module(&raid1::MODULE).run(async |spdk| {
//!         for leg in ["leg0", "leg1"] {
//!             MallocBdev::builder(leg).blocks(65_536).create(&spdk).await?;
//!         }
//!         let array = Raid1::builder("md0").base("leg0").base("leg1").create(&spdk).await?;
//!         // ... "md0" is a bdev now ...
//!         array.delete().await;
//!         Ok(())
//!     })?
//! }
//! ```
//!
//! | module | what it is |
//! | --- | --- |
//! | [`raid1`] | the mirror: create, delete, data path |
//! | [`raid1::layout`] | what a set of bases makes together; pure, needs no SPDK |
//! | [`split`] | cuts requests at boundaries; pure, needs no SPDK |
//!
//! Without the feature `spdk` only the pure parts are left, and no SPDK is looked for.

#![forbid(unsafe_code)]

pub mod raid1;
pub mod split;
