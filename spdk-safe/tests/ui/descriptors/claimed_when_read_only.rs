//! D3: only what was opened for writing can be claimed.
use spdk_safe::module::BdevModule;
use spdk_safe::prelude::*;

static MODULE: BdevModule = BdevModule::new(c"ui");

fn misuse(desc: BdevDesc<ReadOnly>) {
    let _ = desc.claim(&MODULE);
}

fn main() {}
