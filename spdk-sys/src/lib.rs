//! Raw bindings to SPDK 20.07 to 26.05.
//!
//! Which SPDK: `SPDK_DIR` (a build tree or an install prefix), else pkg-config, else what `cargo xtask spdk`
//! put into the cache. All of it is linked into every program that depends on this crate, with no build script
//! of its own.
//!
//! Nothing here is safe. Use `spdk-safe`, unless you are writing it. Functions named `spdk_shim_*` are ours
//! (`csrc/shim.h`): they reach what bindgen can't, and hide what differs from version to version. This is the
//! only crate that knows versions.
#![no_std]
#![allow(
    non_camel_case_types,
    non_upper_case_globals,
    clippy::all,
    reason = "generated from C"
)]

mod generated {
    #![allow(
        missing_docs,
        unsafe_op_in_unsafe_fn,
        unknown_lints,
        unnecessary_transmutes,
        reason = "generated from C, by a bindgen older than some of these lints"
    )]
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}
pub use generated::*;

// If one of these is missing, the include path does not lead to SPDK's headers.
#[doc(inline)]
pub use generated::{spdk_bdev_close, spdk_shim_app_start, spdk_thread_send_msg};

/// The SPDK that this crate was built against: major, minor, patch.
pub const VERSION: (u32, u32, u32) = (
    generated::SPDK_VERSION_MAJOR,
    generated::SPDK_VERSION_MINOR,
    generated::SPDK_VERSION_PATCH,
);

/// Whether loading a JSON configuration goes through the app's own RPC server, so that it must have one.
pub const CONFIG_NEEDS_RPC_SOCKET: bool = cfg!(not(spdk_2405));

/// Whether an entry of a JSON configuration may leave out its `params`; 20.07 reads through a null pointer then.
pub const CONFIG_PARAMS_ARE_OPTIONAL: bool = cfg!(spdk_2010);

/// Whether an array among the entries of a JSON configuration is a batch of calls.
pub const CONFIG_HAS_BATCHES: bool = cfg!(spdk_2605);

/// Whether reactors can sleep.
pub const HAS_INTERRUPT_MODE: bool = cfg!(spdk_2101);

/// Whether the size of the pool of messages can be chosen; before 22.05 it is fixed at 262143.
pub const MESSAGE_POOL_CAN_BE_SET: bool = cfg!(spdk_2205);

/// The least memory, in MiB, with which an app without hugepages and with SPDK's default pools can start; with less
/// some versions do not fail but crash. Measured; newer versions want more, and say so.
pub const MIN_MEMORY_MIB: u32 = 320;

/// The same with small pools: before 22.05 the pool of messages has a fixed size.
pub const MIN_MEMORY_SMALL_POOLS_MIB: u32 = if cfg!(spdk_2205) { 18 } else { 208 };

/// Whether SPDK waits for what modules do in `fini_start`.
pub const FINI_START_WAITS: bool = cfg!(spdk_2110);

/// How many messages between threads SPDK has for all of them when nothing else is said
/// (`SPDK_DEFAULT_MSG_MEMPOOL_SIZE`).
pub const MESSAGES: u64 = 262_143;

/// How many of them each SPDK thread takes for itself (contract T-03).
pub const MESSAGES_OF_A_THREAD: u64 = 1024;
