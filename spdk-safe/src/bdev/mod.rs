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
//! | [`IoBuf`], [`IoBufMut`] | `struct iovec *`, and whose memory it is |
//! | [`Batch`], [`Zcopy`], [`Sequential`] | `spdk_bdev_abort`, `spdk_bdev_zcopy_start`; sugar |
//! | [`MallocBdev`] | `create_malloc_disk`, `delete_malloc_disk` |
//!
//! What holds what up (an arrow keeps its target alive; the closing of a descriptor waits for all of it):
//!
//! ```text
//!   Io in flight ──► ChannelCore ──► DescCore ──► spdk_bdev_desc
//!   IoChannel ──────────┘               ▲
//!   BdevDesc, SharedDesc ───────────────┘
//! ```

mod abort;
mod buf;
mod channel;
mod channel_core;
mod check;
mod core;
mod data;
mod desc;
mod info;
mod io;
mod malloc;
mod op;
mod payload;
mod sequential;
mod wait;
mod zcopy;

pub use abort::{Aborts, Batch};
pub use buf::{IoBuf, IoBufMut, Pieces};
pub use channel::IoChannel;
pub use data::{CompareWrite, IoData, WithMetadata};
pub use desc::{
    BdevDesc, Claimed, CloseDesc, DescMode, DescState, OpenBdev, Opened, ReadOnly, ReadWrite,
    SharedDesc, Unclaimed, Writable,
};
pub use info::BdevInfo;
pub use io::Io;
pub use malloc::{MallocBdev, MallocBuilder};
pub use op::Outcome;
pub use sequential::Sequential;
pub use zcopy::Zcopy;

pub(crate) use self::core::{open_descriptors, open_names, revoke_all};
