//! An intrusive executor for a thread that has a loop of its own: an SPDK poller, or any other.
//!
//! It runs futures without an allocation per task or per wake, does a bounded amount of work each
//! time the loop calls it, takes wakes from any thread, and can run a task on the spot from a
//! completion callback. Futures need not be `Send`: they stay on the thread that the executor is
//! bound to.
//!
//! # Examples
//! Without SPDK, in a plain loop:
//! ```
//! use spdk_exec::{Budget, Executor, TaskSpace, yield_now};
//!
//! static EXECUTOR: Executor = Executor::new();
//! static BLINK: TaskSpace<256> = TaskSpace::new();
//!
//! async fn blink(times: u32) -> u32 {
//!     for _ in 0..times {
//!         // ... toggle it ...
//!         yield_now().await;
//!     }
//!     times
//! }
//!
//! let executor = EXECUTOR.bind()?;                     // this thread is its home now
//! let handle = executor.spawn_in(&BLINK, blink(3))?;   // no allocation; Err(Busy) while it runs
//! while executor.poll(Budget(64)).is_busy() {
//!     // ... the loop's other work ...
//! }
//! assert_eq!(executor.block_on(handle)?, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! On an SPDK thread, with the feature `spdk`, where a poller drives it:
#![cfg_attr(feature = "spdk", doc = "```no_run")]
#![cfg_attr(not(feature = "spdk"), doc = "```ignore")]
//! use spdk_safe::prelude::*;
//!
//! App::builder("tasks").no_huge().no_pci().run(async |_spdk| {
//!     let executor = spdk_exec::spdk::attach()?;            // one on each SPDK thread
//!     let one = executor.spawn(async { 1 });
//!     executor.sleep(std::time::Duration::from_millis(1)).await; // SPDK's ticks
//!     println!("{}", one.await?);
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })??;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which half to use
//! Everything at this level is safe. [`raw`] is for memory that something else owns and recycles,
//! with the tasks inside it.
//!
//! | to | use |
//! | --- | --- |
//! | run tasks in a loop | [`LocalExecutor::poll`], [`Budget`] |
//! | have an executor in a `static`, without `alloc` | [`Executor`], [`TaskSpace`], [`TaskStorage`] |
//! | start tasks | [`Spawner`]; from other threads [`RemoteSpawner`]; as a library [`LocalSpawn`] |
//! | wait for a task, end it | [`JoinHandle`] |
//! | run a task from a completion callback | [`run_now`] |
//! | wait for a moment | [`Spawner::sleep`], [`Spawner::interval`], [`Spawner::timeout`] |
//! | have one on an SPDK thread | `spdk::attach` (feature `spdk`) |
//! | fit it into a host | [`Host`], [`ThreadIdentity`], [`Notify`], [`Clock`] |
//!
//! # Features
//! - `std` (default): panics in tasks are contained, plain OS threads are a host. Implies `alloc`.
//! - `alloc`: boxed tasks, spawns from other threads, tasks in borrowed memory.
//! - `spdk`: attach to SPDK threads; needs an SPDK. Implies `std`.
//! - neither: static executors with static tasks and timers.

#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

#[cfg(feature = "std")]
mod block_on;
mod executor;
mod host;
mod join;
#[cfg(feature = "alloc")]
mod lazy;
mod loom;
pub mod raw;
mod spawner;
#[cfg(feature = "spdk")]
pub mod spdk;
mod stats;
mod storage;
#[cfg(all(test, feature = "std"))]
mod tests;
mod time;
mod yield_now;

pub use executor::{BindError, Budget, Executor, LocalExecutor, Polled};
pub use host::{Clock, Host, Notify, ThreadIdentity};
pub use join::{JoinError, JoinHandle, Panic};
pub use raw::engine::RunNow;
#[cfg(feature = "alloc")]
pub use spawner::RemoteSpawner;
pub use spawner::{LocalSpawn, SpawnError, Spawner, Travels, run_now};
pub use stats::Stats;
pub use storage::{Place, TaskSpace, TaskStorage};
pub use time::{Elapsed, Interval, Sleep, Timeout};
#[cfg(feature = "std")]
pub use time::{interval, sleep, timeout};
pub use yield_now::{YieldNow, yield_now};
