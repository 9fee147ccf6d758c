//! The unsafe half: headers, queues, state, and tasks in memory that is not yours.
//!
//! Use the crate's top level unless you have memory that something else owns and recycles, such as
//! the driver context of an SPDK `bdev_io`, and want a task to live in it: [`spawn_at`].
//!
//! # Who may touch what, when
//! | what | who |
//! | --- | --- |
//! | `Header::state`, `remote_next`, `engine` | any thread, atomically |
//! | a header's other links, the run queue, the list of tasks, the timers, the free list | the home thread |
//! | the future | the home thread, in `poll` and `abort`; nobody once COMPLETE is set |
//! | the output | the home thread until it sets COMPLETE; then the handle while HANDLE is set, else the home thread |
//! | the join waker | the handle while JOIN_WAKER is off; who completes while it is on |
//!
//! | file | concept |
//! | --- | --- |
//! | `state` | the atomic word of a task: every transition that threads race for |
//! | `header` | what a waker points to, for ever |
//! | `cell` | the future in place, the functions that know its type |
//! | `run_queue`, `remote_queue` | tasks that wait for a turn: woken at home, woken from afar |
//! | `owned`, `pool`, `shelf` | all live tasks; vacant headers; executors not in use |
//! | `timers` | the pairing heap |
//! | `gate` | who may be inside an executor that closes |
//! | `waker`, `engine` | a wake; a poll, a turn, the end |
//! | `frame`, `frame_cell` | tasks in borrowed memory |

pub(crate) mod cell;
pub(crate) mod engine;
#[cfg(feature = "alloc")]
mod frame;
#[cfg(feature = "alloc")]
mod frame_cell;
pub(crate) mod gate;
pub(crate) mod header;
pub(crate) mod owned;
mod panic;
#[cfg(feature = "alloc")]
pub(crate) mod pool;
pub(crate) mod remote_queue;
pub(crate) mod run_queue;
#[cfg(feature = "alloc")]
pub(crate) mod shelf;
#[cfg(feature = "alloc")]
mod spin;
pub(crate) mod state;
pub(crate) mod timers;
pub(crate) mod waker;

#[cfg(feature = "alloc")]
pub use frame::{Refused, Started, TaskRef, frame_bytes, spawn_at};
