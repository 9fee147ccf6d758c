//! What stands in SPDK's own structs: of a request, and behind a channel.
//!
//! C type: `struct spdk_bdev_io`, whose layout moves with the version; the shim says where its fields are.

use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};

use spdk_sys::spdk_shim_at as At;

use crate::bdev::IoTypes;
use crate::error::IoType;
use crate::units::{Blocks, Lba};

/// The I/O type with SPDK's number; `None` for those that this crate has no name for.
#[inline]
pub(crate) fn io_type(raw: i32) -> Option<IoType> {
    match raw {
        1 => Some(IoType::Read),
        2 => Some(IoType::Write),
        other => IoTypes::find(other),
    }
}

/// What the request says of itself.
///
/// # Safety
///
/// `bdev_io` is a request that is not completed, or an I/O that is completed and not freed.
pub(crate) unsafe fn read(bdev_io: *mut spdk_sys::spdk_bdev_io) -> spdk_sys::spdk_shim_request {
    let mut raw = spdk_sys::spdk_shim_request {
        bdev_ctxt: ptr::null_mut(),
        driver_ctx: ptr::null_mut(),
        iovs: ptr::null_mut(),
        md_buf: ptr::null_mut(),
        offset_blocks: 0,
        num_blocks: 0,
        iovcnt: 0,
        type_: 0,
    };
    // SAFETY: by this function's contract; the shim only reads.
    unsafe { spdk_sys::spdk_shim_request_read(bdev_io, &raw mut raw) };
    raw
}

/// What only some types have.
///
/// # Safety
///
/// As [`read`].
#[cold]
pub(super) unsafe fn read_more(
    bdev_io: *mut spdk_sys::spdk_bdev_io,
) -> spdk_sys::spdk_shim_request_more {
    // SAFETY: a struct of pointers, integers and flags, for which zeroes are valid.
    let mut more = unsafe { std::mem::zeroed() };
    // SAFETY: by this function's contract; the shim only reads.
    unsafe { spdk_sys::spdk_shim_request_read_more(bdev_io, &raw mut more) };
    more
}

/// SPDK's numbers of the two.
pub(super) const READ: u8 = spdk_sys::spdk_bdev_io_type::SPDK_BDEV_IO_TYPE_READ.0 as u8;
pub(super) const WRITE: u8 = spdk_sys::spdk_bdev_io_type::SPDK_BDEV_IO_TYPE_WRITE.0 as u8;

/// What a READ or WRITE says of itself, taken from its fields without a call.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    pub(super) iovs: *mut libc::iovec,
    pub(super) iovcnt: u32,
    pub(super) lba: Lba,
    pub(super) blocks: Blocks,
    pub(super) driver_ctx: NonNull<u8>,
}

/// SPDK's number of its type.
///
/// # Safety
///
/// As [`read`].
#[inline(always)]
pub(super) unsafe fn type_of(bdev_io: NonNull<spdk_sys::spdk_bdev_io>) -> u8 {
    // SAFETY: by this function's contract.
    unsafe { field(bdev_io, At::SPDK_SHIM_AT_TYPE) }
}

/// The same as [`read`].
///
/// # Safety
///
/// As [`read`], of a READ or WRITE.
#[inline(always)]
pub(super) unsafe fn read_plain(bdev_io: NonNull<spdk_sys::spdk_bdev_io>) -> Plain {
    // SAFETY: by this function's contract.
    let iovcnt: c_int = unsafe { field(bdev_io, At::SPDK_SHIM_AT_IOVCNT) };
    // SAFETY: as above.
    let lba = unsafe { field(bdev_io, At::SPDK_SHIM_AT_OFFSET_BLOCKS) };
    // SAFETY: as above.
    let blocks = unsafe { field(bdev_io, At::SPDK_SHIM_AT_NUM_BLOCKS) };
    let plain = Plain {
        // SAFETY: as above.
        iovs: unsafe { field(bdev_io, At::SPDK_SHIM_AT_IOVS) },
        iovcnt: u32::try_from(iovcnt).unwrap_or(0),
        lba: Lba(lba),
        blocks: Blocks(blocks),
        // SAFETY: it begins where its last field ends.
        driver_ctx: unsafe { bdev_io.byte_add(At::SPDK_SHIM_AT_DRIVER_CTX.0 as usize) }.cast(),
    };
    debug_assert!({
        // SAFETY: by this function's contract.
        let raw = unsafe { read(bdev_io.as_ptr()) };
        raw.iovs == plain.iovs
            && raw.iovcnt == iovcnt
            && (raw.offset_blocks, raw.num_blocks) == (lba, blocks)
            && raw.driver_ctx == plain.driver_ctx.as_ptr().cast()
            && [READ, WRITE].map(i32::from).contains(&raw.type_)
    });
    plain
}

/// Its metadata, if that is in a buffer of its own; else null.
///
/// # Safety
///
/// As [`read_plain`].
#[cold]
pub(super) unsafe fn metadata_of(bdev_io: NonNull<spdk_sys::spdk_bdev_io>) -> *mut c_void {
    // SAFETY: by this function's contract.
    unsafe { field(bdev_io, At::SPDK_SHIM_AT_MD_BUF) }
}

/// The context behind a channel.
///
/// # Safety
///
/// The channel is not destroyed.
#[inline(always)]
pub(super) unsafe fn channel_context(ch: *mut spdk_sys::spdk_io_channel) -> *mut c_void {
    // SAFETY: by this function's contract; its context follows it.
    let context = unsafe { ch.byte_add(At::SPDK_SHIM_AT_CHANNEL_CTX.0 as usize) }.cast();
    // SAFETY: by this function's contract.
    debug_assert_eq!(context, unsafe { spdk_sys::spdk_shim_channel_ctx(ch) });
    context
}

/// The field that stands at `at`.
///
/// # Safety
///
/// As [`read`]; such a field stands there.
#[inline(always)]
unsafe fn field<T: Copy>(bdev_io: NonNull<spdk_sys::spdk_bdev_io>, at: At) -> T {
    // SAFETY: by this function's contract.
    let field = unsafe { bdev_io.byte_add(at.0 as usize) };
    // SAFETY: by this function's contract; C aligns it.
    unsafe { field.cast::<T>().read() }
}
