//! D6: those who share a bdev say by which key.
use spdk_safe::bdev::ReadManyWriteShared;
use spdk_safe::module::BdevModule;
use spdk_safe::prelude::*;

static MODULE: BdevModule = BdevModule::new(c"ui");

fn misuse(desc: BdevDesc<ReadOnly>) {
    let _ = desc.claim_as(&MODULE, ReadManyWriteShared { key: 0 });
}

fn main() {}
