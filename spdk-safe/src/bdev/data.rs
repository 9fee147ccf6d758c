//! What an I/O brings along, and in which form it comes back.

use std::ffi::c_void;

use super::buf::{IoBuf, Pieces};
use crate::error::{IoError, IoType};

pub(super) mod sealed {
    use super::{IoError, IoType, Laid};

    /// See [`IoData`](super::IoData).
    pub trait Data: Unpin + 'static {
        /// The future's output.
        type Output<R>;

        /// Whether `filled` does anything.
        const WANTS_FILLED: bool;

        /// Address and length of the memory, if it is one piece and may be used for such an I/O.
        #[inline]
        fn only(&mut self, _io: IoType) -> Option<(*mut u8, usize)> {
            None
        }

        /// Says where the memory is.
        fn lay_out(&mut self, io: IoType, laid: &mut Laid<'_>);

        /// A read has filled it.
        fn filled(&mut self);

        /// Beside the result.
        fn give_back<R>(self, result: Result<R, IoError>) -> Self::Output<R>;
    }
}

use sealed::Data;

/// The memory of `buf`, if it is one piece and may be used for such an I/O.
#[inline]
fn only(buf: &mut impl IoBuf, io: IoType) -> Option<(*mut u8, usize)> {
    let may = match io {
        IoType::Read => buf.may_fill(),
        _ => buf.has_contents(),
    };
    if may { buf.only() } else { None }
}

/// What an I/O can bring along: an [`IoBuf`], two of them ([`WithMetadata`], [`CompareWrite`]), or nothing.
pub trait IoData: Data {}
impl<T: Data> IoData for T {}

/// The memory of an I/O, as it is laid out in its slot.
#[derive(Debug)]
pub struct Laid<'a> {
    pub(super) pieces: Pieces<'a>,
    /// Where the pieces of a second list begin, and the bytes before it.
    pub(super) second: Option<(usize, u64)>,
    /// Of metadata in a buffer of its own.
    pub(super) metadata: Option<(*mut c_void, u64)>,
    /// A read must not write it.
    pub(super) unfillable: bool,
    /// There is nothing to write.
    pub(super) empty: bool,
}

impl<'a> Laid<'a> {
    #[inline]
    pub(super) fn new(iovs: &'a mut Vec<libc::iovec>) -> Self {
        Self {
            pieces: Pieces::new(iovs),
            second: None,
            metadata: None,
            unfillable: false,
            empty: false,
        }
    }

    #[inline]
    pub(super) fn add(&mut self, io: IoType, buf: &mut impl IoBuf) {
        match io {
            IoType::Read => self.unfillable |= !buf.may_fill(),
            _ => self.empty |= !buf.has_contents(),
        }
        buf.pieces(&mut self.pieces);
        if let Some(metadata) = self.pieces.metadata.take() {
            self.metadata = Some(metadata);
        }
    }
}

impl Data for () {
    type Output<R> = Result<R, IoError>;

    const WANTS_FILLED: bool = false;

    fn lay_out(&mut self, _: IoType, _: &mut Laid<'_>) {}

    fn filled(&mut self) {}

    fn give_back<R>(self, result: Result<R, IoError>) -> Result<R, IoError> {
        result
    }
}

impl<B: IoBuf> Data for B {
    type Output<R> = (Result<R, IoError>, B);

    const WANTS_FILLED: bool = B::WANTS_FILLED;

    #[inline]
    fn only(&mut self, io: IoType) -> Option<(*mut u8, usize)> {
        only(self, io)
    }

    fn lay_out(&mut self, io: IoType, laid: &mut Laid<'_>) {
        laid.add(io, self);
    }

    fn filled(&mut self) {
        IoBuf::filled(self);
    }

    #[inline]
    fn give_back<R>(self, result: Result<R, IoError>) -> (Result<R, IoError>, B) {
        (result, self)
    }
}

/// Data with its metadata in a buffer of its own; comes back as `(result, data, metadata)`.
#[derive(Debug)]
pub struct WithMetadata<B, M> {
    pub(super) data: B,
    pub(super) metadata: M,
}

impl<B: IoBuf, M: IoBuf> Data for WithMetadata<B, M> {
    type Output<R> = (Result<R, IoError>, B, M);

