//! Reading and writing one block after the other.

use super::buf::{IoBuf, IoBufMut};
use super::desc::{DescMode, Writable};
use super::{IoChannel, op::Ask};
use crate::bdev::Io;
use crate::error::{IoError, IoType};
use crate::units::{Blocks, Lba};

/// A place on a bdev that moves on with each I/O; [`IoChannel::sequential`] makes one.
#[derive(Debug)]
pub struct Sequential<'a, M: DescMode> {
    channel: &'a IoChannel<M>,
    next: Lba,
}

impl<'a, M: DescMode> Sequential<'a, M> {
    pub(super) fn new(channel: &'a IoChannel<M>, next: Lba) -> Self {
        Self { channel, next }
    }

    /// Where the next I/O begins.
    #[must_use]
    pub fn position(&self) -> Lba {
        self.next
    }

    /// Goes on at `lba`.
    pub fn set_position(&mut self, lba: Lba) {
        self.next = lba;
    }

    /// Blocks from here to the end of the bdev.
    #[must_use]
    pub fn remaining(&self) -> Blocks {
        Blocks(self.channel.num_blocks().0.saturating_sub(self.next.0))
    }

    /// Fills `data` from here, and moves on if that succeeded.
    pub async fn read<B: IoBufMut>(&mut self, data: B) -> (Result<(), IoError>, B) {
        self.go(IoType::Read, data).await
    }

    /// Writes all of `data` here, and moves on if that succeeded.
    pub async fn write<B: IoBuf>(&mut self, data: B) -> (Result<(), IoError>, B)
    where
        M: Writable,
    {
        self.go(IoType::Write, data).await
    }

    async fn go<B: IoBuf>(&mut self, io: IoType, data: B) -> (Result<(), IoError>, B) {
        let ask = Ask::data(io, self.next);
        let (result, data) = Io::<B, Blocks>::new(self.channel.core(), ask, data).await;
        let result = result.map(|blocks| {
            // The I/O lay within the bdev, so this does not overflow.
            self.next = Lba(self.next.0 + blocks.0);
        });
        (result, data)
    }
}
