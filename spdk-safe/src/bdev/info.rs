//! What a bdev is, as it was when its descriptor was opened.

use crate::units::{Blocks, Bytes};

/// Geometry and capabilities of a bdev: a copy, which stays valid when the bdev is gone (MISUSE D7).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BdevInfo {
    /// Its name.
    pub name: String,
    /// What kind it is, in the words of its module: `Malloc disk`.
    pub product: String,
    /// The module that implements it.
    pub module: String,
    /// Bytes in a logical block.
    pub block_size: u32,
    /// Logical blocks when it was opened; `BdevDesc::num_blocks` follows a resize.
    pub num_blocks: Blocks,
    /// Bytes that a buffer's address must be a multiple of (`spdk_bdev_get_buf_align`).
    pub align: usize,
    /// Blocks of the smallest write.
    pub write_unit: u32,
    /// Blocks between boundaries that an I/O better does not cross; 0 is none.
    pub optimal_io_boundary: u32,
    /// Bytes of metadata with each block; 0 is none.
    pub metadata_size: u32,
    /// Whether it has a volatile write cache, so that FLUSH means something.
    pub write_cache: bool,
    /// Whether it supports UNMAP.
    pub unmap: bool,
    /// Whether it supports WRITE_ZEROES, itself or by emulation.
    pub write_zeroes: bool,
    /// Whether it supports FLUSH.
    pub flush: bool,
    /// Whether it supports RESET.
    pub reset: bool,
}

impl BdevInfo {
    /// Its size in bytes; `None` if that does not fit.
    #[must_use]
    pub fn size(&self) -> Option<Bytes> {
        self.num_blocks.bytes(self.block_size)
    }

    /// # Safety
    ///
    /// `bdev` is registered and can't go away meanwhile: a descriptor of it is open, and its thread is current.
    pub(super) unsafe fn read(bdev: *mut spdk_sys::spdk_bdev) -> Self {
        use spdk_sys::spdk_bdev_io_type as ty;
        // SAFETY (for the three closures and each call below): by this function's contract; SPDK's getters only
        // read, and its strings live as long as the bdev.
        let text = |raw: *const std::ffi::c_char| match raw.is_null() {
            true => String::new(),
            // SAFETY: see above.
            false => unsafe { std::ffi::CStr::from_ptr(raw) }
                .to_string_lossy()
                .into_owned(),
        };
        let supports = |io| {
            // SAFETY: see above.
            unsafe { spdk_sys::spdk_bdev_io_type_supported(bdev, io) }
        };
        Self {
            // SAFETY: see above.
            name: text(unsafe { spdk_sys::spdk_bdev_get_name(bdev) }),
            // SAFETY: see above.
            product: text(unsafe { spdk_sys::spdk_bdev_get_product_name(bdev) }),
            // SAFETY: see above.
            module: text(unsafe { spdk_sys::spdk_shim_bdev_module_name(bdev) }),
            // SAFETY: see above.
            block_size: unsafe { spdk_sys::spdk_bdev_get_block_size(bdev) },
            // SAFETY: see above.
            num_blocks: Blocks(unsafe { spdk_sys::spdk_bdev_get_num_blocks(bdev) }),
            // SAFETY: see above.
            align: unsafe { spdk_sys::spdk_bdev_get_buf_align(bdev) },
            // SAFETY: see above.
            write_unit: unsafe { spdk_sys::spdk_bdev_get_write_unit_size(bdev) },
            // SAFETY: see above.
            optimal_io_boundary: unsafe { spdk_sys::spdk_bdev_get_optimal_io_boundary(bdev) },
            // SAFETY: see above.
            metadata_size: unsafe { spdk_sys::spdk_bdev_get_md_size(bdev) },
            // SAFETY: see above.
            write_cache: unsafe { spdk_sys::spdk_bdev_has_write_cache(bdev) },
            unmap: supports(ty::SPDK_BDEV_IO_TYPE_UNMAP),
            write_zeroes: supports(ty::SPDK_BDEV_IO_TYPE_WRITE_ZEROES),
            flush: supports(ty::SPDK_BDEV_IO_TYPE_FLUSH),
            reset: supports(ty::SPDK_BDEV_IO_TYPE_RESET),
        }
    }
}
