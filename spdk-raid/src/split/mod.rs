//! Splits a request at boundaries: which part goes where, exact and without copying. Pure: no SPDK in here.
//!
//! ```text
//!   request   LBA 6, 8 blocks of 512 B                 6   7 | 8   9  10  11 |12  13
//!   memory    pieces of 1536, 1024, 1536 B             [    A    ][   B  ][     C    ]
//!   strip     4 blocks: boundaries at 8 and 12
//!   children  LBA 6, 2 blocks    A from byte 0, 1024 B
//!             LBA 8, 4 blocks    A from byte 1024, 512 B; B, 1024 B; C, 512 B
//!             LBA 12, 2 blocks   C from byte 512, 1024 B
//! ```
//!
//! A boundary may be a fixed strip, a most size, a most number of pieces of memory, or a front that moves (a rebuild
//! has done what lies before it): [`Rules`]. [`split`] checks the request against its memory, and gives an iterator of
//! [`Child`]ren, which allocates nothing. Each child knows its range and its [`Window`] of the memory, so they may be
//! sent in any order, and end in any order: a [`Join`] makes one status of theirs.
//!
//! Ranges are exact up to the last block, `u64::MAX`: nothing here adds up to an end.

mod children;
mod join;
#[cfg(test)]
mod tests;

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};

use spdk_safe::units::{Blocks, Lba};
use thiserror::Error;

pub use children::{Child, Children, Window, split};
pub use join::Join;

/// A range of blocks, one at the least; its last block may be `u64::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    first: u64,
    blocks: NonZeroU64,
}

impl Extent {
    /// `blocks` blocks from `lba` on.
    ///
    /// # Errors
    ///
    /// [`SplitError::Empty`], [`SplitError::Overflow`].
    pub const fn new(lba: Lba, blocks: Blocks) -> Result<Self, SplitError> {
        let Some(count) = NonZeroU64::new(blocks.0) else {
            return Err(SplitError::Empty { lba });
        };
        if lba.0.checked_add(count.get() - 1).is_none() {
            return Err(SplitError::Overflow { lba, blocks });
        }
        Ok(Self {
            first: lba.0,
            blocks: count,
        })
    }

    /// Its first block.
    #[must_use]
    pub const fn lba(self) -> Lba {
        Lba(self.first)
    }

    /// How many blocks it has.
    #[must_use]
    pub const fn blocks(self) -> Blocks {
        Blocks(self.blocks.get())
    }

    /// Its last block.
    #[must_use]
    pub const fn last(self) -> Lba {
        // `new` saw that this does not wrap.
        Lba(self.first + (self.blocks.get() - 1))
    }

    /// Its two halves, of which the second may be longer; `None` if it has but one block.
    #[must_use]
    pub fn halves(self) -> Option<(Self, Self)> {
        let first = self.blocks().0 / 2;
        let one = Self::new(self.lba(), Blocks(first)).ok()?;
        let rest = Blocks(self.blocks().0 - first);
        let other = Self::new(Lba(self.lba().0 + first), rest).ok()?;
        Some((one, other))
    }

    /// The shortest one that has both in it.
    #[cfg(feature = "spdk")]
    pub(crate) fn hull(self, other: Self) -> Self {
        let first = self.first.min(other.first);
        let blocks = self.last().0.max(other.last().0) - first;
        // One that is longer than can be counted has the last block missing; no bdev is as large.
        let blocks = NonZeroU64::MIN.saturating_add(blocks);
        Self { first, blocks }
    }

    /// Whether the two have a block in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last().0 && other.first <= self.last().0
    }
}

/// Where a request is cut. The default cuts nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// No child crosses a multiple of this many blocks.
    pub strip: Option<NonZeroU64>,
    /// No child is longer than this many blocks.
    pub max_blocks: Option<NonZeroU64>,
    /// No child has more pieces of memory than this; empty ones are not counted.
    pub max_pieces: Option<NonZeroUsize>,
    /// No child lies on both sides of it: the first block after it is `front`.
    pub front: Option<Lba>,
}

/// The memory of a request, as a list of the lengths of its pieces in bytes; a piece may be empty.
///
/// Requests without memory (unmap, for example) have none: `None` where [`split`] asks for it.
pub trait Pieces {
    /// How many pieces there are.
    fn count(&self) -> usize;
    /// The length of a piece, in bytes; asked only with `at` below [`count`](Self::count), and always the same.
    fn len(&self, at: usize) -> usize;
}

impl Pieces for [usize] {
    fn count(&self) -> usize {
        <[usize]>::len(self)
    }

    fn len(&self, at: usize) -> usize {
        self[at]
    }
}

impl<const N: usize> Pieces for [usize; N] {
    fn count(&self) -> usize {
        N
    }

    fn len(&self, at: usize) -> usize {
        self[at]
    }
}

/// What a request is about.
#[derive(Debug)]
pub struct Whole<'a, P: Pieces + ?Sized = [usize]> {
    /// Its blocks.
    pub extent: Extent,
    /// Bytes in a block.
    pub block_size: NonZeroU32,
    /// Its memory, if it has any.
    pub memory: Option<&'a P>,
}

impl<P: Pieces + ?Sized> Clone for Whole<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Pieces + ?Sized> Copy for Whole<'_, P> {}

/// Why a request can't be split.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SplitError {
    /// It has no blocks: complete it, or refuse it.
    #[error("a request at {lba} has no blocks")]
    Empty {
        /// Where it begins.
        lba: Lba,
    },
    /// Its last block would lie after block `u64::MAX`.
    #[error("{blocks} from {lba} on end after the last block that there can be")]
    Overflow {
        /// Where it begins.
        lba: Lba,
        /// How long it is.
        blocks: Blocks,
    },
    /// Its memory is shorter or longer than its blocks.
    #[error("{blocks} of {block_size} B need other memory than the {bytes} B that the request has")]
    Memory {
        /// How many blocks.
        blocks: Blocks,
        /// Bytes in each.
        block_size: u32,
        /// Bytes of memory, of all pieces.
        bytes: u128,
    },
    /// One block lies in more pieces of memory than a child may have. Copy it into one piece.
    #[error("block {lba} lies in more than {max_pieces} pieces of memory, and can't be cut")]
    Scattered {
        /// The block.
        lba: Lba,
        /// The most pieces of a child.
        max_pieces: usize,
    },
}
