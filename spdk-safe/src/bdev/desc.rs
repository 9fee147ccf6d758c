//! Descriptors: an open bdev, as a type that knows what it may do.
//!
//! ```text
//!                                          ┌─ 1 ──► BdevDesc<ReadWrite, Claimed> ─┐
//!  OpenBdev ─┬─ read_write ──► BdevDesc<ReadWrite, Opened> ────────────────────────┤
//!            │                             ┌─ 2 ──► BdevDesc<ReadWrite, Claimed> ─┼─ close, or drop ──► closed
//!            └─ read_only ───► BdevDesc<ReadOnly, Opened> ─────────────────────────┤
//!                                          └─ 3 ──► BdevDesc<ReadOnly, Claimed> ──┘
//!  1: claim; claim_as(ExclusiveWrite, ReadManyWriteOne, ReadManyWriteShared)
//!  2: claim_as(ReadManyWriteOne, ReadManyWriteShared): makes it writable   3: claim_as(ReadManyWriteNone)
//! ```

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::claim::{ClaimAs, ExclusiveWrite};
use super::core::{CloseWaiter, DescCore};
use super::events::{BdevEvents, MediaEvent};
use super::{BdevInfo, IoChannel, OpenBdev};
use crate::app::Spdk;
use crate::env::{AllocError, DmaBuf, UninitDmaBuf};
use crate::error::{ChannelError, ClaimError, OpenError, ThreadError};
use crate::module::BdevModule;
use crate::thread::{ThreadBound, app_thread};
use crate::units::Blocks;

mod sealed {
    pub trait Sealed {}
}

/// How a descriptor may be used: [`ReadOnly`] or [`ReadWrite`].
pub trait DescMode: sealed::Sealed + 'static {}
/// Whether a descriptor holds a claim: [`Opened`] or [`Claimed`].
pub trait DescState: sealed::Sealed + 'static {}

/// A mode that may change the bdev's contents.
#[diagnostic::on_unimplemented(
    message = "this descriptor is read-only",
    label = "needs a descriptor that was opened for writing",
    note = "open it with `BdevDesc::open(spdk, name).read_write()`"
)]
pub trait Writable: DescMode {}

/// A state in which a descriptor holds no claim.
#[diagnostic::on_unimplemented(
    message = "this descriptor holds a claim already",
    label = "needs a descriptor that is not claimed",
    note = "the claim ends when the descriptor is closed; open another one to claim it for another module"
)]
pub trait Unclaimed: DescState {}

/// Opened for reading.
#[derive(Debug, Clone, Copy)]
pub enum ReadOnly {}
/// Opened for reading and writing.
#[derive(Debug, Clone, Copy)]
pub enum ReadWrite {}
/// Opened, not claimed: others may open it for writing too.
#[derive(Debug, Clone, Copy)]
pub enum Opened {}
/// Claimed: nobody can open it for writing any more.
#[derive(Debug, Clone, Copy)]
pub enum Claimed {}

impl sealed::Sealed for ReadOnly {}
impl sealed::Sealed for ReadWrite {}
impl sealed::Sealed for Opened {}
impl sealed::Sealed for Claimed {}
impl DescMode for ReadOnly {}
impl DescMode for ReadWrite {}
impl DescState for Opened {}
impl DescState for Claimed {}
impl Writable for ReadWrite {}
impl Unclaimed for Opened {}

/// An open bdev (`struct spdk_bdev_desc`), the half that owns it.
///
/// It belongs to the app thread. [`share`](Self::share) gives the half that may travel, for channels on other
/// threads. The descriptor is closed when the owner, every share, every channel and every I/O in flight are gone;
/// [`close`](Self::close) waits for that. When the bdev is removed from below, it is given back as soon as nothing
/// is in flight, and what is left are clean errors.
#[must_use = "dropping a descriptor closes it"]
pub struct BdevDesc<M: DescMode = ReadOnly, S: DescState = Opened> {
    hold: Hold,
    _bound: ThreadBound,
    _type: PhantomData<(M, S)>,
}

impl BdevDesc {
    /// Begins to open the bdev named `name` (or with that alias); say how with
    /// [`read_only`](OpenBdev::read_only) or [`read_write`](OpenBdev::read_write).
    pub fn open<'a>(spdk: &'a Spdk, name: &'a str) -> OpenBdev<'a> {
        OpenBdev::new(spdk, name)
    }
}

impl<M: DescMode, S: DescState> BdevDesc<M, S> {
    pub(super) fn open_now(name: &str, write: bool) -> Result<Self, OpenError> {
        Ok(Self::new(Hold(DescCore::open(name, write)?)))
    }

