//! Small SPDK bdev modules, in safe Rust only: useful by themselves, and examples of how to write one.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`ramdisk`] | a bdev in memory, with faults on purpose: the disk for tests |
//! | [`passthru`] | a bdev over another one that changes nothing: the smallest stacked module |
//!
//! Without the feature `spdk` nothing is left, and no SPDK is looked for.

#![forbid(unsafe_code)]

#[cfg(feature = "spdk")]
pub mod passthru;
#[cfg(feature = "spdk")]
pub mod ramdisk;
