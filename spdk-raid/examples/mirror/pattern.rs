//! The data: any part of it can be made anew from the seed, in any order.

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use spdk_safe::units::Lba;

/// Random data that depends on the seed and the place alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pattern {
    seed: u64,
}

impl Pattern {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Fills `data` with what belongs at `lba`.
    pub(crate) fn fill(self, lba: Lba, data: &mut [u8]) {
        // An odd multiplier maps places to distinct seeds.
        let seed = self.seed ^ lba.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        SmallRng::seed_from_u64(seed).fill_bytes(data);
    }

    /// The first byte of `data` that does not belong at `lba`: its place in `data`, what it is, what it should be.
    pub(crate) fn first_difference(self, lba: Lba, data: &[u8]) -> Option<(usize, u8, u8)> {
        let mut expected = vec![0; data.len()];
        self.fill(lba, &mut expected);
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
