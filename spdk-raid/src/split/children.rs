//! The iterator of children: a cursor that goes over blocks and memory together.

use super::{Extent, Pieces, Rules, SplitError, Whole};
use spdk_safe::units::{Blocks, Lba};

/// A part of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child {
    /// Its blocks.
    pub extent: Extent,
    /// How many blocks of the request lie before it.
    pub offset: Blocks,
    /// Its part of the memory; `None` if the request has none.
    pub window: Option<Window>,
}

/// A part of a list of pieces of memory: from `skip` bytes into piece `first` on, `bytes` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The piece that it begins in.
    pub first: usize,
    /// Bytes of that piece which lie before it.
    pub skip: usize,
    /// How many pieces it touches that are not empty.
    pub pieces: usize,
    /// How many bytes it has.
    pub bytes: u64,
}

impl Window {
    /// Its parts: the piece, the first byte in it, and how many bytes; empty ones are left out.
    pub fn parts<'a, P: Pieces + ?Sized>(
        self,
        memory: &'a P,
    ) -> impl Iterator<Item = (usize, usize, usize)> + 'a {
        let mut left = self.bytes;
        let mut skip = self.skip;
        (self.first..memory.count())
            .map_while(move |at| {
                if left == 0 {
                    return None;
                }
                let from = std::mem::take(&mut skip);
                let here = usize::try_from(left).unwrap_or(usize::MAX);
                let bytes = (memory.len(at) - from).min(here);
                left -= bytes as u64;
                Some((at, from, bytes))
            })
            .filter(|&(_, _, bytes)| bytes != 0)
    }
}

/// The children of a request, from its first block to its last; see [`split`].
#[derive(Debug)]
pub struct Children<'a, P: Pieces + ?Sized = [usize]> {
    whole: Whole<'a, P>,
    rules: Rules,
    /// Blocks that were given out.
    done: u64,
    /// The cursor in the memory.
    piece: usize,
    skip: usize,
}

impl<P: Pieces + ?Sized> Clone for Children<'_, P> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

/// Splits a request by `rules`.
///
/// # Errors
///
/// [`SplitError::Memory`], [`SplitError::Scattered`]. Then nothing was given out: no child is sent in vain.
///
/// # Examples
///
/// ```
/// use std::num::{NonZeroU32, NonZeroU64};
/// use spdk_raid::split::{Extent, Rules, Whole, split};
/// use spdk_safe::units::{Blocks, Lba};
///
/// let whole = Whole {
///     extent: Extent::new(Lba(6), Blocks(8))?,
///     block_size: NonZeroU32::new(512).unwrap(),
///     memory: Some(&[1536, 1024, 1536]),
/// };
/// let rules = Rules { strip: NonZeroU64::new(4), ..Rules::default() };
/// let lbas: Vec<_> = split(whole, rules)?.map(|child| child.extent.lba()).collect();
/// assert_eq!(lbas, [Lba(6), Lba(8), Lba(12)]);
/// # Ok::<(), spdk_raid::split::SplitError>(())
/// ```
pub fn split<P: Pieces + ?Sized>(
    whole: Whole<'_, P>,
    rules: Rules,
) -> Result<Children<'_, P>, SplitError> {
    let children = Children {
        whole,
        rules,
        done: 0,
        piece: 0,
        skip: 0,
    };
    if let Some(memory) = whole.memory {
        let (blocks, block_size) = (whole.extent.blocks(), whole.block_size.get());
        let bytes: u128 = (0..memory.count()).map(|at| memory.len(at) as u128).sum();
        if bytes != u128::from(blocks.0) * u128::from(block_size) {
            return Err(SplitError::Memory {
                blocks,
                block_size,
                bytes,
            });
        }
        if rules.max_pieces.is_some() {
            let mut ahead = children.clone();
            while ahead.step()?.is_some() {}
        }
    }
    Ok(children)
}

