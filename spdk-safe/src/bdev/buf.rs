//! What an I/O can own while it is in flight.
//!
//! SPDK keeps the addresses of an I/O's memory until its completion, whatever becomes of the future. So the memory is
//! moved into the operation as a whole value, and comes back with the result; nobody can touch it in between (design
//! rule 3). The value's type says what may be done with it:
//!
//! | type | write, compare | read |
//! | --- | --- | --- |
//! | [`DmaBuf`], [`PooledBuf`], [`DmaPart`] | yes | yes |
//! | [`UninitDmaBuf`] | once it was read into | yes |
//! | `Vec<u8>`, `Box<[u8]>` | yes | yes |
//! | `Arc<[u8]>`, `Rc<[u8]>`, `&'static [u8]` | yes | no: it may be shared |
//! | `bytes::Bytes`, `bytes::BytesMut` (feature `bytes`) | yes | `BytesMut` |
//! | `Vec<B>`, `Box<[B]>`, `[B; N]`, `(A, B)` of such | one I/O over all of them, in order | if all may |
//! | [`RequestData`] | of a WRITE, or filled | of a READ |
//!
//! Memory that is not DPDK's does for bdevs that copy (malloc, aio, most virtual ones), if it happens to be aligned as
//! the bdev wants it ([`IoError::Misaligned`](crate::error::IoError::Misaligned) otherwise); a device with DMA fails
//! such an I/O, unless the memory was registered with SPDK.

use std::ffi::c_void;
use std::rc::Rc;
use std::sync::Arc;

use crate::env::{DmaBuf, DmaPart, PooledBuf, UninitDmaBuf};
use crate::module::RequestData;

/// Memory that an I/O can own: a WRITE takes its contents from it.
///
/// # Safety
///
/// From the call of [`pieces`](Self::pieces) until `self` is dropped or used again through `&` or `&mut`:
/// - every piece is valid for reads, and all its bytes are initialised, unless [`has_contents`](Self::has_contents)
///   says no;
/// - nobody writes it, if the type is not [`IoBufMut`]: for the duration of an I/O the value is neither used nor
///   moved, but clones of it may be;
/// - if the type is [`IoBufMut`], nobody else reads or writes it.
///
/// No method may panic: some are called where a panic ends the process.
///
/// Implementing it for a type whose memory is freed elsewhere, `struct Window(*mut u8, usize)` for example, lets safe
/// code free what a device writes.
#[diagnostic::on_unimplemented(
    message = "an I/O can't own `{Self}`",
    label = "not memory that a device may reach while the I/O is in flight",
    note = "take a buffer with `desc.alloc(..)` or `ch.alloc(..)`, or use a `Vec<u8>`, and give it to the I/O as a \
            value; it comes back with the result"
)]
pub unsafe trait IoBuf: Unpin + 'static {
    /// Tells `pieces` of every piece of memory, in order. Empty ones are left out.
    fn pieces(&mut self, pieces: &mut Pieces<'_>);

    /// Address and length of the memory, if it is one piece; `None` sends the caller to [`pieces`](Self::pieces).
    /// Spares almost every I/O the list.
    #[inline]
    fn only(&mut self) -> Option<(*mut u8, usize)> {
        None
    }

    /// Whether there is something to write; asked before each I/O that takes data from it.
    fn has_contents(&self) -> bool {
        true
    }

    /// Whether it may be written at all; asked before each read, which takes only [`IoBufMut`].
    fn may_fill(&self) -> bool {
        true
    }

    /// A read has filled all of it. Called only with [`WANTS_FILLED`](Self::WANTS_FILLED).
    fn filled(&mut self) {}

    /// Whether [`filled`](Self::filled) does anything.
    const WANTS_FILLED: bool = false;
}

/// Memory that a READ may fill.
///
/// # Safety
///
/// As [`IoBuf`]; and every piece is valid for writes, and holds any bytes.
#[diagnostic::on_unimplemented(
    message = "a read can't fill `{Self}`",
    label = "memory that others may look at, or that can't be written",
    note = "read into a `DmaBuf` (`desc.alloc(..)`) or a `Vec<u8>`; it comes back with the result"
)]
pub unsafe trait IoBufMut: IoBuf {}

/// Where an [`IoBuf`] tells of its memory.
#[derive(Debug)]
pub struct Pieces<'a> {
    /// All pieces, unless there is but one.
    iovs: &'a mut Vec<libc::iovec>,
    first: *mut u8,
    first_len: usize,
    count: usize,
    len: u64,
    /// All addresses, or-ed: a bit that is set somewhere is set here.
    addresses: usize,
    /// Address and length of metadata that belongs to them.
    pub(super) metadata: Option<(*mut c_void, u64)>,
}

