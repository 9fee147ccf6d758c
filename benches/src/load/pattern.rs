//! What a block should hold: it follows from a seed and the block's number, so that a block in the wrong place shows.

use spdk_safe::units::Lba;

/// A block that does not hold what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The block.
    pub block: u64,
    /// The first of its bytes that is wrong.
    pub byte: usize,
}

/// Has `buf` hold what blocks from `lba` on should.
pub fn fill(buf: &mut [u8], lba: Lba, block_size: u32, seed: u64) {
    for (block, bytes) in (lba.0..).zip(buf.chunks_exact_mut(block_size as usize)) {
        let mut word = first_word(block, seed);
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&word.to_le_bytes());
            word = next_word(word);
        }
    }
}

/// Looks whether `buf` is what blocks from `lba` on should hold.
///
/// # Errors
///
/// The first block that it is not.
pub fn check(buf: &[u8], lba: Lba, block_size: u32, seed: u64) -> Result<(), Mismatch> {
    for (block, bytes) in (lba.0..).zip(buf.chunks_exact(block_size as usize)) {
        let mut word = first_word(block, seed);
        for (at, chunk) in bytes.chunks_exact(8).enumerate() {
            let want = word.to_le_bytes();
            if chunk != want {
                let wrong = (0..8).find(|&byte| chunk[byte] != want[byte]);
                let byte = at * 8 + wrong.unwrap_or(0);
                return Err(Mismatch { block, byte });
            }
            word = next_word(word);
        }
    }
    Ok(())
}

/// Splitmix64.
fn first_word(block: u64, seed: u64) -> u64 {
    let mut word = block.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn next_word(word: u64) -> u64 {
    word.rotate_left(7).wrapping_add(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_that_is_wrong_is_found_and_so_is_a_block_elsewhere_or_of_another_seed() {
        let mut buf = vec![0; 3 * 512];
        fill(&mut buf, Lba(7), 512, 1);
        assert_eq!(check(&buf, Lba(7), 512, 1), Ok(()));
        assert_eq!(check(&buf, Lba(8), 512, 1).unwrap_err().block, 8);
        assert_eq!(check(&buf, Lba(7), 512, 2).unwrap_err().block, 7);
        buf[512 + 509] ^= 4;
        let expected = Mismatch {
            block: 8,
            byte: 509,
        };
        assert_eq!(check(&buf, Lba(7), 512, 1), Err(expected));
    }
}
