//! I4: how many blocks some bytes are depends on the bdev.
use spdk_safe::prelude::*;

fn misuse(desc: &BdevDesc) {
    let _ = desc.alloc(Bytes(4096));
}

fn main() {}