impl<'a> Pieces<'a> {
    #[inline]
    pub(super) fn new(iovs: &'a mut Vec<libc::iovec>) -> Self {
        Self {
            iovs,
            first: std::ptr::null_mut(),
            first_len: 0,
            count: 0,
            len: 0,
            addresses: 0,
            metadata: None,
        }
    }

    /// One more piece of `len` bytes at `base`.
    #[inline]
    pub fn push(&mut self, base: *mut u8, len: usize) {
        if len == 0 {
            return;
        }
        self.len = self.len.saturating_add(len as u64);
        self.addresses |= base.addr();
        self.count += 1;
        if self.count == 1 {
            (self.first, self.first_len) = (base, len);
        } else {
            self.push_more(base, len);
        }
    }

    #[cold]
    fn push_more(&mut self, base: *mut u8, len: usize) {
        if self.count == 2 {
            self.spill_first();
        }
        self.iovs.push(libc::iovec {
            iov_base: base.cast(),
            iov_len: len,
        });
    }

    fn spill_first(&mut self) {
        self.iovs.clear();
        self.iovs.push(libc::iovec {
            iov_base: self.first.cast(),
            iov_len: self.first_len,
        });
    }

    /// The only piece, if there is but one.
    #[inline]
    pub(super) fn only(&self) -> *mut c_void {
        match self.count {
            1 => self.first.cast(),
            _ => std::ptr::null_mut(),
        }
    }

    /// Puts all pieces into the array.
    pub(super) fn spill(&mut self) {
        match self.count {
            0 => self.iovs.clear(),
            1 => self.spill_first(),
            _ => {}
        }
    }

    /// Bytes of all pieces.
    #[inline]
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// How many pieces.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether there are 31 pieces in a row that do not make up a block.
    #[cold]
    pub(super) fn are_crumbs(&self, block_size: u32) -> bool {
        // 31: a split may begin with the rest of a piece.
        let crumbs = |pieces: &[libc::iovec]| {
            pieces.iter().map(|piece| piece.iov_len).sum::<usize>() < block_size as usize
        };
        self.count > 32 && self.iovs.windows(31).any(crumbs)
    }

    /// Whether every piece begins at a multiple of `align`, a power of two.
    #[inline]
    pub(super) fn are_aligned(&self, align: usize) -> bool {
        self.addresses & (align - 1) == 0
    }

    /// Takes the last piece out again: its address and length.
    pub(super) fn pop(&mut self) -> Option<(*mut c_void, u64)> {
        let (base, len) = match self.count {
            0 => return None,
            1 => (self.first.cast(), self.first_len),
            _ => self.iovs.pop().map(|last| (last.iov_base, last.iov_len))?,
        };
        self.count -= 1;
        self.len -= len as u64;
        Some((base, len as u64))
    }
}

// SAFETY: a `DmaBuf` owns its memory alone, which is initialised and does not move with it.
unsafe impl IoBuf for DmaBuf {
    #[inline]
    fn pieces(&mut self, pieces: &mut Pieces<'_>) {
        pieces.push(self.as_mut_ptr(), self.len());
    }

    #[inline]
    fn only(&mut self) -> Option<(*mut u8, usize)> {
        Some((self.as_mut_ptr(), self.len()))
    }
}
// SAFETY: as above.
unsafe impl IoBufMut for DmaBuf {}

// SAFETY: it owns a `DmaBuf`, a part of which it tells of.
unsafe impl IoBuf for DmaPart {
    fn pieces(&mut self, pieces: &mut Pieces<'_>) {
        pieces.push(self.as_mut_ptr(), self.len());
    }

    #[inline]
    fn only(&mut self) -> Option<(*mut u8, usize)> {
        Some((self.as_mut_ptr(), self.len()))
    }
}
// SAFETY: as above.
unsafe impl IoBufMut for DmaPart {}

// SAFETY: it owns a `DmaBuf`.
unsafe impl IoBuf for PooledBuf {
    fn pieces(&mut self, pieces: &mut Pieces<'_>) {
        pieces.push(self.as_mut_ptr(), self.len());
    }

    #[inline]
    fn only(&mut self) -> Option<(*mut u8, usize)> {
        Some((self.as_mut_ptr(), self.len()))
    }
}
// SAFETY: as above.
unsafe impl IoBufMut for PooledBuf {}

// SAFETY: it owns its memory alone. Whether that is initialised it says.
unsafe impl IoBuf for UninitDmaBuf {
    fn pieces(&mut self, pieces: &mut Pieces<'_>) {
        pieces.push(self.as_mut_ptr(), self.len());
    }