    fn new(hold: Hold) -> Self {
        Self {
            hold,
            _bound: ThreadBound::new(),
            _type: PhantomData,
        }
    }

    pub(super) fn core(&self) -> &Arc<DescCore> {
        &self.hold.0
    }

    /// What happens to the bdev from now on, as a stream that ends with the descriptor.
    ///
    /// Nobody has to read it: a removal goes its way, and [`num_blocks`](Self::num_blocks) follows a resize.
    pub fn events(&self) -> BdevEvents {
        BdevEvents::new(&self.hold.0)
    }

    /// Takes the blocks that the bdev's medium is about to lose (`spdk_bdev_get_media_events`), after
    /// [`BdevEvent::MediaManagement`](super::BdevEvent::MediaManagement). Only a writable descriptor is told of them, and
    /// SPDK keeps 64 of them for it.
    ///
    /// # Errors
    ///
    /// [`ThreadError`] anywhere but on the app thread.
    pub fn media_events(&self) -> Result<Vec<MediaEvent>, ThreadError> {
        self.hold.0.media_events()
    }

    /// What the bdev is; stays valid when the bdev is gone.
    #[must_use]
    pub fn info(&self) -> &BdevInfo {
        &self.hold.0.info
    }

    /// Its size now, after the last resize.
    #[must_use]
    pub fn num_blocks(&self) -> Blocks {
        self.hold.0.num_blocks()
    }

    /// Whether the bdev was removed from below.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.hold.0.is_removed()
    }

    /// Gets a channel for the current SPDK thread (`spdk_bdev_get_io_channel`).
    ///
    /// # Errors
    ///
    /// [`ChannelError`].
    pub fn channel(&self) -> Result<IoChannel<M>, ChannelError> {
        IoChannel::open(&self.hold.0, false)
    }

    /// Takes a zeroed buffer of `blocks` blocks, aligned as the bdev wants it.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn alloc(&self, blocks: Blocks) -> Result<DmaBuf, AllocError> {
        alloc(&self.hold.0.info, blocks)
    }

    /// Takes a buffer of `blocks` blocks that nobody has written, to read into.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn alloc_uninit(&self, blocks: Blocks) -> Result<UninitDmaBuf, AllocError> {
        alloc_uninit(&self.hold.0.info, blocks)
    }

    /// The half that may travel to other threads.
    pub fn share(&self) -> SharedDesc<M> {
        SharedDesc {
            hold: self.hold.clone(),
            _mode: PhantomData,
        }
    }

    /// Closes the descriptor, and waits until it is closed: for shares, channels and I/O in flight, or, after
    /// [`CloseDesc::revoke`], for I/O in flight alone.
    ///
    /// Dropping it closes it as well, without a way to wait.
    pub fn close(self) -> CloseDesc {
        CloseDesc {
            waiter: self.hold.0.waiter(),
            _bound: ThreadBound::new(),
        }
    }
}

impl<M: DescMode, S: DescState> BdevDesc<M, S> {
    /// Claims the bdev for `module`: from now on nobody else can open it for writing
    /// (`spdk_bdev_module_claim_bdev`). The claim ends with the descriptor.
    ///
    /// Others who opened it for writing before keep it (contract B-20).
    ///
    /// # Errors
    ///
    /// [`ClaimError`], beside the descriptor. [`ClaimError::Claimed`] names who has it.
    pub fn claim(
        self,
        module: &'static BdevModule,
    ) -> Result<BdevDesc<M, Claimed>, (ClaimError, Self)>
    where
        M: Writable,
        S: Unclaimed,
    {
        self.claim_as(module, ExclusiveWrite)
    }

