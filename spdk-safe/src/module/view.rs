//! A request's memory, looked at.

use std::fmt;
use std::ptr;

use thiserror::Error;

use super::context::RequestContext;
use super::data::pieces;
use crate::units::Bytes;

/// The memory of a request, as bytes that others may write at any time: a guest, a device, whoever sent the request.
///
/// So there is no `&[u8]` of it (MISUSE M11). Bytes are copied in and out; what a copy finds is what was there at some
/// moment of it.
pub struct DataView<'r> {
    context: &'r RequestContext,
    iovs: &'r [libc::iovec],
    len: u64,
    may_fill: bool,
    /// Of a READ: not everything in it need have been written.
    fills: bool,
    /// Nobody keeps account of what is in metadata: it is looked at as it is.
    is_metadata: bool,
}

/// Why bytes were not copied; none were.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DataError {
    /// Past the end of the memory.
    #[error("{len} at {} of a request's memory, which has {size}", at.0)]
    Range {
        /// The first byte.
        at: Bytes,
        /// How many.
        len: Bytes,
        /// What there is.
        size: Bytes,
    },
    /// The memory of a READ that nobody has filled yet. Fill it, or read into it, first.
    #[error("nothing was put into the memory of this READ yet; fill all of it first")]
    NoContents,
    /// The memory is lent for reading only: that of a WRITE or a compare.
    #[error("the memory of this request is lent for reading only")]
    Direction,
}

/// A piece of a request's memory.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'r> {
    base: *mut u8,
    len: usize,
    _request: std::marker::PhantomData<&'r RequestContext>,
}

impl Piece<'_> {
    /// Where it is. Others may write it at any time.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.base
    }

    /// How many bytes; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there are no empty ones")]
    pub fn len(&self) -> usize {
        self.len
    }
}

impl<'r> DataView<'r> {
    /// # Safety
    ///
    /// The request is not completed for `'r`, and `iovs` is an array of `count` pieces of its memory, `len` bytes in all.
    pub(super) unsafe fn new(
        context: &'r RequestContext,
        iovs: *const libc::iovec,
        count: u32,
        len: u64,
        may_fill: bool,
    ) -> Self {
        Self {
            context,
            // SAFETY: by this function's contract.
            iovs: unsafe { pieces(iovs, count as usize) },
            len,
            may_fill,
            fills: context.fills,
            is_metadata: false,
        }
    }

    /// The same, of metadata.
    pub(super) fn of_metadata(self) -> Self {
        Self {
            fills: false,
            is_metadata: true,
            ..self
        }
    }

    /// How much it is.
    #[must_use]
    pub fn len(&self) -> Bytes {
        Bytes(self.len)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its pieces, in order.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'r>> + use<'r> {
        self.iovs
            .iter()
            .filter(|iov| iov.iov_len != 0)
            .map(|iov| Piece {
                base: iov.iov_base.cast(),
                len: iov.iov_len,
                _request: std::marker::PhantomData,
            })
    }

    /// Copies bytes out, from byte `at` on, until `to` is full.
    ///
    /// # Errors
    ///
    /// [`DataError::Range`]; [`DataError::NoContents`].
    pub fn copy_to(&self, at: Bytes, to: &mut [u8]) -> Result<(), DataError> {
        self.check(at, to.len())?;
        if self.fills && !self.context.filled.get() {
            return Err(DataError::NoContents);
        }
        self.each(at, to.len(), |base, from, len| {
            // SAFETY: both have as many bytes, and do not overlap: `to` is borrowed alone, and the request's memory is
            // not Rust's. Whoever writes it meanwhile changes bytes, which may have any value.
            unsafe { ptr::copy_nonoverlapping(base, to[from..][..len].as_mut_ptr(), len) };
        });
        Ok(())
    }

    /// Copies all of `from` in, from byte `at` on. The memory of a READ only.
    ///
    /// # Errors
    ///
    /// [`DataError::Range`]; [`DataError::Direction`].
    pub fn copy_from(&self, at: Bytes, from: &[u8]) -> Result<(), DataError> {
        self.check_fill(at, from.len())?;
        self.each(at, from.len(), |base, done, len| {
            // SAFETY: as in `copy_to`; the memory of a READ may be written.
            unsafe { ptr::copy_nonoverlapping(from[done..][..len].as_ptr(), base, len) };
        });
        self.filled(from.len());
        Ok(())
    }

    /// Makes `len` bytes from byte `at` on `byte`. The memory of a READ only.
    ///
    /// # Errors
    ///
    /// [`DataError::Range`]; [`DataError::Direction`].
    pub fn fill(&self, at: Bytes, len: Bytes, byte: u8) -> Result<(), DataError> {
        let len = usize::try_from(len.0).unwrap_or(usize::MAX);
        self.check_fill(at, len)?;
        self.each(at, len, |base, _, len| {
            // SAFETY: as in `copy_to`; the memory of a READ may be written.
            unsafe { ptr::write_bytes(base, byte, len) };
        });
        self.filled(len);
        Ok(())
    }

    fn check(&self, at: Bytes, len: usize) -> Result<(), DataError> {
        let end = at.0.checked_add(len as u64);
        match end.is_some_and(|end| end <= self.len) {
            true => Ok(()),
            false => Err(DataError::Range {
                at,
                len: Bytes(len as u64),
                size: Bytes(self.len),
            }),
        }
    }

    fn check_fill(&self, at: Bytes, len: usize) -> Result<(), DataError> {
        self.check(at, len)?;
        match self.may_fill {
            true => Ok(()),
            false => Err(DataError::Direction),
        }
    }

    /// `len` bytes were put in, in one step. Of several steps nothing is known but that each was right.
    fn filled(&self, len: usize) {
        if self.len == len as u64 && !self.is_metadata {
            self.context.filled.set(true);
        }
    }

    /// Calls `each` with the address of each piece from byte `at` on, how many bytes came before it, and its length.
    fn each(&self, at: Bytes, len: usize, mut each: impl FnMut(*mut u8, usize, usize)) {
        let (mut skip, mut done) = (at.0 as usize, 0);
        for iov in self.iovs {
            let from = skip.min(iov.iov_len);
            let here = (iov.iov_len - from).min(len - done);
            if here != 0 {
                each(iov.iov_base.cast::<u8>().wrapping_add(from), done, here);
            }
            (skip, done) = (skip - from, done + here);
        }
    }
}

impl fmt::Debug for DataView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataView")
            .field("len", &self.len)
            .field("pieces", &self.iovs.len())
            .finish_non_exhaustive()
    }
}
