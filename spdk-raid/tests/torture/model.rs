//! What each block may hold.
//!
//! A block holds one tag, over and over, and never two at once. A write that is under way may have been done or not; so
//! may one that failed. When a write has ended well, and no other was under way with it, its tag alone is left. What was
//! read is what is there from then on, if nobody wrote meanwhile, but for two cases:
//!
//! - Writes that were under way at once may have come to the legs in different orders. Until a write has the block for
//!   itself, and ends well, every read may find another one of them.
//! - After a write that failed the legs may differ until they were made equal, which the array says by having no dirty
//!   ranges. Until then a leg that leaves, or can't be read, may take what was read with it, and while that happens reads
//!   may find the one as well as the other; but as long as the array is as it was when it was equal last (its [`Legs`]),
//!   every read finds the same: also when it has been made equal again.

use std::sync::{Mutex, MutexGuard};

use spdk_safe::prelude::*;
use spdk_safe::test::Random;

const TAG: usize = 4;
const SIZE: usize = super::SIZE;

/// Bytes of blocks that hold `tags`.
pub(crate) fn pattern(tags: &[u32]) -> Vec<u8> {
    let block = |tag: &u32| tag.to_le_bytes().repeat(SIZE / TAG);
    tags.iter().flat_map(block).collect()
}

/// The tags of blocks; `None` where one holds several.
pub(crate) fn tags(bytes: &[u8]) -> Vec<Option<u32>> {
    let tag = |block: &[u8]| {
        let tag = u32::from_le_bytes(block[..TAG].try_into().unwrap());
        let is_one = block.chunks(TAG).all(|chunk| chunk == &block[..TAG]);
        is_one.then_some(tag)
    };
    bytes.chunks(SIZE).map(tag).collect()
}

/// What an array says of its legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Legs {
    /// It has no dirty ranges.
    pub(crate) is_equal: bool,
    /// Which legs there are and what became of them so far, if nothing has since the array was seen to be equal last.
    pub(crate) since: Option<Since>,
}

/// The legs in sync, how often something was done to disks, and how many reads legs have failed.
pub(crate) type Since = (u64, u64, u64);

pub(crate) struct Model {
    blocks: Mutex<Vec<Block>>,
}

#[derive(Clone)]
struct Block {
    possible: Vec<u32>,
    /// All tags whose writes have begun, in this order.
    begun: Vec<u32>,
    writers: u32,
    /// How many writes have begun.
    writes: u64,
    /// Several writers at once, since it last had none.
    is_contended: bool,
    /// The legs may differ for good.
    is_unstable: bool,
    /// The legs may differ until the array has no dirty ranges.
    has_failed: bool,
    /// What was read then, after how many writes, and of which legs.
    pinned: Option<(u32, u64, Since)>,
    /// While there are any, nobody writes.
    copies: u32,
}

impl Block {
    fn begin_write(&mut self, tag: u32) {
        self.begin();
        self.may_be(tag);
    }

    fn begin(&mut self) {
        self.is_contended = self.writers != 0;
        self.is_unstable |= self.is_contended;
        self.writers += 1;
        self.writes += 1;
    }

    fn may_be(&mut self, tag: u32) {
        self.begun.push(tag);
        if !self.possible.contains(&tag) {
            self.possible.push(tag);
        }
    }

    fn end(&mut self, possible: Option<Vec<u32>>) {
        self.writers -= 1;
        match possible {
            Some(possible) if !self.is_contended => {
                self.possible = possible;
                self.is_unstable = false;
                self.has_failed = false;
            }
            Some(_) => {}
            None => self.has_failed = true,
        }
    }
}

