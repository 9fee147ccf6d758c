//! D1: a claim turns the descriptor into another one.
use spdk_safe::module::BdevModule;
use spdk_safe::prelude::*;

static MODULE: BdevModule = BdevModule::new(c"ui");

fn misuse(desc: BdevDesc<ReadWrite>) {
    let _claimed = desc.claim(&MODULE).unwrap();
    let _ch = desc.channel();
}

fn main() {}
