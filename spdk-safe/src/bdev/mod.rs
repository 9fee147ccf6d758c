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
//! | [`list`], [`find`], [`BdevInfo`] | `spdk_for_each_bdev`, and what SPDK says of a bdev |
//! | [`BdevStats`], [`Histogram`] | `struct spdk_bdev_io_stat`, `struct spdk_histogram_data` |
//! | [`QosLimits`], [`IoTimeouts`] | `spdk_bdev_set_qos_rate_limits`, `spdk_bdev_set_timeout` |
//! | [`BdevEvents`] | `spdk_bdev_event_cb_t` |
//! | [`MallocBdev`] and its like | `create_malloc_disk`, `delete_malloc_disk` and theirs |
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
#[cfg(any(
    feature = "bdev-aio",
    feature = "bdev-delay",
    feature = "bdev-error",
    feature = "bdev-malloc",
    feature = "bdev-null",
    feature = "bdev-passthru"
))]
mod builders;
mod call;
mod channel;
mod channel_core;
mod check;
mod child;
mod claim;
mod core;
mod data;
mod desc;
mod events;
mod histogram;
mod info;
mod io;
mod io_types;
mod lookup;
pub(crate) mod needs;
mod op;
mod open;
mod payload;
mod put;
mod qos;
mod sequential;
mod stats;
mod timeout;
mod uuid;
mod wait;
mod zcopy;

pub use abort::{Aborts, Batch};
pub use buf::{IoBuf, IoBufMut, Pieces};
#[cfg(any(
    feature = "bdev-aio",
    feature = "bdev-delay",
    feature = "bdev-error",
    feature = "bdev-malloc",
    feature = "bdev-null",
    feature = "bdev-passthru"
))]
pub use builders::*;
pub use call::BdevCall;
pub use channel::IoChannel;
pub use claim::{
    Claim, ClaimAs, ClaimKind, ExclusiveWrite, ReadManyWriteNone, ReadManyWriteOne,
    ReadManyWriteShared,
};
pub use data::{CompareWrite, IoData, Repeat, WithMetadata};
pub use desc::{
    BdevDesc, Claimed, CloseDesc, DescMode, DescState, Opened, ReadOnly, ReadWrite, SharedDesc,
    Unclaimed, Writable,
};
pub use events::{BdevEvent, BdevEvents, MediaEvent};
pub use histogram::{Bucket, Histogram};
pub use info::{BdevInfo, Dif, DifType, Limits, Zones};
pub use io::{Io, IoLoop};
pub use io_types::IoTypes;
pub use lookup::{find, list};
pub use op::Outcome;
pub use open::{OpenBdev, OpenBdevWithin};
pub use qos::QosLimits;
pub use sequential::Sequential;
pub use stats::{BdevStats, ErrorStats, IoStats, ResetStats};
pub use timeout::{IoTimeouts, SlowIo};
pub use uuid::{ParseUuidError, Uuid};
pub use zcopy::Zcopy;

pub(crate) use self::channel_core::PlainKey;
pub(crate) use self::child::{Below, Child, Memory, NoMemory, Sent, failure};
pub(crate) use self::core::{open_descriptors, open_names, quiesces, revoke_all};
