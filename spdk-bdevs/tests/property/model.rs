//! What each block may hold.
//!
//! A block holds one tag, over and over, and never two at once. A write that is under way may have been done or not; so
//! may one that failed. Then several tags are possible. When a write has ended well, and no other was under way with
//! it, its tag alone is left; and what was read is what is there, if nobody wrote meanwhile.

use std::sync::{Mutex, MutexGuard};

use spdk_safe::prelude::*;
use spdk_safe::test::Random;

const TAG: usize = 4;
const SIZE: usize = 512;

/// Bytes of blocks that hold `tags`.
pub(crate) fn pattern(tags: &[u32]) -> Vec<u8> {
    let block = |tag: &u32| tag.to_le_bytes().repeat(SIZE / TAG);
    tags.iter().flat_map(block).collect()
}

pub(crate) struct Model {
    blocks: Mutex<Vec<Block>>,
}

#[derive(Clone)]
struct Block {
    possible: Vec<u32>,
    writers: u32,
    /// How many writes have begun.
    writes: u64,
    /// Several writers at once, since it last had none.
    is_contended: bool,
    /// While there are any, nothing becomes impossible.
    readers: u32,
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
        self.writers += 1;
        self.writes += 1;
    }

    fn may_be(&mut self, tag: u32) {
        if !self.possible.contains(&tag) {
            self.possible.push(tag);
        }
    }

    fn settle(&mut self, possible: Vec<u32>) {
        if !self.is_contended && self.readers == 0 {
            self.possible = possible;
        }
    }
}

impl Model {
    pub(crate) fn new(blocks: usize, size: usize) -> Self {
        assert_eq!(size, SIZE);
        let block = Block {
            possible: vec![0],
            writers: 0,
            writes: 0,
            is_contended: false,
            readers: 0,
            copies: 0,
        };
        Self {
            blocks: Mutex::new(vec![block; blocks]),
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

    pub(crate) fn begin_read(&self, first: usize, count: usize) -> Reading<'_> {
        let begin = |block: &mut Block| {
            block.readers += 1;
            (block.writers == 0).then_some(block.writes)
        };
        let quiet = self.lock()[first..][..count]
            .iter_mut()
            .map(begin)
            .collect();
        Reading {
            model: self,
            first,
            quiet,
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
            source.readers += 1;
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

/// How an I/O that looks at blocks ended must be said.
#[must_use]
pub(crate) struct Reading<'a> {
    model: &'a Model,
    first: usize,
    /// For each block, how many writes there were, if none is under way.
    quiet: Vec<Option<u64>>,
}

impl Reading<'_> {
    /// What was read, if it was.
    pub(crate) fn end(self, bytes: Option<&[u8]>) -> Result<(), String> {
        let mut blocks = self.model.lock();
        let mut result = Ok(());
        for (at, quiet) in self.quiet.into_iter().enumerate() {
            let block = &mut blocks[self.first + at];
            block.readers -= 1;
            let Some(bytes) = bytes else {
                continue;
            };
            let bytes = &bytes[at * SIZE..][..SIZE];
            let tag = u32::from_le_bytes(bytes[..TAG].try_into().unwrap());
            let at = self.first + at;
            if bytes.chunks(TAG).any(|chunk| chunk != &bytes[..TAG]) {
                result = Err(format!(
                    "block {at} holds more than one tag: {tag} and others"
                ));
            } else if !block.possible.contains(&tag) {
                let possible = &block.possible;
                result = Err(format!("block {at} holds {tag}, and may hold {possible:?}"));
            } else if quiet == Some(block.writes) && block.readers == 0 {
                block.possible = vec![tag];
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
        let (model, first) = (self.model, self.first);
        let must_be = {
            let blocks = model.lock();
            let is = |(block, tag): (&Block, &u32)| block.possible == [*tag];
            blocks[first..].iter().zip(tags).all(is)
        };
        match result {
            Ok(()) => self.end(Some(&pattern(tags))),
            Err(error) if error.is_miscompare() && must_be => {
                self.end(None)?;
                Err(format!("blocks from {first} on do not compare as {tags:?}"))
            }
            Err(_) => self.end(None),
        }
    }

    /// Up to block `end` there is nothing but zeroes.
    pub(crate) fn end_hole(self, end: u64) -> Result<(), String> {
        let (model, first, count) = (self.model, self.first, self.quiet.len());
        self.end(None)?;
        let blocks = model.lock();
        let end = usize::try_from(end).unwrap().min(first + count);
        let full = (first..end).find(|&at| !blocks[at].possible.contains(&0));
        full.map_or(Ok(()), |at| Err(format!("block {at} is said to be a hole")))
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
            block.writers -= 1;
            if done {
                block.settle(vec![tag]);
            }
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
            // Tags are used once, so that nobody else has written it.
            block.possible.retain(|tag| tag != new);
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
            source.readers -= 1;
            let possible = source.possible.clone();
            let target = &mut blocks[self.to + at];
            target.writers -= 1;
            if done {
                target.settle(possible);
            }
        }
    }
}
