//! M8: only a block device can be registered as one.
use spdk_safe::module::{BdevModule, BlockDeviceBuilder};
use spdk_safe::prelude::*;

static MODULE: BdevModule = BdevModule::new(c"ui");

struct Disk;

fn misuse(spdk: &Spdk) {
    let _ = BlockDeviceBuilder::new("disk")
        .blocks(Blocks(64))
        .register(spdk, &MODULE, Disk);
}

fn main() {}
