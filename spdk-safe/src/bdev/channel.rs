//! I/O channels: one per SPDK thread and bdev.

use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use super::abort::Batch;
use super::buf::{IoBuf, IoBufMut};
use super::channel_core::ChannelCore;
use super::core::DescCore;
use super::data::{CompareWrite, Then, WithMetadata};
use super::desc::{DescMode, Writable, alloc, alloc_uninit};
use super::io::{Io, IoLoop};
use super::op::{Ask, Flight};
use super::sequential::Sequential;
use super::zcopy::Zcopy;
use super::{BdevInfo, ReadOnly};
use crate::env::{AllocError, DmaBuf, UninitDmaBuf};
use crate::error::{ChannelError, IoError, IoType};
use crate::thread::Bound;
use crate::units::{Blocks, Lba};

/// A channel to a bdev (`struct spdk_io_channel`), on the SPDK thread that got it.
///
/// It keeps its descriptor open. Each I/O owns its data and the channel while it is in flight, so channel, buffer
/// and future may be dropped in any order.
///
/// Every method of I/O checks the whole request before SPDK sees it: on a [`ThreadError`](crate::error::ThreadError),
/// a range past the end, a length that is not whole blocks and the like the future is ready at once, with the data and
/// the [`IoError`].
#[must_use = "dropping a channel puts it back"]
pub struct IoChannel<M: DescMode = ReadOnly> {
    core: Bound<Rc<ChannelCore>>,
    _mode: PhantomData<M>,
}

impl<M: DescMode> IoChannel<M> {
    /// Gets the channel of the current SPDK thread.
    pub(super) fn open(desc: &Arc<DescCore>, below: bool) -> Result<Self, ChannelError> {
        Ok(Self {
            core: Bound::new(ChannelCore::open(desc, below)?),
            _mode: PhantomData,
        })
    }

    pub(super) fn core(&self) -> &Rc<ChannelCore> {
        &self.core
    }

    /// Whether I/O of this thread waits for a `spdk_bdev_io`, as this channel's would now. Somebody holds all that the
    /// thread may have.
    #[must_use]
    pub fn waits_for_memory(&self) -> bool {
        self.core.waits.is_waiting(self.core.is_below)
    }

    /// What the bdev is.
    #[must_use]
    pub fn info(&self) -> &BdevInfo {
        &self.core.desc.info
    }

    /// The bdev's size now, after the last resize.
    #[must_use]
    pub fn num_blocks(&self) -> Blocks {
        self.core.desc.num_blocks()
    }

    /// Whether the bdev takes such I/O, natively or by SPDK's emulation.
    #[must_use]
    pub fn supports(&self, io: IoType) -> bool {
        self.core.supports(io)
    }

