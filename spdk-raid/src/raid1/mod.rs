//! RAID1: every write goes to every base, a read to one of them, and a base that fails or goes does no harm.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `handle` | what a program does with arrays: create, look, add, remove, scrub, delete |
//! | `layout`, `state`, `verdict` | pure: what bases make together; the states of legs; whose fault an error is |
//! | `snapshot`, `lane` | what all threads know of an array, and what each of them makes of it |
//! | `straight`, `data_path`, `settle` | what happens to a request: when the array is whole, when not, and when something goes wrong |
//! | `control` | who decides: one task for each array; its legs, the ranges in which they may differ, its jobs |
//! | `lock`, `copy`, `jobs` | range locks; rebuilds, repairs, resyncs and scrubs under them |
//! | `rescue` | requests that waited for a lock, when they hold all memory that there is |
//! | `module`, `awaiting`, `rpc` | what SPDK asks; arrays that wait for their bases; JSON-RPC |
//! | `bases`, `watch` | the bdevs below, and how old their I/O is |
//! | `persist` | who is asked before a fault is acknowledged |
//!
//! In `docs/raid1.md` are the states, the invariants, and what happens when.

pub mod layout;
pub mod state;

#[cfg(feature = "spdk")]
mod array;
#[cfg(feature = "spdk")]
mod awaiting;
#[cfg(feature = "spdk")]
mod bases;
#[cfg(feature = "spdk")]
mod clock;
#[cfg(feature = "spdk")]
mod control;
#[cfg(feature = "spdk")]
mod copy;
#[cfg(feature = "spdk")]
mod counters;
#[cfg(feature = "spdk")]
mod data_path;
#[cfg(feature = "spdk")]
mod error;
#[cfg(feature = "spdk")]
mod handle;
#[cfg(feature = "spdk")]
mod info;
#[cfg(feature = "spdk")]
mod jobs;
#[cfg(feature = "spdk")]
mod lane;
#[cfg(feature = "spdk")]
mod list;
#[cfg(feature = "spdk")]
mod lock;
#[cfg(feature = "spdk")]
mod module;
#[cfg(feature = "spdk")]
mod options;
#[cfg(feature = "spdk")]
pub mod persist;
#[cfg(feature = "spdk")]
mod rescue;
#[cfg(feature = "spdk")]
mod rpc;
#[cfg(feature = "spdk")]
mod settle;
#[cfg(feature = "spdk")]
mod snapshot;
#[cfg(feature = "spdk")]
mod straight;
#[cfg(feature = "spdk")]
mod verdict;
#[cfg(feature = "spdk")]
mod watch;

#[cfg(feature = "spdk")]
pub use self::{
    counters::Counts,
    error::{ChangeError, CreateError},
    handle::{Raid1, Raid1Builder},
    info::{BaseInfo, BaseStats, Process, ProcessInfo, Progress, Raid1Info},
    module::{MODULE, with},
    options::{Options, ReadPolicy},
    rpc::METHODS,
};
