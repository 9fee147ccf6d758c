//! Bdevs, as their client: open a descriptor, get a channel, do I/O.
//!
//! C header: `include/spdk/bdev.h`.
//!
//! | here | C |
//! | --- | --- |
//! | [`BdevDesc`] | `struct spdk_bdev_desc *`, the owner half |
//! | [`SharedDesc`] | the same, the half that travels: gets channels on other threads |
//! | [`IoChannel`] | `struct spdk_io_channel *` of `spdk_bdev_get_io_channel` |
//! | [`Io`] | one `spdk_bdev_io`, from submission to `spdk_bdev_free_io` |
//! | [`MallocBdev`] | `create_malloc_disk`, `delete_malloc_disk` |
//!
//! What holds what up (an arrow keeps its target alive; the closing of a descriptor waits for all of it):
//!
//! ```text
//!   Io in flight ──► ChannelCore ──► DescCore ──► spdk_bdev_desc
//!   IoChannel ──────────┘               ▲
//!   BdevDesc, SharedDesc ───────────────┘
//! ```

mod channel;
mod core;
mod desc;
mod info;
mod io;
mod malloc;
mod op;
mod wait;

pub use channel::IoChannel;
pub use desc::{
    BdevDesc, Claimed, CloseDesc, DescMode, DescState, OpenBdev, Opened, ReadOnly, ReadWrite,
    SharedDesc, Unclaimed, Writable,
};
pub use info::BdevInfo;
pub use io::{Io, IoData};
pub use malloc::{MallocBdev, MallocBuilder};

pub(crate) use self::core::{open_descriptors, open_names, revoke_all};
