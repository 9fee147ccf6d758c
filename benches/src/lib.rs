//! What the benchmarks measure, apart from how: the same work for each contender.

pub mod callgrind;
#[cfg(feature = "spdk")]
pub mod client;
pub mod exec;
#[cfg(feature = "spdk")]
mod floor;
#[cfg(feature = "spdk")]
pub mod load;
#[cfg(feature = "spdk")]
pub mod memory;
#[cfg(feature = "spdk")]
pub mod passthru;
#[cfg(feature = "spdk")]
pub mod raid1;
#[cfg(feature = "spdk")]
pub mod stack;
