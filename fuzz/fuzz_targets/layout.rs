//! Any set of bases makes an array that fits all of them, or is refused; needs no SPDK.
//!
//! `cargo xtask fuzz layout`.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use spdk_raid::raid1::layout::{Base, Layout};
use spdk_safe::units::Blocks;

#[derive(Debug, Arbitrary)]
struct ArbitraryBase {
    name: u8,
    block_size: u32,
    blocks: u64,
    align_log2: u8,
    metadata_size: u8,
    metadata_interleaved: bool,
    has_dif: bool,
    write_cache: bool,
}

fuzz_target!(|bases: Vec<ArbitraryBase>| {
    let bases: Vec<_> = bases
        .iter()
        .map(|base| Base {
            name: base.name.to_string(),
            block_size: base.block_size,
            blocks: Blocks(base.blocks),
            align: 1 << (base.align_log2 % 13),
            metadata_size: base.metadata_size.into(),
            metadata_interleaved: base.metadata_interleaved,
            has_dif: base.has_dif,
            write_cache: base.write_cache,
        })
        .collect();
    match Layout::of(&bases) {
        Ok(layout) => {
            assert!(!bases.is_empty());
            assert_ne!(layout.blocks, Blocks(0));
            for base in &bases {
                assert_eq!(layout.block_size, base.block_size);
                assert!(layout.blocks <= base.blocks);
                assert_eq!(layout.align % base.align, 0);
                assert!(layout.write_cache || !base.write_cache);
                assert!(!base.has_dif);
                assert_eq!(layout.metadata_size, base.metadata_size);
            }
        }
        // A refusal says why, in words.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
