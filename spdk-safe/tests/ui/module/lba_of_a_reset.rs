//! M5: a reset has no LBA.
use spdk_safe::module::ResetRequest;
use spdk_safe::prelude::*;

fn misuse(reset: &ResetRequest) -> Lba {
    reset.lba()
}

fn main() {}
