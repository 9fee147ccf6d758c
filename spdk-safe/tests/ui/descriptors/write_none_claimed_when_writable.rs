//! D3: a claim that nobody writes is for descriptors that can't write.
use spdk_safe::bdev::ReadManyWriteNone;
use spdk_safe::module::BdevModule;
use spdk_safe::prelude::*;

static MODULE: BdevModule = BdevModule::new(c"ui");

fn misuse(desc: BdevDesc<ReadWrite>) {
    let _ = desc.claim_as(&MODULE, ReadManyWriteNone);
}

fn main() {}