impl Model {
    /// An array of so many blocks with zeroes, and more that legs bring when they grow: zeroes, too, or what was on them.
    pub(crate) fn new(blocks: usize, room: usize, junk: impl Fn(usize) -> u32) -> Self {
        let block = Block {
            possible: vec![0],
            begun: Vec::new(),
            writers: 0,
            writes: 0,
            is_contended: false,
            is_unstable: false,
            has_failed: false,
            pinned: None,
            copies: 0,
        };
        let mut all = vec![block; blocks + room];
        for (at, block) in all.iter_mut().enumerate().skip(blocks) {
            block.possible.push(junk(at));
            block.has_failed = true;
        }
        Self {
            blocks: Mutex::new(all),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Block>> {
        self.blocks.lock().unwrap()
    }

    /// Tags that may be there; now and then one that is not.
    pub(crate) fn guess(&self, first: usize, count: usize, random: &mut Random) -> Vec<u32> {
        let one = |block: &Block| match random.one_in(8) {
            true => u32::MAX,
            false => block.possible[random.below(block.possible.len())],
        };
        self.lock()[first..][..count].iter().map(one).collect()
    }

    /// Blocks in which legs may differ for good.
    pub(crate) fn unstable(&self) -> Vec<bool> {
        self.lock().iter().map(|block| block.is_unstable).collect()
    }

    pub(crate) fn begin_read(&self, first: usize, count: usize, legs: Legs) -> Reading<'_> {
        let begin = |block: &Block| {
            let is_alone = block.writers == 0 && !block.is_unstable;
            Seen {
                possible: block.possible.clone(),
                begun: block.begun.len(),
                quiet: (is_alone && (legs.is_equal || !block.has_failed)).then_some(block.writes),
                alone: is_alone.then_some(block.writes),
            }
        };
        Reading {
            model: self,
            first,
            legs,
            seen: self.lock()[first..][..count].iter().map(begin).collect(),
        }
    }

    /// `None` where somebody copies from.
    pub(crate) fn begin_write(&self, first: usize, tags: &[u32]) -> Option<Writing<'_>> {
        let mut blocks = self.lock();
        let blocks = &mut blocks[first..][..tags.len()];
        if blocks.iter().any(|block| block.copies != 0) {
            return None;
        }
        for (block, &tag) in blocks.iter_mut().zip(tags) {
            block.begin_write(tag);
        }
        Some(Writing {
            model: self,
            first,
            tags: tags.to_vec(),
        })
    }

    /// `None` if the ranges overlap, or somebody writes to the one, or copies from the other.
    pub(crate) fn begin_copy(&self, from: usize, to: usize, count: usize) -> Option<Copying<'_>> {
        let mut blocks = self.lock();
        let is_busy = from.abs_diff(to) < count
            || blocks[from..][..count]
                .iter()
                .any(|block| block.writers != 0)
            || blocks[to..][..count].iter().any(|block| block.copies != 0);
        if is_busy {
            return None;
        }
        for at in 0..count {
            let source = &mut blocks[from + at];
            source.copies += 1;
            let possible = source.possible.clone();
            let target = &mut blocks[to + at];
            target.begin();
            possible.into_iter().for_each(|tag| target.may_be(tag));
        }
        Some(Copying {
            model: self,
            from,
            to,
            count,
        })
    }
}

/// A block, when a read of it began.
struct Seen {
    possible: Vec<u32>,
    begun: usize,
    /// How many writes there were, if what is read stays.
    quiet: Option<u64>,
    /// The same, if it stays as long as nothing becomes of the legs.
    alone: Option<u64>,
}

/// How an I/O that looks at blocks ended must be said.
#[must_use]
pub(crate) struct Reading<'a> {
    model: &'a Model,
    first: usize,
    legs: Legs,
    seen: Vec<Seen>,
}

