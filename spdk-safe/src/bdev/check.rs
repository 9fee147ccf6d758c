//! Everything about an I/O that SPDK does not check, or not well (design rule 11; contract B-31 to B-36, B-41, B-80).

use super::channel_core::ChannelCore;
use super::data::Laid;
use super::op::Ask;
use crate::error::{IoError, IoType};
use crate::units::{Blocks, Bytes, Lba};

/// The same for what almost all I/O is, in a few compares: a read or write of one piece of memory, with nothing wrong
/// about it, if the bdev takes such I/O. `None` is for [`check`] to say.
#[inline]
pub(super) fn check_plain(
    channel: &ChannelCore,
    lba: Lba,
    base: *mut u8,
    len: usize,
) -> Option<Blocks> {
    let blocks = channel.blocks_of(len as u64)?;
    let is_plain =
        len != 0 && channel.is_aligned(base.addr()) && lba.fits(blocks, channel.desc.num_blocks());
    is_plain.then_some(blocks)
}

/// Checks what is asked of `channel`, and returns its number of blocks.
#[cold]
pub(super) fn check(channel: &ChannelCore, ask: &Ask, laid: &Laid<'_>) -> Result<Blocks, IoError> {
    let (io, lba) = (ask.io, ask.lba);
    if !channel.supports(io) {
        return Err(unsupported(io));
    }
    let blocks = match io {
        IoType::Reset | IoType::Abort => return Ok(Blocks(0)),
        IoType::SeekData | IoType::SeekHole => Blocks(1),
        _ if ask.is_data => data(channel, ask, laid)?,
        _ => ask.blocks,
    };
    if blocks == Blocks(0) {
        return Err(IoError::Empty { io, lba });
    }
    range(channel, io, lba, blocks)?;
    if io == IoType::Copy {
        let from = Lba(ask.other);
        range(channel, io, from, blocks)?;
        if lba.0.abs_diff(from.0) < blocks.0 {
            return Err(IoError::Overlap {
                io,
                lba,
                from,
                blocks,
            });
        }
    }
    Ok(blocks)
}

#[inline]
fn range(channel: &ChannelCore, io: IoType, lba: Lba, blocks: Blocks) -> Result<(), IoError> {
    let capacity = channel.desc.num_blocks();
    match lba.fits(blocks, capacity) {
        true => Ok(()),
        false => Err(IoError::Range {
            io,
            lba,
            blocks,
            capacity,
        }),
    }
}

/// SPDK splits with 32 pieces at a time, and forgets an I/O of which these do not make up a block.
pub(super) const SPLIT_HANGS: bool = matches!(spdk_sys::VERSION, (..=20, ..));

/// Whether SPDK splits it.
fn is_split(channel: &ChannelCore, lba: Lba, blocks: Blocks) -> bool {
    let info = &channel.desc.info;
    let boundary = u64::from(info.optimal_io_boundary);
    info.splits_at_boundary
        && boundary != 0
        && lba.0 % boundary + blocks.0.min(u64::MAX - boundary) > boundary
}

/// How many blocks the memory has, which fits the bdev.
#[inline]
fn data(channel: &ChannelCore, ask: &Ask, laid: &Laid<'_>) -> Result<Blocks, IoError> {
    let (io, lba) = (ask.io, ask.lba);
    if laid.unfillable {
        return Err(IoError::Direction { io, lba });
    }
    if laid.empty {
        return Err(IoError::NoContents { io, lba });
    }
    if !laid.pieces.are_aligned(channel.align) {
        return Err(IoError::Misaligned {
            io,
            lba,
            align: channel.align,
        });
    }
    let total = laid.pieces.len();
    let len = laid.second.map_or(total, |(_, first)| first);
    let blocks = channel.blocks_of(len).ok_or(IoError::Length {
        io,
        lba,
        len: Bytes(len),
        block_size: channel.block_size,
    })?;
    if laid.second.is_some() {
        let write = total - len;
        if write != len || blocks > channel.atomic_unit {
            return Err(IoError::Atomic {
                io,
                lba,
                compare: Bytes(len),
                write: Bytes(write),
                unit: channel.atomic_unit,
            });
        }
    }
    if SPLIT_HANGS && is_split(channel, lba, blocks) && laid.pieces.are_crumbs(channel.block_size) {
        return Err(IoError::Crumbs {
            io,
            lba,
            blocks,
            block_size: channel.block_size,
        });
    }
    if let Some((_, have)) = laid.metadata {
        let want = blocks.bytes(channel.metadata_size);
        if channel.metadata_size == 0 || want != Some(Bytes(have)) {
            return Err(IoError::Metadata {
                io,
                lba,
                blocks,
                len: Bytes(have),
                metadata_size: channel.metadata_size,
            });
        }
    }
    Ok(blocks)
}

#[cold]
fn unsupported(io: IoType) -> IoError {
    let (have_major, have_minor, _) = spdk_sys::VERSION;
    match io.since() {
        Some((major, minor)) if (have_major, have_minor) < (major, minor) => {
            IoError::NeedsVersion { io, major, minor }
        }
        _ => IoError::Unsupported { io },
    }
}
