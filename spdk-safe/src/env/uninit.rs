//! A buffer that nobody has written yet.
//!
//! C function: `spdk_dma_malloc`.

use super::dma_buf::{AllocError, DmaBuf};
use crate::units::Bytes;

/// Aligned memory that devices may reach, with nothing in it yet: for reads, which spares the zeroing.
///
/// It can't be looked at before a read has filled all of it ([`into_filled`](Self::into_filled)), or something was
/// put in ([`fill`](Self::fill), [`copy_from`](Self::copy_from)). What a device calls a successful read counts as
/// filled: SPDK's null bdev for one writes nothing, and then the bytes are whatever was there before.
pub struct UninitDmaBuf {
    /// Its bytes are DPDK's, of which the compiler knows nothing; they are shown to nobody before `filled`.
    buf: DmaBuf,
    filled: bool,
}

impl UninitDmaBuf {
    /// Takes `len` bytes, aligned to `align` (a power of two up to 2 MiB).
    ///
    /// # Errors
    ///
    /// See [`AllocError`].
    pub fn new(len: Bytes, align: usize) -> Result<Self, AllocError> {
        Ok(Self {
            buf: DmaBuf::unwritten(len, align)?,
            filled: false,
        })
    }

    /// Its size in bytes, never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether something is in it.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.filled
    }

    /// The buffer, if something is in it.
    ///
    /// # Errors
    ///
    /// `self`, if not.
    pub fn into_filled(self) -> Result<DmaBuf, Self> {
        match self.filled {
            true => Ok(self.buf),
            false => Err(self),
        }
    }

    /// Fills it with `byte`.
    #[must_use]
    pub fn fill(self, byte: u8) -> DmaBuf {
        let mut buf = self.buf;
        buf.fill(byte);
        buf
    }

    /// Fills it with `bytes`, and what is left with zeroes. More bytes than it has room for are left out.
    #[must_use]
    pub fn copy_from(self, bytes: &[u8]) -> DmaBuf {
        let mut buf = self.buf;
        let room = buf.len();
        let (head, tail) = buf.split_at_mut(bytes.len().min(room));
        head.copy_from_slice(&bytes[..head.len()]);
        tail.fill(0);
        buf
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.buf.as_mut_ptr()
    }

    pub(crate) fn set_filled(&mut self) {
        self.filled = true;
    }
}

impl std::fmt::Debug for UninitDmaBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UninitDmaBuf")
            .field("len", &self.buf.len())
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}