impl Reading<'_> {
    /// What was read, if it was.
    pub(crate) fn end(self, bytes: Option<&[u8]>) -> Result<(), String> {
        self.end_of(bytes, None)
    }

    /// `legs`: as they are now.
    pub(crate) fn end_of(self, bytes: Option<&[u8]>, legs: Option<Legs>) -> Result<(), String> {
        let since = legs.and_then(|legs| legs.since);
        let since = since.filter(|_| since == self.legs.since);
        let mut blocks = self.model.lock();
        let mut result = Ok(());
        let Some(bytes) = bytes else {
            return Ok(());
        };
        for (at, (seen, tag)) in self.seen.into_iter().zip(tags(bytes)).enumerate() {
            let at = self.first + at;
            let block = &mut blocks[at];
            let mut possible = seen.possible;
            possible.extend(&block.begun[seen.begun..]);
            let alone = seen.alone.filter(|writes| *writes == block.writes);
            if let (Some(tag), Some(writes), Some(since)) = (tag, alone, since) {
                let before = block.pinned.replace((tag, writes, since));
                if before.is_some_and(|old| (old.1, old.2) == (writes, since) && old.0 != tag) {
                    result = Err(format!(
                        "block {at} holds {tag} after it held {before:?}, and nothing has happened"
                    ));
                    continue;
                }
            }
            match tag {
                None => result = Err(format!("block {at} holds more than one tag")),
                Some(tag) if !possible.contains(&tag) => {
                    result = Err(format!("block {at} holds {tag}, and may hold {possible:?}"));
                }
                Some(tag) if seen.quiet == Some(block.writes) => {
                    // It may have become impossible meanwhile, by another read.
                    if !block.possible.contains(&tag) {
                        let possible = &block.possible;
                        result = Err(format!(
                            "block {at} holds {tag}, and another read found {possible:?}"
                        ));
                    }
                    block.possible = vec![tag];
                    block.has_failed = false;
                }
                Some(_) => {}
            }
        }
        result
    }

    /// It was compared with `tags`.
    pub(crate) fn end_compare(
        self,
        tags: &[u32],
        result: &Result<(), IoError>,
    ) -> Result<(), String> {
        let first = self.first;
        let must_be = {
            let blocks = self.model.lock();
            let all = self.seen.iter().zip(&blocks[first..]).zip(tags);
            let mut is = all.map(|((seen, block), tag)| {
                let mut possible = seen.possible.iter().chain(&block.begun[seen.begun..]);
                possible.all(|possible| possible == tag)
            });
            is.all(|is| is)
        };
        match result {
            Ok(()) => self.end(Some(&pattern(tags))),
            Err(error) if error.is_miscompare() && must_be => {
                Err(format!("blocks from {first} on do not compare as {tags:?}"))
            }
            Err(_) => self.end(None),
        }
    }
}

/// How an I/O that writes ended must be said.
#[must_use]
pub(crate) struct Writing<'a> {
    model: &'a Model,
    first: usize,
    tags: Vec<u32>,
}

impl Writing<'_> {
    /// Whether it ended well.
    pub(crate) fn end(self, done: bool) {
        let mut blocks = self.model.lock();
        for (block, tag) in blocks[self.first..].iter_mut().zip(self.tags) {
            block.end(done.then(|| vec![tag]));
        }
    }

    /// It was to be done where `tags` are; if it was, they may have been there.
    pub(crate) fn end_equal(self, done: bool, tags: &[u32]) -> Result<(), String> {
        let (model, first) = (self.model, self.first);
        let impossible = {
            let blocks = model.lock();
            let may_be =
                |(block, tag): (&Block, &u32)| block.is_contended || block.possible.contains(tag);
            !blocks[first..].iter().zip(tags).all(may_be)
        };
        self.end(done);
        match done && impossible {
            true => Err(format!("blocks from {first} on can't have been {tags:?}")),
            false => Ok(()),
        }
    }

    /// It found something else than `tags`, and wrote nothing. `is_sure`: it looked, and did not just fail to.
    pub(crate) fn end_miscompare(self, tags: &[u32], is_sure: bool) -> Result<(), String> {
        let mut must_be = is_sure;
        let mut blocks = self.model.lock();
        for ((block, new), old) in blocks[self.first..].iter_mut().zip(&self.tags).zip(tags) {
            block.writers -= 1;
            if is_sure {
                // Tags are used once, so that nobody else has written it.
                block.possible.retain(|tag| tag != new);
            } else {
                block.has_failed = true;
            }
            must_be &= block.possible == [*old] && !block.is_contended;
        }
        match must_be {
            true => Err(format!(
                "blocks from {} on are {tags:?}, and did not compare",
                self.first
            )),
            false => Ok(()),
        }
    }
}

/// How a copy ended must be said.
#[must_use]
pub(crate) struct Copying<'a> {
    model: &'a Model,
    from: usize,
    to: usize,
    count: usize,
}

impl Copying<'_> {
    /// Whether it ended well.
    pub(crate) fn end(self, done: bool) {
        let mut blocks = self.model.lock();
        for at in 0..self.count {
            let source = &mut blocks[self.from + at];
            source.copies -= 1;
            let possible = source.possible.clone();
            blocks[self.to + at].end(done.then_some(possible));
        }
    }
}
