//! I3: an address may overflow, so adding to it may fail.
use spdk_safe::prelude::*;

fn misuse(lba: Lba) -> Lba {
    lba + Blocks(8)
}

fn main() {}
