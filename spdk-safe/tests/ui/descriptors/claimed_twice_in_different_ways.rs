//! D1: a descriptor holds one claim.
use spdk_safe::bdev::ReadManyWriteOne;
use spdk_safe::module::BdevModule;
use spdk_safe::prelude::*;

static MODULE: BdevModule = BdevModule::new(c"ui");

fn misuse(desc: BdevDesc<ReadWrite>) {
    let desc = desc.claim(&MODULE).unwrap();
    let _ = desc.claim_as(&MODULE, ReadManyWriteOne);
}

fn main() {}
