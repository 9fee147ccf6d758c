//! A buffer in DPDK's memory.
//!
//! C functions: `spdk_dma_zmalloc`, `spdk_dma_free`.

use std::ffi::c_void;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

use thiserror::Error;

use super::{enter, late, leave};
use crate::units::Bytes;

/// Zeroed, aligned memory that devices may reach; what an I/O owns while it is in flight.
///
/// It may travel between threads. It stays readable after the app has ended, for as long as it lives: SPDK's memory
/// is then not given back.
///
/// # Invariants
///
/// `ptr` is from `spdk_dma_zmalloc(len, ..)`, or from `spdk_dma_malloc` while an [`UninitDmaBuf`](super::UninitDmaBuf)
/// hides its bytes, and is not freed; `len` is not 0; the buffer is counted in `env::STATE`,
/// so the memory is mapped.
pub struct DmaBuf {
    ptr: NonNull<u8>,
    len: usize,
    align: usize,
}

// SAFETY: the memory belongs to the buffer alone, and DPDK's allocator may be called from any thread.
unsafe impl Send for DmaBuf {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for DmaBuf {}

/// The largest alignment of a [`DmaBuf`], in bytes.
const MAX_ALIGN: usize = 2 << 20;

/// Why there is no buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AllocError {
    /// A buffer of no bytes. Ask for some.
    #[error("a DMA buffer must have at least one byte")]
    Empty,
    /// The size in bytes does not fit. Ask for less.
    #[error("the size of the DMA buffer does not fit in memory")]
    Overflow,
    /// The alignment is not a power of two, or larger than 2 MiB.
    #[error("an alignment must be a power of two up to 2 MiB, not {0}")]
    Alignment(usize),
    /// No app runs, so there is no memory to take from.
    #[error("SPDK is not up; make DMA buffers inside `App::run`")]
    NotRunning,
    /// DPDK's memory is used up. Give the app more: `.memory(..)` on its builder.
    #[error("SPDK has no {len} of memory left; give the app more with `.memory(..)`")]
    NoMemory {
        /// What was asked for.
        len: Bytes,
    },
}

impl DmaBuf {
    /// Takes `len` bytes of zeroes, aligned to `align` (a power of two up to 2 MiB).
    ///
    /// `BdevDesc::alloc` and `IoChannel::alloc` choose both as their bdev wants them.
    ///
    /// # Errors
    ///
    /// See [`AllocError`].
    pub fn zeroed(len: Bytes, align: usize) -> Result<Self, AllocError> {
        Self::take(len, align, spdk_sys::spdk_dma_zmalloc)
    }

    /// As [`zeroed`](Self::zeroed), with whatever bytes are there.
    pub(super) fn unwritten(len: Bytes, align: usize) -> Result<Self, AllocError> {
        Self::take(len, align, spdk_sys::spdk_dma_malloc)
    }

    fn take(
        len: Bytes,
        align: usize,
        alloc: unsafe extern "C" fn(usize, usize, *mut u64) -> *mut c_void,
    ) -> Result<Self, AllocError> {
        // DPDK takes the alignment as 32 bits.
        if !align.is_power_of_two() || align > MAX_ALIGN {
            return Err(AllocError::Alignment(align));
        }
        let size = usize::try_from(len.0).map_err(|_| AllocError::Overflow)?;
        if size == 0 {
            return Err(AllocError::Empty);
        }
        if size > isize::MAX as usize {
            return Err(AllocError::Overflow);
        }
        if !enter() {
            return Err(AllocError::NotRunning);
        }
        // SAFETY: the environment is up, since `enter` counted us in. The physical address is not asked for.
        let raw = unsafe { alloc(size, align, ptr::null_mut()) };
        let Some(ptr) = NonNull::new(raw.cast::<u8>()) else {
            leave();
            return Err(AllocError::NoMemory { len });
        };
        // INVARIANT: fresh from SPDK, of `size` bytes, counted.
        Ok(Self {
            ptr,
            len: size,
            align,
        })
    }

    /// Address of the first byte, for an I/O that owns the buffer.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// Bytes that the address is a multiple of.
    #[must_use]
    pub fn align(&self) -> usize {
        self.align
    }
}

impl Deref for DmaBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: by the type invariant there are `len` mapped bytes, initialised (they were zeroed, or written before anyone got to see them), and whoever
        // may write them owns the buffer, which is borrowed now.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl DerefMut for DmaBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl Drop for DmaBuf {
    fn drop(&mut self) {
        if crate::log::in_receiver() {
            return late::keep(self.ptr);
        }
        late::free();
        // SAFETY: by the type invariant the memory is ours, mapped, and not freed yet.
        unsafe { spdk_sys::spdk_dma_free(self.ptr.as_ptr().cast()) };
        leave();
    }
}

impl std::fmt::Debug for DmaBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DmaBuf")
            .field("len", &self.len)
            .field("align", &self.align)
            .finish_non_exhaustive()
    }
}
