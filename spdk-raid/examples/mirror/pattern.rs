//! The data: any part of it can be made anew from the seed, in any order, as often as it was written.

use std::cell::Cell;

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use spdk_safe::units::{Blocks, Lba};

/// What must be in a bdev: in parts of the size of an I/O, each with how often it was written.
#[derive(Debug)]
pub(crate) struct Contents {
    seed: u64,
    blocks: Blocks,
    part: Blocks,
    versions: Vec<Cell<u32>>,
}

impl Contents {
    /// Of a bdev of `blocks`, in parts of `part` blocks.
    pub(crate) fn new(seed: u64, blocks: Blocks, part: Blocks) -> Self {
        let parts = blocks.0.div_ceil(part.0);
        Self {
            seed,
            blocks,
            part,
            versions: (0..parts).map(|_| Cell::new(0)).collect(),
        }
    }

    /// How many parts there are.
    pub(crate) fn parts(&self) -> u64 {
        self.versions.len() as u64
    }

    /// Where a part is. The last one may be shorter.
    pub(crate) fn part(&self, part: u64) -> (Lba, Blocks) {
        let lba = part * self.part.0;
        (Lba(lba), Blocks(self.part.0.min(self.blocks.0 - lba)))
    }

    /// Fills `data` with what belongs into a part now.
    pub(crate) fn fill(&self, part: u64, data: &mut [u8]) {
        self.fill_version(part, self.versions[part as usize].get(), data);
    }

    /// Fills `data` with what belongs into a part when it was written once more.
    pub(crate) fn fill_next(&self, part: u64, data: &mut [u8]) {
        self.fill_version(part, self.versions[part as usize].get() + 1, data);
    }

    /// What [`fill_next`](Self::fill_next) gave is there now.
    pub(crate) fn is_written(&self, part: u64) {
        let version = &self.versions[part as usize];
        version.set(version.get() + 1);
    }

    fn fill_version(&self, part: u64, version: u32, data: &mut [u8]) {
        // Odd multipliers map places and versions to distinct seeds.
        let seed = self.seed
            ^ part.wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ u64::from(version).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        SmallRng::seed_from_u64(seed).fill_bytes(data);
    }

    /// The first byte of `data` that does not belong into a part: its place in `data`, what it is, what it should be.
    pub(crate) fn first_difference(&self, part: u64, data: &[u8]) -> Option<(usize, u8, u8)> {
        let mut expected = vec![0; data.len()];
        self.fill(part, &mut expected);
        if data == expected {
            return None;
        }
        let at = data
            .iter()
            .zip(&expected)
            .position(|(is, should)| is != should)?;
        Some((at, data[at], expected[at]))
    }
}
