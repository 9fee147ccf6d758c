//! The mirror: every write goes to every base, a read to one of them.
//!
//! What it does today: it is complete while all bases are well. A write is acknowledged when every base has it, and
//! fails if one of them fails; a read that fails on one base is tried on the others. There is no degraded mode yet:
//! a base that fails stays in the array.

pub mod layout;

#[cfg(feature = "spdk")]
mod array;
#[cfg(feature = "spdk")]
mod data_path;

#[cfg(feature = "spdk")]
pub use array::{CreateError, MODULE, Raid1, Raid1Builder};