    const WANTS_FILLED: bool = B::WANTS_FILLED || M::WANTS_FILLED;

    fn lay_out(&mut self, io: IoType, laid: &mut Laid<'_>) {
        laid.add(io, &mut self.data);
        let before = laid.pieces.count();
        laid.add(io, &mut self.metadata);
        let pieces = laid.pieces.count() - before;
        // SPDK takes one address: a buffer in several pieces counts as one of no length.
        let mut metadata = (std::ptr::null_mut(), 0);
        for _ in 0..pieces {
            let piece = laid.pieces.pop();
            if let (Some(piece), 1) = (piece, pieces) {
                metadata = piece;
            }
        }
        laid.metadata = Some(metadata);
    }

    fn filled(&mut self) {
        IoBuf::filled(&mut self.data);
        IoBuf::filled(&mut self.metadata);
    }

    fn give_back<R>(self, result: Result<R, IoError>) -> Self::Output<R> {
        (result, self.data, self.metadata)
    }
}

/// What to compare with, and what to write in its place; comes back as `(result, compare, write)`.
#[derive(Debug)]
pub struct CompareWrite<C, W> {
    pub(super) compare: C,
    pub(super) write: W,
}

impl<C: IoBuf, W: IoBuf> Data for CompareWrite<C, W> {
    type Output<R> = (Result<R, IoError>, C, W);

    const WANTS_FILLED: bool = false;

    fn lay_out(&mut self, io: IoType, laid: &mut Laid<'_>) {
        laid.add(io, &mut self.compare);
        laid.second = Some((laid.pieces.count(), laid.pieces.len()));
        laid.add(io, &mut self.write);
    }

    fn filled(&mut self) {}

    fn give_back<R>(self, result: Result<R, IoError>) -> Self::Output<R> {
        (result, self.compare, self.write)
    }
}

/// Data with the callback that it is given to.
#[derive(Debug)]
pub(super) struct Then<B, F> {
    pub(super) data: B,
    pub(super) done: F,
}

/// The callback is not pinned.
impl<B, F> Unpin for Then<B, F> {}

impl<B: IoBuf, F: 'static> Data for Then<B, F> {
    type Output<R> = (Result<R, IoError>, B);

    const WANTS_FILLED: bool = B::WANTS_FILLED;

    #[inline]
    fn only(&mut self, io: IoType) -> Option<(*mut u8, usize)> {
        only(&mut self.data, io)
    }

    fn lay_out(&mut self, io: IoType, laid: &mut Laid<'_>) {
        laid.add(io, &mut self.data);
    }

    fn filled(&mut self) {
        IoBuf::filled(&mut self.data);
    }

    fn give_back<R>(self, result: Result<R, IoError>) -> Self::Output<R> {
        (result, self.data)
    }
}

/// Data of a loop, with what it does after each I/O.
#[derive(Debug)]
pub struct Repeat<B, F> {
    pub(super) data: B,
    pub(super) step: F,
}

/// The step is not pinned.
impl<B, F> Unpin for Repeat<B, F> {}

impl<B: IoBuf, F: 'static> Data for Repeat<B, F> {
    type Output<R> = (Result<R, IoError>, B);

    const WANTS_FILLED: bool = B::WANTS_FILLED;

    #[inline]
    fn only(&mut self, io: IoType) -> Option<(*mut u8, usize)> {
        only(&mut self.data, io)
    }

    fn lay_out(&mut self, io: IoType, laid: &mut Laid<'_>) {
        laid.add(io, &mut self.data);
    }

    fn filled(&mut self) {
        IoBuf::filled(&mut self.data);
    }

    fn give_back<R>(self, result: Result<R, IoError>) -> Self::Output<R> {
        (result, self.data)
    }
}
