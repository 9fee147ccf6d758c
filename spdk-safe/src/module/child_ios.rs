//! What a request with children submits.

use super::children::{ChildIos, Children, Parent, Part};
use super::forward::child;
use super::request::{ReadRequest, WriteRequest};
use crate::bdev::{Below, Child, DescMode, IoChannel, Writable};
use crate::error::IoType;
use crate::units::{Blocks, Lba};

impl<S: Children<ReadRequest>> ChildIos<ReadRequest, S> {
    /// Has `channel` read all of the request, from `lba` on.
    #[inline]
    pub fn read<M: DescMode>(&self, channel: &IoChannel<M>, lba: Lba, tag: u8) {
        let child = child(IoType::Read, lba, Blocks(0));
        self.add(Below::of(channel), child, self.context().whole(), tag);
    }

    /// Has `channel` read a part of the request, `blocks` blocks from its block `from` on, from `lba` on. False if the
    /// request has not as many: nothing was submitted.
    #[must_use = "false: there is no such part"]
    #[inline]
    pub fn read_part<M: DescMode>(
        &self,
        channel: &IoChannel<M>,
        lba: Lba,
        from: Blocks,
        blocks: Blocks,
        tag: u8,
    ) -> bool {
        let child = child(IoType::Read, lba, Blocks(0));
        self.add_part(Below::of(channel), child, from, blocks, tag)
    }
}

impl<S: Children<WriteRequest>> ChildIos<WriteRequest, S> {
    /// Has `channel` write all of the request, from `lba` on.
    #[inline]
    pub fn write<M: Writable>(&self, channel: &IoChannel<M>, lba: Lba, tag: u8) {
        let child = child(IoType::Write, lba, Blocks(0));
        self.add(Below::of(channel), child, self.context().whole(), tag);
    }

    /// Has `channel` write a part of the request, `blocks` blocks from its block `from` on, from `lba` on. False if the
    /// request has not as many: nothing was submitted.
    #[must_use = "false: there is no such part"]
    #[inline]
    pub fn write_part<M: Writable>(
        &self,
        channel: &IoChannel<M>,
        lba: Lba,
        from: Blocks,
        blocks: Blocks,
        tag: u8,
    ) -> bool {
        let child = child(IoType::Write, lba, Blocks(0));
        self.add_part(Below::of(channel), child, from, blocks, tag)
    }
}

/// What needs no memory of the request, whatever it is.
impl<R: Parent, S: Children<R>> ChildIos<R, S> {
    fn add_part(
        &self,
        below: Below<'_>,
        child: Child,
        from: Blocks,
        blocks: Blocks,
        tag: u8,
    ) -> bool {
        let context = self.context();
        let bytes = |blocks: Blocks| blocks.bytes(context.block_size);
        let (Some(from), Some(len)) = (bytes(from), bytes(blocks)) else {
            return false;
        };
        let fits = from
            .0
            .checked_add(len.0)
            .is_some_and(|end| end <= context.len);
        if fits {
            let (from, len) = (from.0, len.0);
            self.add(below, child, Part::Of { from, len }, tag);
        }
        fits
    }

    /// Has `channel` unmap `blocks` blocks from `lba` on.
    pub fn unmap<M: Writable>(&self, channel: &IoChannel<M>, lba: Lba, blocks: Blocks, tag: u8) {
        let child = child(IoType::Unmap, lba, blocks);
        self.add(Below::of(channel), child, Part::None, tag);
    }

    /// Has `channel` make `blocks` blocks from `lba` on read as zeroes.
    pub fn write_zeroes<M: Writable>(
        &self,
        channel: &IoChannel<M>,
        lba: Lba,
        blocks: Blocks,
        tag: u8,
    ) {
        let child = child(IoType::WriteZeroes, lba, blocks);
        self.add(Below::of(channel), child, Part::None, tag);
    }

    /// Has `channel` flush `blocks` blocks from `lba` on.
    pub fn flush<M: Writable>(&self, channel: &IoChannel<M>, lba: Lba, blocks: Blocks, tag: u8) {
        let child = child(IoType::Flush, lba, blocks);
        self.add(Below::of(channel), child, Part::None, tag);
    }

    /// Resets the bdev of `channel`.
    pub fn reset<M: Writable>(&self, channel: &IoChannel<M>, tag: u8) {
        let child = child(IoType::Reset, Lba(0), Blocks(0));
        self.add(Below::of(channel), child, Part::None, tag);
    }
}