    #[inline]
    fn only(&mut self) -> Option<(*mut u8, usize)> {
        Some((self.as_mut_ptr(), self.len()))
    }

    fn has_contents(&self) -> bool {
        self.is_filled()
    }

    fn filled(&mut self) {
        self.set_filled();
    }

    const WANTS_FILLED: bool = true;
}
// SAFETY: as above.
unsafe impl IoBufMut for UninitDmaBuf {}

// SAFETY: the request's memory stays until `RequestData` is dropped. It belongs to whoever sent the request, who may
// change it meanwhile, which devices must cope with; Rust never looks at it.
unsafe impl IoBuf for RequestData {
    fn pieces(&mut self, pieces: &mut Pieces<'_>) {
        self.for_each(&mut |base, len| pieces.push(base.cast(), len));
        pieces.metadata = self.metadata();
    }

    #[inline]
    fn only(&mut self) -> Option<(*mut u8, usize)> {
        RequestData::only(self)
    }

    fn has_contents(&self) -> bool {
        self.is_filled()
    }

    fn may_fill(&self) -> bool {
        self.fills()
    }

    fn filled(&mut self) {
        self.set_filled();
    }

    const WANTS_FILLED: bool = true;
}
// SAFETY: as above; that of a WRITE is lent for reading, and says so.
unsafe impl IoBufMut for RequestData {}

/// Memory that the value owns alone, on the heap.
macro_rules! owned {
    ($($type:ty),*) => {$(
        // SAFETY: the bytes are owned, initialised, and stay where they are when the value is moved.
        unsafe impl IoBuf for $type {
            fn pieces(&mut self, pieces: &mut Pieces<'_>) {
                pieces.push(self.as_mut_ptr(), self.len());
            }

            #[inline]
            fn only(&mut self) -> Option<(*mut u8, usize)> {
                Some((self.as_mut_ptr(), self.len()))
            }
        }
        // SAFETY: nobody else has them.
        unsafe impl IoBufMut for $type {}
    )*};
}

/// Memory that others may read, too.
macro_rules! shared {
    ($($type:ty),*) => {$(
        // SAFETY: the bytes are initialised, nobody writes them, and the value keeps them.
        unsafe impl IoBuf for $type {
            fn pieces(&mut self, pieces: &mut Pieces<'_>) {
                pieces.push(self.as_ptr().cast_mut(), self.len());
            }
        }
    )*};
}

owned!(Vec<u8>, Box<[u8]>);
shared!(Arc<[u8]>, Rc<[u8]>, &'static [u8]);
#[cfg(feature = "bytes")]
owned!(bytes::BytesMut);
#[cfg(feature = "bytes")]
shared!(bytes::Bytes);

/// Several in a row.
macro_rules! several {
    ($(($($generics:tt)*) $type:ty),*) => {$(
        // SAFETY: each element keeps its own promise, and is owned.
        unsafe impl<B: IoBuf, $($generics)*> IoBuf for $type {
            fn pieces(&mut self, pieces: &mut Pieces<'_>) {
                self.iter_mut().for_each(|buf| buf.pieces(pieces));
            }

            fn has_contents(&self) -> bool {
                self.iter().all(IoBuf::has_contents)
            }

            fn may_fill(&self) -> bool {
                self.iter().all(IoBuf::may_fill)
            }

            fn filled(&mut self) {
                self.iter_mut().for_each(IoBuf::filled);
            }

            const WANTS_FILLED: bool = B::WANTS_FILLED;
        }
        // SAFETY: as for `IoBuf`.
        unsafe impl<B: IoBufMut, $($generics)*> IoBufMut for $type {}
    )*};
}

several!(() Vec<B>, () Box<[B]>, (const N: usize) [B; N]);

// SAFETY: both keep their own promise, and are owned.
unsafe impl<A: IoBuf, B: IoBuf> IoBuf for (A, B) {
    fn pieces(&mut self, pieces: &mut Pieces<'_>) {
        self.0.pieces(pieces);
        self.1.pieces(pieces);
    }

    fn has_contents(&self) -> bool {
        self.0.has_contents() && self.1.has_contents()
    }

    fn may_fill(&self) -> bool {
        self.0.may_fill() && self.1.may_fill()
    }

    fn filled(&mut self) {
        self.0.filled();
        self.1.filled();
    }

    const WANTS_FILLED: bool = A::WANTS_FILLED || B::WANTS_FILLED;
}
// SAFETY: as above.
unsafe impl<A: IoBufMut, B: IoBufMut> IoBufMut for (A, B) {}
