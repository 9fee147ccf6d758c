//! A request that has just come.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use super::children::Parent;
use super::fan_out::{self, Known, Submit};
use super::forward::forward_known;
use super::request::{ReadRequest, WriteRequest};
use super::route::{self, Route};
use crate::bdev::{Below, DescMode, IoChannel, Writable};
use crate::error::IoError;
use crate::units::Lba;

/// A request that SPDK has just brought to [`BlockDevice::read`](super::BlockDevice::read) or
/// [`write`](super::BlockDevice::write), for as long as that call lasts: its thread is known to be current, and its memory
/// was looked at. `forward`, [`fan_out`](Self::fan_out) and `route` need not look again, which saves 20 to 50 instructions.
///
/// [`into_inner`](Self::into_inner) has the request itself, which may be kept.
///
/// # Invariants
///
/// It does not outlive SPDK's call for the request, `'call`, and `known` was true at its beginning.
#[must_use = "a request that is dropped fails"]
pub struct Arrived<'call, R> {
    request: R,
    known: Known,
    _call: PhantomData<&'call mut &'call ()>,
}

impl<R: Parent> Arrived<'_, R> {
    /// # Safety
    ///
    /// `known` is true of the request now, and `'call` ends before the call of SPDK's does that brought it.
    #[inline(always)]
    pub(super) unsafe fn new(request: R, known: Known) -> Self {
        // INVARIANT: by this function's contract.
        Self {
            request,
            known,
            _call: PhantomData,
        }
    }

    /// The request, to do anything else with it.
    #[inline(always)]
    pub fn into_inner(self) -> R {
        self.request
    }

    /// Has the request wait for the children that `waits` submits, and is told of.
    #[inline(always)] // on the path of each I/O
    pub fn fan_out<S: Submit<R>>(self, waits: S) {
        // SAFETY: by the type invariant we are below the call that brought the request, for which `known` is true.
        unsafe { fan_out::fan_out_known(self.request, self.known, waits) };
    }
}

impl Arrived<'_, ReadRequest> {
    /// As [`ReadRequest::forward`].
    #[inline(always)] // on the path of each read
    pub fn forward<M: DescMode>(
        self,
        channel: &IoChannel<M>,
        lba: Lba,
        done: impl FnOnce(ReadRequest, Result<(), IoError>) + 'static,
    ) {
        let (blocks, below) = (self.request.blocks, Below::of(channel));
        // SAFETY: by the type invariant we are below the call that brought the request, for which `known` is true; it is a
        // read.
        unsafe {
            forward_known::<_, _, true>(self.request, self.known, below, lba, blocks, done);
        };
    }

    /// Reads all of it where `waits` says, which is told of the end.
    #[inline(always)] // on the path of each read
    pub fn route<S: Route<ReadRequest>>(self, waits: S) {
        let blocks = self.request.blocks;
        // SAFETY: as in `fan_out`; it is a read.
        unsafe { route::route::<_, _, true>(self.request, self.known, blocks, waits) };
    }
}

impl Arrived<'_, WriteRequest> {
    /// As [`WriteRequest::forward`].
    #[inline(always)] // on the path of each write
    pub fn forward<M: Writable>(
        self,
        channel: &IoChannel<M>,
        lba: Lba,
        done: impl FnOnce(WriteRequest, Result<(), IoError>) + 'static,
    ) {
        let (blocks, below) = (self.request.blocks, Below::of(channel));
        // SAFETY: as for a read; it is a write, and the bound says that the descriptor is writable.
        unsafe {
            forward_known::<_, _, false>(self.request, self.known, below, lba, blocks, done);
        };
    }

    /// Writes all of it where `waits` says, which is told of the end.
    #[inline(always)] // on the path of each write
    pub fn route<S: Route<WriteRequest, Mode: Writable>>(self, waits: S) {
        let blocks = self.request.blocks;
        // SAFETY: as in `fan_out`; it is a write, and the bound says that the descriptor is writable.
        unsafe { route::route::<_, _, false>(self.request, self.known, blocks, waits) };
    }
}

impl<R> Deref for Arrived<'_, R> {
    type Target = R;

    #[inline(always)]
    fn deref(&self) -> &R {
        &self.request
    }
}

impl<R: fmt::Debug> fmt::Debug for Arrived<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Arrived").field(&self.request).finish()
    }
}