impl<P: Pieces + ?Sized> Children<'_, P> {
    /// The next child.
    fn step(&mut self) -> Result<Option<Child>, SplitError> {
        let left = self.whole.extent.blocks().0 - self.done;
        if left == 0 {
            return Ok(None);
        }
        // It is a block of the extent, so it does not wrap.
        let lba = self.whole.extent.lba().0 + self.done;
        let most = self.until_boundary(lba, left);
        let (blocks, window) = match self.whole.memory {
            Some(memory) => {
                let (blocks, window) = self.take(memory, lba, most)?;
                (blocks, Some(window))
            }
            None => (most, None),
        };
        let extent = Extent::new(Lba(lba), Blocks(blocks))?;
        let offset = Blocks(self.done);
        self.done += blocks;
        Ok(Some(Child {
            extent,
            offset,
            window,
        }))
    }

    /// How many of the `left` blocks from `lba` on the rules leave together, the memory aside.
    fn until_boundary(&self, lba: u64, left: u64) -> u64 {
        let Rules {
            strip,
            max_blocks,
            front,
            ..
        } = self.rules;
        let mut most = left;
        if let Some(strip) = strip {
            most = most.min(strip.get() - lba % strip.get());
        }
        if let Some(max_blocks) = max_blocks {
            most = most.min(max_blocks.get());
        }
        match front {
            Some(Lba(front)) if lba < front => most.min(front - lba),
            _ => most,
        }
    }

    /// Moves the cursor over the memory of up to `most` blocks: as many as the pieces that a child may have hold.
    fn take(
        &mut self,
        memory: &(impl Pieces + ?Sized),
        lba: u64,
        most: u64,
    ) -> Result<(u64, Window), SplitError> {
        let block_size = u64::from(self.whole.block_size.get());
        // `split` saw that there is memory for all blocks, and memory is less than 2^64 bytes in all but a forged list.
        let want = u128::from(most) * u128::from(block_size);
        let max_pieces = self.rules.max_pieces.map_or(usize::MAX, |max| max.get());
        // Pieces that are empty, or used up, are not the first of a window.
        while memory.len(self.piece) == self.skip {
            self.piece += 1;
            self.skip = 0;
        }
        let (first, skip) = (self.piece, self.skip);
        let (mut at, mut from, mut pieces, mut got) = (first, skip, 0, 0_u128);
        while got < want && pieces < max_pieces {
            let here = (memory.len(at) - from) as u128;
            pieces += usize::from(here != 0);
            got += here;
            (at, from) = (at + 1, 0);
        }
        let blocks = (got.min(want) / u128::from(block_size)) as u64;
        if blocks == 0 {
            return Err(SplitError::Scattered {
                lba: Lba(lba),
                max_pieces,
            });
        }
        let bytes = blocks * block_size;
        let window = self.advance(memory, bytes);
        Ok((blocks, window))
    }

    /// Moves the cursor `bytes` on, and says what it went over.
    fn advance(&mut self, memory: &(impl Pieces + ?Sized), bytes: u64) -> Window {
        let (first, skip) = (self.piece, self.skip);
        let (mut left, mut pieces) = (bytes, 0);
        loop {
            let here = (memory.len(self.piece) - self.skip) as u64;
            pieces += usize::from(here != 0);
            if left <= here {
                // `left` is no more than the length of a piece.
                self.skip += left as usize;
                break;
            }
            left -= here;
            self.piece += 1;
            self.skip = 0;
        }
        Window {
            first,
            skip,
            pieces,
            bytes,
        }
    }
}

impl<P: Pieces + ?Sized> Iterator for Children<'_, P> {
    type Item = Child;

    fn next(&mut self) -> Option<Child> {
        // `split` went over all of it where a step can fail.
        self.step().ok().flatten()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.whole.extent.blocks().0 - self.done;
        (usize::from(left != 0), usize::try_from(left).ok())
    }
}

impl<P: Pieces + ?Sized> std::iter::FusedIterator for Children<'_, P> {}