    /// Claims the bdev for `module` in one of SPDK's four ways: see the table at [`ClaimAs`]. The claim ends with the
    /// descriptor.
    ///
    /// ```no_run
    /// # use spdk_safe::prelude::*;
    /// # use spdk_safe::bdev::ReadManyWriteOne;
    /// # use spdk_safe::module::BdevModule;
    /// static MODULE: BdevModule = BdevModule::new(c"my_module"); // given to the app builder
    ///
    /// # fn example(spdk: &Spdk) -> Result<(), Box<dyn std::error::Error>> {
    /// let desc = BdevDesc::open(spdk, "disk0").read_only()?;
    /// let desc: BdevDesc<ReadWrite, Claimed> =
    ///     desc.claim_as(&MODULE, ReadManyWriteOne).map_err(|(error, _desc)| error)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ClaimError`], beside the descriptor. [`ClaimError::Claimed`] names who has it, [`ClaimError::Writers`] says
    /// that somebody writes without a claim, [`ClaimError::NeedsVersion`] that SPDK is older than 23.05.
    pub fn claim_as<C: ClaimAs<M>>(
        self,
        module: &'static BdevModule,
        claim: C,
    ) -> Result<BdevDesc<C::Mode, Claimed>, (ClaimError, Self)>
    where
        S: Unclaimed,
    {
        match self.hold.0.claim(module, claim.kind(), claim.key()) {
            // INVARIANT: where the mode becomes `ReadWrite`, the claim has made the descriptor writable (B-22).
            Ok(()) => Ok(BdevDesc::new(self.hold)),
            Err(error) => Err((error, self)),
        }
    }
}

/// The half of a descriptor that may travel: it gets channels on the thread it is on, and keeps the descriptor open.
#[derive(Clone)]
#[must_use = "dropping the last handle closes the descriptor"]
pub struct SharedDesc<M: DescMode = ReadOnly> {
    hold: Hold,
    _mode: PhantomData<fn() -> M>,
}

impl<M: DescMode> SharedDesc<M> {
    /// What happens to the bdev from now on; see [`BdevDesc::events`].
    pub fn events(&self) -> BdevEvents {
        BdevEvents::new(&self.hold.0)
    }

    /// What the bdev is.
    #[must_use]
    pub fn info(&self) -> &BdevInfo {
        &self.hold.0.info
    }

    /// Its size now, after the last resize.
    #[must_use]
    pub fn num_blocks(&self) -> Blocks {
        self.hold.0.num_blocks()
    }

    /// Gets a channel for the current SPDK thread.
    ///
    /// # Errors
    ///
    /// [`ChannelError`].
    pub fn channel(&self) -> Result<IoChannel<M>, ChannelError> {
        IoChannel::open(&self.hold.0, false)
    }

    /// As [`channel`](Self::channel), for I/O that requests of a block device of ours wait for: where memory is short, it
    /// goes first (MISUSE M10). In [`create_channel`](crate::module::BlockDevice::create_channel) each channel is such a
    /// one; this is for those that a device gets later.
    ///
    /// # Errors
    ///
    /// [`ChannelError`].
    pub fn channel_below(&self) -> Result<IoChannel<M>, ChannelError> {
        IoChannel::open(&self.hold.0, true)
    }
}

/// Done when a descriptor is closed; see [`BdevDesc::close`].
#[derive(Debug)]
#[must_use = "await it to know when the descriptor is closed"]
pub struct CloseDesc {
    waiter: CloseWaiter,
    _bound: ThreadBound,
}

impl CloseDesc {
    /// Takes the bdev from those who still have shares and channels, as if it had been removed: what they start is a clean
    /// error, what waits for memory fails, and the descriptor closes when what is in flight has ended.
    ///
    /// # Errors
    ///
    /// [`ThreadError`] anywhere but on the app thread.
    pub fn revoke(&self) -> Result<(), ThreadError> {
        app_thread::check()?;
        self.waiter.core.revoke();
        Ok(())
    }
}

impl Future for CloseDesc {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiter.poll(cx.waker()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// One of the handles that keep a descriptor open.
struct Hold(Arc<DescCore>);

impl Clone for Hold {
    fn clone(&self) -> Self {
        self.0.hold();
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.unhold();
    }
}

pub(super) fn alloc_uninit(info: &BdevInfo, blocks: Blocks) -> Result<UninitDmaBuf, AllocError> {
    let bytes = blocks.bytes(info.block_size).ok_or(AllocError::Overflow)?;
    UninitDmaBuf::new(bytes, info.align.max(1))
}

pub(super) fn alloc(info: &BdevInfo, blocks: Blocks) -> Result<DmaBuf, AllocError> {
    let bytes = blocks.bytes(info.block_size).ok_or(AllocError::Overflow)?;
    DmaBuf::zeroed(bytes, info.align.max(1))
}

impl<M: DescMode, S: DescState> fmt::Debug for BdevDesc<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BdevDesc")
            .field("core", &self.hold.0)
            .finish_non_exhaustive()
    }
}

impl<M: DescMode> fmt::Debug for SharedDesc<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedDesc")
            .field("core", &self.hold.0)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for DescCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DescCore")
            .field("bdev", &self.info.name)
            .field("removed", &self.is_removed())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CloseWaiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}