    /// Takes a zeroed buffer of `blocks` blocks, aligned as the bdev wants it.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn alloc(&self, blocks: Blocks) -> Result<DmaBuf, AllocError> {
        alloc(self.info(), blocks)
    }

    /// Takes a buffer of `blocks` blocks that nobody has written, to read into.
    ///
    /// # Errors
    ///
    /// [`AllocError`].
    pub fn alloc_uninit(&self, blocks: Blocks) -> Result<UninitDmaBuf, AllocError> {
        alloc_uninit(self.info(), blocks)
    }

    /// Reads from `lba` on until `data` is full (`spdk_bdev_readv_blocks`).
    ///
    /// Resolves to the result and the data, whatever the result is. Nothing happens before the first poll. A future
    /// that is dropped in flight lets go of its data: the read goes on, and the data is freed when it is done.
    ///
    /// Several buffers in one (`Vec<DmaBuf>`, `(a, b)`) are filled one after the other.
    #[inline]
    pub fn read<B: IoBufMut>(&self, lba: Lba, data: B) -> Io<B> {
        Io::new(&self.core, Ask::data(IoType::Read, lba), data)
    }

    /// As [`read`](Self::read), for hot paths: `done` is called with the result and the data when it is over, on this
    /// thread, exactly once. It can't be dropped, timed out or waited for.
    ///
    /// `done` may start the next I/O. A panic in it is contained.
    ///
    /// # Errors
    ///
    /// What was found before SPDK had it, with the data: nothing was started, and `done` is dropped uncalled.
    #[inline]
    pub fn read_then<B: IoBufMut>(
        &self,
        lba: Lba,
        data: B,
        done: impl FnOnce(Result<(), IoError>, B) + 'static,
    ) -> Result<(), (IoError, B)> {
        let then = Then { data, done };
        Flight::new(&self.core, Ask::data(IoType::Read, lba), then).start_then()
    }

    /// As [`write`](Self::write), for hot paths; otherwise as [`read_then`](Self::read_then).
    ///
    /// # Errors
    ///
    /// As [`read_then`](Self::read_then).
    #[inline]
    pub fn write_then<B: IoBuf>(
        &self,
        lba: Lba,
        data: B,
        done: impl FnOnce(Result<(), IoError>, B) + 'static,
    ) -> Result<(), (IoError, B)>
    where
        M: Writable,
    {
        let then = Then { data, done };
        Flight::new(&self.core, Ask::data(IoType::Write, lba), then).start_then()
    }

    /// Reads again and again into the same buffer, as fast as a loop in C: first at `lba`, then where `step` says.
    ///
    /// After each read `step` gets its result and the buffer, on this thread, and says where the next one begins, or
    /// `None` to end the loop. The future is ready then, with the buffer; or with the error of a read that could not
    /// be started ([`IoError::Removed`], [`IoError::Range`], ...), or with [`IoError::Panic`] if `step` panicked. It
    /// need not be polled in between. Dropping it ends the loop after the read that is in flight.
    ///
    /// Several loops at once make a queue depth.
    pub fn read_loop<B: IoBufMut, F>(&self, lba: Lba, data: B, step: F) -> IoLoop<B, F>
    where
        F: FnMut(Result<(), IoError>, &mut B) -> Option<Lba> + 'static,
    {
        Io::repeat(&self.core, Ask::data(IoType::Read, lba), data, step)
    }

    /// Writes the same buffer again and again, otherwise as [`read_loop`](Self::read_loop); `step` may change what is
    /// in it.
    pub fn write_loop<B: IoBuf, F>(&self, lba: Lba, data: B, step: F) -> IoLoop<B, F>
    where
        F: FnMut(Result<(), IoError>, &mut B) -> Option<Lba> + 'static,
        M: Writable,
    {
        Io::repeat(&self.core, Ask::data(IoType::Write, lba), data, step)
    }

    /// As [`read`](Self::read), with the blocks' metadata, which the bdev has in a buffer of its own
    /// (`spdk_bdev_readv_blocks_with_md`). Resolves to the result, the data and the metadata.
    pub fn read_with_md<B: IoBufMut, D: IoBufMut>(
        &self,
        lba: Lba,
        data: B,
        metadata: D,
    ) -> Io<WithMetadata<B, D>> {
        let data = WithMetadata { data, metadata };
        Io::new(&self.core, Ask::data(IoType::Read, lba), data)
    }

    /// Reads `blocks` blocks into a new buffer.
    ///
    /// # Errors
    ///
    /// [`IoError`]; [`IoError::Alloc`] when there is no buffer.
    pub async fn read_blocks(&self, lba: Lba, blocks: Blocks) -> Result<DmaBuf, IoError> {
        let (result, buf) = self.read(lba, self.alloc_uninit(blocks)?).await;
        result?;
        buf.into_filled().map_err(|_| IoError::NoContents {
            io: IoType::Read,
            lba,
        })
    }

    /// Writes all of `data` from `lba` on (`spdk_bdev_writev_blocks`); otherwise as [`read`](Self::read).
    #[inline]
    pub fn write<B: IoBuf>(&self, lba: Lba, data: B) -> Io<B>
    where
        M: Writable,
    {
        Io::new(&self.core, Ask::data(IoType::Write, lba), data)
    }

    /// As [`write`](Self::write), with the blocks' metadata (`spdk_bdev_writev_blocks_with_md`). Resolves to the
    /// result, the data and the metadata. A bdev with DIF may fill in the metadata, so it must be its alone.
    pub fn write_with_md<B: IoBuf, D: IoBufMut>(
        &self,
        lba: Lba,
        data: B,
        metadata: D,
    ) -> Io<WithMetadata<B, D>>
    where
        M: Writable,
    {
        let data = WithMetadata { data, metadata };
        Io::new(&self.core, Ask::data(IoType::Write, lba), data)
    }

    /// Compares blocks from `lba` on with `data` (`spdk_bdev_comparev_blocks`). Different ones fail the I/O:
    /// [`IoError::is_miscompare`].
    pub fn compare<B: IoBuf>(&self, lba: Lba, data: B) -> Io<B> {
        Io::new(&self.core, Ask::data(IoType::Compare, lba), data)
    }

    /// As [`compare`](Self::compare), with the blocks' metadata (`spdk_bdev_comparev_blocks_with_md`).
    pub fn compare_with_md<B: IoBuf, D: IoBuf>(
        &self,
        lba: Lba,
        data: B,
        metadata: D,
    ) -> Io<WithMetadata<B, D>> {
        let data = WithMetadata { data, metadata };
        Io::new(&self.core, Ask::data(IoType::Compare, lba), data)
    }

    /// Compares blocks from `lba` on with `compare` and, if they are equal, writes `write` in their place, as one step
    /// (`spdk_bdev_comparev_and_writev_blocks`). Resolves to the result and both buffers.
    ///
    /// Both have the same length, at most the bdev's atomic unit, which is one block for most.
    pub fn compare_and_write<C: IoBuf, W: IoBuf>(
        &self,
        lba: Lba,
        compare: C,
        write: W,
    ) -> Io<CompareWrite<C, W>>
    where
        M: Writable,
    {
        let data = CompareWrite { compare, write };
        Io::new(&self.core, Ask::data(IoType::CompareAndWrite, lba), data)
    }

    /// Copies `blocks` blocks within the bdev, from `from` to `to` (`spdk_bdev_copy_blocks`; SPDK 23.01 and newer).
    /// The ranges must not overlap.
    pub fn copy(&self, to: Lba, from: Lba, blocks: Blocks) -> Io
    where
        M: Writable,
    {
        let ask = Ask {
            other: from.0,
            ..Ask::range(IoType::Copy, to, blocks)
        };
        Io::new(&self.core, ask, ())
    }

    /// Tells the bdev that `blocks` blocks are not needed (`spdk_bdev_unmap_blocks`). What they read as afterwards is
    /// the module's choice (contract B-44).
    pub fn unmap(&self, lba: Lba, blocks: Blocks) -> Io
    where
        M: Writable,
    {
        Io::new(&self.core, Ask::range(IoType::Unmap, lba, blocks), ())
    }

    /// Makes `blocks` blocks read as zeroes (`spdk_bdev_write_zeroes_blocks`).
    pub fn write_zeroes(&self, lba: Lba, blocks: Blocks) -> Io
    where
        M: Writable,
    {
        Io::new(&self.core, Ask::range(IoType::WriteZeroes, lba, blocks), ())
    }

    /// Makes completed writes of `blocks` blocks durable (`spdk_bdev_flush_blocks`).
    pub fn flush(&self, lba: Lba, blocks: Blocks) -> Io
    where
        M: Writable,
    {
        Io::new(&self.core, Ask::range(IoType::Flush, lba, blocks), ())
    }

    /// Aborts what is outstanding and resets the device (`spdk_bdev_reset`).
    pub fn reset(&self) -> Io
    where
        M: Writable,
    {
        Io::new(&self.core, Ask::data(IoType::Reset, Lba(0)), ())
    }

    /// Finds the first block at or after `lba` that has data (`spdk_bdev_seek_data`; SPDK 22.09 and newer). A bdev that
    /// does not know says `lba` itself.
    pub fn seek_data(&self, lba: Lba) -> Io<(), Option<Lba>> {
        Io::new(&self.core, Ask::data(IoType::SeekData, lba), ())
    }

    /// Finds the first block at or after `lba` that has none (`spdk_bdev_seek_hole`; SPDK 22.09 and newer). A bdev that
    /// does not know says that there is none.
    pub fn seek_hole(&self, lba: Lba) -> Io<(), Option<Lba>> {
        Io::new(&self.core, Ask::data(IoType::SeekHole, lba), ())
    }

    /// Reaches `blocks` blocks in the bdev's own memory, with what they hold (`spdk_bdev_zcopy_start`).
    pub fn zcopy(&self, lba: Lba, blocks: Blocks) -> Io<(), Zcopy>
    where
        M: Writable,
    {
        let ask = Ask {
            other: 1,
            ..Ask::range(IoType::ZeroCopy, lba, blocks)
        };
        Io::new(&self.core, ask, ())
    }

    /// As [`zcopy`](Self::zcopy), for who will write all of it: what the memory holds at first is not said.
    pub fn zcopy_overwrite(&self, lba: Lba, blocks: Blocks) -> Io<(), Zcopy>
    where
        M: Writable,
    {
        Io::new(&self.core, Ask::range(IoType::ZeroCopy, lba, blocks), ())
    }

    /// I/Os that can be aborted together.
    pub fn batch(&self) -> Batch {
        Batch::new(&self.core)
    }

    /// Reads and writes one after the other, from `lba` on.
    pub fn sequential(&self, lba: Lba) -> Sequential<'_, M> {
        Sequential::new(self, lba)
    }
}

impl<M: DescMode> fmt::Debug for IoChannel<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.fmt(f)
    }
}
