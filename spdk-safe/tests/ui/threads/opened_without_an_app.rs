//! T8: nothing is opened before SPDK is up, since only a running app gives its context.
use spdk_safe::prelude::*;

fn misuse() {
    let _ = BdevDesc::open("disk0").read_only();
}

fn main() {}
