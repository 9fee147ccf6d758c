//! D1: what is claimed can't be claimed again.
use spdk_safe::module::BdevModule;
use spdk_safe::prelude::*;

static MODULE: BdevModule = BdevModule::new(c"ui");

fn misuse(desc: BdevDesc<ReadWrite, Claimed>) {
    let _ = desc.claim(&MODULE);
}

fn main() {}
