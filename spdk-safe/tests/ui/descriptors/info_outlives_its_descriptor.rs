//! D7: what a descriptor says about its bdev is borrowed from it.
use spdk_safe::prelude::*;

async fn misuse(desc: BdevDesc) -> u32 {
    let info = desc.info();
    desc.close().await;
    info.block_size
}

fn main() {}
